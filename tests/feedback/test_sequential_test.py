"""The sequential A/B test: error rate under daily looks, power, and the assignment of users."""

from collections.abc import Callable

import numpy as np
import pytest

from reprise.errors import ConfigError
from reprise.feedback import VariantTest, compare_variants, match_responses
from reprise.feedback.sequential_test import DAY_MS, Assignment, assign_users, share_p_value
from reprise.server import Answer, Response

START_MS = 20_000 * DAY_MS
DAYS, USERS_PER_DAY = 40, 60


def simulate(seed: int, lift: float = 0.0, share: float = 0.5, names: str = "ab") -> Assignment:
    """Draw users with skewed numbers of responses: most have none, some have many."""
    rng = np.random.default_rng(seed)
    users = DAYS * USERS_PER_DAY
    second = rng.random(users) < share if len(names) == 2 else rng.integers(len(names), size=users)
    mean = rng.gamma(0.3, 1.0, users) * (1 + lift * (second > 0))
    complete_ms = START_MS + np.sort(rng.integers(DAYS * DAY_MS, size=users))
    return Assignment([names[int(one)] for one in second], rng.poisson(mean).astype(float), complete_ms, 0)


def bounds(test: VariantTest) -> tuple[float, float]:
    assert (
        test.difference is not None and test.difference.low is not None and test.difference.high is not None
    )
    return test.difference.low, test.difference.high


def daily_t_tests_decide(users: Assignment) -> bool:
    """Whether one of the daily looks with an interval for a single look excludes 0."""
    second = np.array(users.variant_U) == "b"
    for day in range(4, DAYS + 1):
        count = day * USERS_PER_DAY
        a, b = users.value_U[:count][~second[:count]], users.value_U[:count][second[:count]]
        if abs(b.mean() - a.mean()) > 1.96 * np.sqrt(a.var() / len(a) + b.var() / len(b)):
            return True
    return False


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_daily_looks_keep_the_error_rate(share: float) -> None:
    """Without a difference at most 5% of the tests may ever decide; daily tests for a single look decide far more often."""
    wrong = [
        compare_variants(simulate(seed, share=share), START_MS + DAYS * DAY_MS, planned=1_000)[0].decided
        for seed in range(250)
    ]
    assert np.mean(wrong) <= 0.05
    if share == 0.5:
        assert np.mean([daily_t_tests_decide(simulate(seed)) for seed in range(250)]) > 0.15


def test_a_true_difference_is_found_and_the_interval_covers_it() -> None:
    """The mean is 0.3 responses per user, and 0.6 with the second variant."""
    found = [
        compare_variants(simulate(seed, lift=1.0), START_MS + DAYS * DAY_MS, planned=1_000)[0]
        for seed in range(60)
    ]
    assert np.mean([one.decided for one in found]) > 0.95
    covered = [low <= 0.3 <= high for low, high in map(bounds, found)]
    assert len(covered) == 60 and np.mean(covered) >= 0.95


def test_a_later_look_never_takes_a_decision_back() -> None:
    users = simulate(1, lift=1.0)
    looks = [compare_variants(users, START_MS + day * DAY_MS, planned=1_000)[0] for day in range(1, DAYS + 1)]
    p_values = [one.p_value for one in looks]
    assert p_values == sorted(p_values, reverse=True) and looks[-1].decided
    first = looks[0]
    assert first.looks == 0 and first.difference is not None and first.difference.low is None, "few users"


def test_several_variants_share_the_error_rate() -> None:
    """Each of three variants is compared with the first at the level of 1 - 0.05 / 2."""
    users = simulate(2, lift=1.0, names="abc")
    found = compare_variants(users, START_MS + DAYS * DAY_MS)
    assert [(one.first, one.second) for one in found] == [("a", "b"), ("a", "c")]
    pair = [name in "ab" for name in users.variant_U]
    alone = Assignment(
        [name for name in users.variant_U if name in "ab"],
        users.value_U[pair],
        users.complete_ms_U[pair],
        0,
    )
    (single,) = compare_variants(alone, START_MS + DAYS * DAY_MS)
    assert found[0].p_value > single.p_value
    assert bounds(found[0])[1] > bounds(single)[1]


def test_users_count_with_an_equally_long_time(
    answers: Callable[..., Answer], responses: Callable[..., Response]
) -> None:
    later = START_MS + DAY_MS
    shown = [
        answers("r1", "anna", "ab", START_MS, "a"),
        answers("r2", "anna", "ab", later - 1, "a"),
        answers("r3", "anna", "ab", later, "a"),
        answers("r4", "bert", "ab", START_MS + 5, "b"),
        answers("r5", "cleo", "ab", START_MS, "a"),
        answers("r6", "cleo", "ab", START_MS, "b"),
        answers("r7", "", "ab", START_MS, "b"),
        answers("r8", "dora", "ab", START_MS),
    ]
    events = [
        responses("r1", "anna", "a", START_MS + 9),
        responses("r2", "anna", "b", later + 9),
        responses("r3", "anna", "b", later + 9),
        responses("r4", "bert", "a", START_MS + 9, "buy"),
    ]
    found = assign_users(match_responses(shown, events))
    assert found.variant_U == ["a", "b"] and found.value_U.tolist() == [2, 1] and found.mixed == 1
    assert found.complete_ms_U.tolist() == [START_MS + 2 * DAY_MS, START_MS + 5 + 2 * DAY_MS]
    assert assign_users(match_responses(shown, events), "buy").value_U.tolist() == [0, 1]


def test_before_any_user_is_complete_there_are_no_means() -> None:
    users = Assignment(["a", "b"], np.ones(2), np.array([START_MS, START_MS]), 0)
    (found,) = compare_variants(users, START_MS - 1)
    assert found == ("a", "b", (0, 0), None, None, 1.0, 0, False)


def test_one_variant_has_nothing_to_compare() -> None:
    assert compare_variants(Assignment(["a"], np.ones(1), np.array([START_MS]), 0), START_MS) == []


def test_a_broken_split_is_noticed() -> None:
    users = Assignment(["a"] * 900 + ["b"] * 100, np.zeros(1_000), np.arange(1_000), 0)
    assert share_p_value(users, {"a": 90, "b": 10}) == 1
    assert share_p_value(users, {"a": 80, "b": 20}) < 1e-9
    with pytest.raises(ConfigError, match="variant 'b'"):
        share_p_value(users, {"a": 90})


@pytest.mark.parametrize("wrong", [{"level": 0}, {"planned": 0}, {"every_ms": 0}])
def test_arguments_are_checked(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        compare_variants(Assignment([], np.zeros(0), np.zeros(0, np.int64), 0), 0, **wrong)  # type: ignore[arg-type]
