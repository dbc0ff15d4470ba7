"""The off-policy estimate for a candidate model, from a simulated log with a known truth."""

from pathlib import Path
from typing import cast

import numpy as np
import pytest

from reprise.errors import DataError
from reprise.feedback import estimate_candidate, match_responses
from reprise.feedback.feedback_analysis import FeedbackOptions, read_outcomes
from reprise.feedback.user_ratios import ratio_difference
from reprise.recommender import Recommender
from reprise.recommender.recommendations import Recommendation, Recommendations
from reprise.server import Answer, ShownItem, SQLiteStore, User, UserEvent

START_MS = 1_700_000_000_000
ITEMS = 10
DRAW = np.arange(1, ITEMS + 1) / np.arange(1, ITEMS + 1).sum()
"""Propensities of exploration: item 9 is drawn ten times as often as item 0."""
GOOD, BAD = 0.5, 0.1
"""Response rates of items with the parity of the user's last item, and of the others."""


class Parity:
    """A recommender whose best items have the parity of the last item of the history."""

    class ranker:  # noqa: N801
        """The ranker, of which only the catalogue is read."""

        class catalogue:  # noqa: N801
            """A catalogue with integer ids and one kind."""

            class items:  # noqa: N801
                """The vocabulary."""

                integer_ids = True

            @staticmethod
            def kind(name: str | None) -> int:
                if name == "other":
                    raise DataError("unknown")
                return 0

    seen: list[tuple[list[dict[str, object]], int, float]]

    def __init__(self, wrong: bool = False) -> None:
        self.seen = []
        self.wrong = wrong

    def recommend(self, history: list[dict[str, object]], k: int, *, now: float) -> Recommendations:
        self.seen.append((history, k, now))
        last = int(cast(int, history[-1]["item_id"]))
        same = [item for item in range(ITEMS) if (item % 2 == last % 2) != self.wrong]
        return Recommendations([Recommendation(item, 1.0, 1, "") for item in same])


def simulate(path: Path, users: int, seed: int = 0) -> SQLiteStore:
    rng = np.random.default_rng(seed)
    store = SQLiteStore(path)
    events, answers = [], []
    for number in range(users):
        user, parity = User("default", f"u{number}"), number % 2
        events.append((user, UserEvent(str(parity), START_MS - 9)))
        events.append((user, UserEvent(str(1 - parity), START_MS + 1, "other")))
        item = int(rng.choice(ITEMS, p=DRAW))
        shown = (ShownItem("77", 1.0), ShownItem(str(item), 0.5, float(DRAW[item])))
        answers.append(Answer(f"r{number}", START_MS, "default", user, "m", None, "recommend", shown))
        if rng.random() < (GOOD if item % 2 == parity else BAD):
            events.append((user, UserEvent(str(item), START_MS + 5, recommendation_id=f"r{number}")))
    store.append(events)
    store.append_answers(answers)
    return store


def test_the_estimate_finds_the_true_rates(tmp_path: Path) -> None:
    store, model = simulate(tmp_path / "events.db", 1_500), Parity()
    options = FeedbackOptions()
    outcomes = read_outcomes(store, options)
    found = estimate_candidate(outcomes, store, cast(Recommender, model), options, top=5)
    assert found.chosen.snips is not None and found.every.snips is not None and found.difference is not None
    for estimate, truth in (
        (found.chosen.snips, GOOD),
        (found.every.snips, (GOOD + BAD) / 2),
        (found.difference, (GOOD - BAD) / 2),
    ):
        assert estimate.low is not None and estimate.high is not None
        half = estimate.high - estimate.value
        assert abs(estimate.value - truth) <= 2 * half and half < 0.1
    # five of ten items can be drawn and are chosen
    assert found.chosen.mean_weight == pytest.approx(5, abs=0.8)
    assert (found.chosen.choices, found.left_out) == (1_500, 0)
    history, k, now = model.seen[0]
    assert len(history) == 1 and history[0]["timestamp"] == (START_MS - 9) / 1000, "later events are not read"
    assert (k, now) == (5, START_MS / 1000)
    assert found.to_dict()["difference"]["value"] == found.difference.value
    store.close()


def test_a_candidate_that_prefers_the_wrong_items_is_worse(tmp_path: Path) -> None:
    """The negative control."""
    store, options = simulate(tmp_path / "events.db", 600), FeedbackOptions()
    model = Parity(wrong=True)
    found = estimate_candidate(read_outcomes(store, options), store, cast(Recommender, model), options)
    assert found.difference is not None and found.difference.high is not None and found.difference.high < -0.1
    store.close()


def test_intervals_of_differences_cover_the_true_difference() -> None:
    rng, covered, users = np.random.default_rng(1), 0, 1_000
    parity_U = np.arange(users) % 2
    for _ in range(300):
        item_U = rng.choice(ITEMS, size=users, p=DRAW)
        same_U = item_U % 2 == parity_U
        reward_U, weight_U = rng.random(users) < np.where(same_U, GOOD, BAD), 1 / DRAW[item_U]
        chosen_U = same_U * weight_U
        found = ratio_difference((chosen_U * reward_U, chosen_U), (weight_U * reward_U, weight_U))
        assert found.low is not None and found.high is not None
        covered += found.low <= (GOOD - BAD) / 2 <= found.high
    assert 0.90 <= covered / 300 <= 0.98


def test_impressions_without_a_history_are_left_out(tmp_path: Path) -> None:
    store, options = simulate(tmp_path / "events.db", 20), FeedbackOptions()
    shown = (ShownItem("1", 0.5, 0.5),)
    store.append_answers([Answer("x", START_MS, "default", None, "m", None, "recommend", shown)])
    outcomes = read_outcomes(store, options)
    assert estimate_candidate(outcomes, store, cast(Recommender, Parity()), options).left_out == 1
    alone = match_responses([one for one in outcomes.answers if not one.user_hash], [])
    with pytest.raises(DataError, match="no explored impression has a user"):
        estimate_candidate(alone, store, cast(Recommender, Parity()), options)
    with pytest.raises(DataError, match="no impression of the period was explored"):
        estimate_candidate(match_responses([], []), store, cast(Recommender, Parity()), options)
    store.close()


def test_the_interval_of_a_difference_uses_that_both_rates_have_the_same_users() -> None:
    rng = np.random.default_rng(0)
    rate_U, count_U = rng.random(50), np.ones(50)
    same = ratio_difference((rate_U, count_U), (rate_U, count_U))
    assert same == (0, 0, 0)
    shifted = ratio_difference((rate_U + 1, count_U), (rate_U, count_U))
    assert shifted.low == pytest.approx(1) and shifted.high == pytest.approx(1)
