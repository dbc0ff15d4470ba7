"""A recommender cleans histories by the rules of its log: duplicates are left out, and the last session is the history."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich_model import KINDS, START_S

from reprise.data.history_rules import HistoryRules
from reprise.recommender import Recommender

HOUR_S = 3_600
Events = list[dict[str, Any]]


def event(item: int, second: float | None, kind: str | None = None) -> dict[str, Any]:
    time_s = None if second is None else START_S + second
    return {"item_id": f"p{item}", "timestamp": time_s, "kind": kind}


EARLIER = [event(1, 0, "view"), event(2, 60, "buy"), event(99, 61)]
LAST = [event(3, 8_000, "view"), event(4, 8_001, "view"), event(4, 8_001, "buy"), event(5, 8_001 + HOUR_S)]
REPEATED = [*LAST[:3], LAST[1], LAST[2], *LAST[3:], LAST[3]]
ANSWERS: dict[str, Callable[[Recommender, Events], Any]] = {
    "recommend": lambda shop, history: shop.recommend(history, 20),
    "recommend at a time": lambda shop, history: shop.recommend(history, 20, now=START_S + 1e7),
    "recommend without seen items": lambda shop, history: shop.recommend(history, 20, exclude_seen=True),
    "recommend_many": lambda shop, history: shop.recommend_many([[], history], 20)[1],
    "generate": lambda shop, history: shop.generate(history, 5, temperature=0).log_probabilities,
}


@pytest.mark.parametrize("history", [REPEATED, [*EARLIER, *LAST], [*EARLIER, *REPEATED]])
@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_the_answer_is_that_of_the_last_session_without_duplicates(
    ruled_shop: Recommender, rich_shop: Recommender, answer: Callable[..., Any], history: Events
) -> None:
    assert answer(ruled_shop, history) == answer(rich_shop, LAST) != answer(rich_shop, history)


def test_skipped_events_of_earlier_sessions_are_not_counted(ruled_shop: Recommender) -> None:
    assert ruled_shop.recommend([*EARLIER, *LAST], 5).skipped == 0
    assert ruled_shop.recommend([*LAST, event(99, 12_000), event(99, 12_000)], 5).skipped == 1


def test_explanations_give_positions_in_the_history_that_was_passed(
    ruled_shop: Recommender, rich_shop: Recommender
) -> None:
    found = ruled_shop.explain([*EARLIER, *REPEATED], "p7")
    expected = rich_shop.explain(LAST, "p7")
    assert [(one.item_id, one.influence) for one in found] == [
        (one.item_id, one.influence) for one in expected
    ]
    assert [one.position for one in found] == [3, 4, 5, 8]


def test_events_of_unknown_items_divide_sessions_too(ruled_shop: Recommender) -> None:
    bridge = event(99, HOUR_S)
    history = [event(1, 0), event(2, 2 * HOUR_S)]
    assert ruled_shop.recommend(history, 5) == ruled_shop.recommend(history[1:], 5)
    with_bridge = [history[0], bridge, history[1]]
    assert ruled_shop.recommend(with_bridge, 5)[0].reason == "based on 2 events"


def test_the_time_of_the_request_does_not_start_a_session(ruled_shop: Recommender) -> None:
    answer = ruled_shop.recommend([event(1, 0)], 5, now=START_S + 100 * HOUR_S)
    assert answer[0].reason == "based on 1 event"


def test_a_session_whose_items_are_all_unknown_gets_popular_items(ruled_shop: Recommender) -> None:
    answer = ruled_shop.recommend([event(1, 0), event(99, 2 * HOUR_S)], 5)
    assert answer.item_ids == ruled_shop.recommend([], 5).item_ids
    assert answer.skipped == 1


@pytest.mark.parametrize("seed", range(8))
def test_a_live_session_answers_like_its_whole_history(ruled_shop: Recommender, seed: int) -> None:
    generator = np.random.default_rng(seed)
    session, history, second = ruled_shop.session(remember_seen=True), [], 0.0
    for _ in range(25):
        second += float(generator.choice([0, 0, 0, 0.0004, 60, HOUR_S, HOUR_S + 0.001, 10 * HOUR_S]))
        known = generator.random() < 0.9
        kind = [None, *KINDS[:2]][generator.integers(3)]
        history.append(event(int(generator.choice([1, 2, 99])), second if known else None, kind))
        session.add(**history[-1])
        mine = session.recommend(20, exclude_seen=True, now=START_S + 1e8)
        theirs = ruled_shop.recommend(history, 20, exclude_seen=True, now=START_S + 1e8)
        assert mine.item_ids == theirs.item_ids
        assert mine.skipped == theirs.skipped
        assert [one.reason for one in mine] == [one.reason for one in theirs]


def test_the_rules_are_saved_with_the_model(ruled_shop: Recommender, tmp_path: Path) -> None:
    ruled_shop.save(tmp_path / "model")
    assert Recommender.load(tmp_path / "model").history_rules == HistoryRules(True, 3_600_000, True, "user")


def test_a_model_without_a_record_of_rules_changes_no_history(rich_shop: Recommender) -> None:
    data = dict(rich_shop.artefact.metadata["data"])
    del data["history"]
    older = Recommender.of(rich_shop.artefact.with_metadata(data=data))
    assert older.history_rules == HistoryRules()
    assert older.recommend(REPEATED, 3)[0].reason == "based on 7 events"


def test_golden_tests_stay_within_one_session(ruled_shop: Recommender) -> None:
    *_, fifty = ruled_shop._make_golden_tests()
    timestamps = np.array([time_s for time_s in fifty["timestamp"] if time_s is not None])
    assert 0 < np.diff(timestamps).max() <= HOUR_S
