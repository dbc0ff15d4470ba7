"""Click rates and the coverage of their intervals."""

from collections.abc import Callable

import numpy as np
import pytest

from reprise.errors import ConfigError
from reprise.feedback import click_rates, match_responses
from reprise.feedback.user_ratios import proportion, ratio_of_sums
from reprise.server import Answer, Response

Make = Callable[..., Answer]
Respond = Callable[..., Response]


def test_rates_are_counted_by_variant_kind_and_position(answers: Make, responses: Respond) -> None:
    shown = [
        answers("r1", "anna", "ab", variant="a"),
        answers("r2", "bert", "ab", variant="a"),
        answers("r3", "cleo", "ab", variant="b"),
        answers("r4", "dora", "ab"),
    ]
    events = [
        responses("r1", "anna", "a"),
        responses("r2", "bert", "b", kind="buy"),
        responses("r1", "anna", "a", kind="buy"),
    ]
    found = {
        (one.group, one.position, one.kind): one
        for one in click_rates(match_responses(shown, events), "variant")
    }
    total = found["a", None, None]
    assert (total.impressions, total.responses, total.users, total.rate.value) == (4, 2, 2, 2 / 4)
    assert found["a", None, "buy"].rate.value == 2 / 4 and found["a", None, "event"].rate.value == 1 / 4
    assert found["a", 1, None].rate.value == 1 / 2 and found["a", 2, None].rate.value == 1 / 2
    assert found["b", None, None].rate == (0, None, None), "a single user has no interval"
    assert {group for group, _, _ in found} == {"a", "b"}
    models = click_rates(match_responses(shown, events), positions=0)
    assert {one.group for one in models} == {"m1", "model-a", "model-b"}
    assert all(one.position is None for one in models)


def simulated(rng: np.random.Generator, users: int, mean: float) -> tuple[np.ndarray, np.ndarray]:
    """Draw clicks and impressions of users who differ: their rates have a beta distribution."""
    trials = rng.integers(1, 30, users)
    rate = rng.beta(2 * mean, 2 * (1 - mean), users)
    return rng.binomial(trials, rate).astype(float), trials.astype(float)


@pytest.mark.parametrize("mean", [0.03, 0.3])
def test_intervals_over_users_cover_the_rate(mean: float) -> None:
    """95% intervals; those that treat impressions as independent cover much less, so the test can fail."""
    rng = np.random.default_rng(0)
    covered, naive = 0, 0
    for _ in range(400):
        hits, trials = simulated(rng, 200, mean)
        found = proportion(hits, trials)
        assert found.low is not None and found.high is not None
        covered += found.low <= mean <= found.high
        share = hits.sum() / trials.sum()
        naive += abs(share - mean) <= 1.96 * np.sqrt(share * (1 - share) / trials.sum())
    assert covered / 400 >= 0.92
    assert naive / 400 <= 0.8


def test_a_rate_without_clicks_has_an_interval() -> None:
    found = proportion(np.zeros(50), np.full(50, 10.0))
    assert found.low == 0 and found.high is not None
    # the Wilson interval of 0 of 50 ends at z^2 / (50 + z^2)
    assert found.high == pytest.approx(1.959964**2 / (50 + 1.959964**2))


def test_a_ratio_with_equal_counts_has_the_interval_of_a_mean() -> None:
    found = ratio_of_sums(np.array([1.0, 2.0, 3.0, 6.0]), np.ones(4))
    standard_error = np.sqrt((4 + 1 + 0 + 9) / 3 / 4)
    assert found.value == 3 and found.high == pytest.approx(3 + 3.182446 * standard_error)


@pytest.mark.parametrize("wrong", [{"by": "item"}, {"positions": -1}, {"level": 1.0}])
def test_arguments_are_checked(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        click_rates(match_responses([], []), **wrong)  # type: ignore[arg-type]
