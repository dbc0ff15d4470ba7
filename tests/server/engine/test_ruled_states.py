"""The server cleans histories by the rules of the model's log, as the recommender does, in any order of arrival."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from reprise.data.history_rules import HistoryRules
from reprise.recommender import Recommender
from reprise.server.engine.requests import RankingRules, RecommendQuery, RecommendResult, UserContext
from reprise.server.engine.served_model import ServedModel
from reprise.server.engine.serving_engine import ServingEngine
from reprise.server.store.records import User, UserEvent
from reprise.server.store.sqlite import SQLiteStore

GAP_MS = 3_600_000
START_MS = 1_700_000_000_000
NOW_MS = START_MS + 100 * GAP_MS
ANNA = User("shop", "anna")
RULES = {
    "both": HistoryRules(drop_duplicates=True, session_gap_ms=GAP_MS),
    "sessions": HistoryRules(session_gap_ms=GAP_MS),
    "duplicates": HistoryRules(drop_duplicates=True),
}
MODELS: dict[str, Path] = {}


@pytest.fixture(params=RULES)
def ruled_model(
    request: pytest.FixtureRequest, first_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The first model with the rules of a log that was cleaned."""
    if request.param not in MODELS:
        path = tmp_path_factory.mktemp(request.param) / "shop.model"
        MODELS[request.param] = save_with_rules(first_model, RULES[request.param], path)
    return MODELS[request.param]


def save_with_rules(model: Path, rules: HistoryRules, path: Path) -> Path:
    """Save a model as if its log had been cleaned by these rules; return the path."""
    artefact = Recommender.load(model).artefact
    data = {**artefact.metadata["data"], "history": rules.to_dict()}
    Recommender.of(artefact.with_metadata(data=data, golden=[])).save(path)
    return path


def at(ms: int, item: str = "p1", kind: str | None = "view", value: float = 1.0) -> UserEvent:
    return UserEvent(item, START_MS + ms, kind, value)


def random_events(generator: random.Random, count: int) -> list[UserEvent]:
    """Return events in order of time, with pauses around the gap, equal times and repetitions."""
    time_ms, events = 0, []
    for number in range(count):
        time_ms += generator.choice((0, 0, 0, 1, 60_000, GAP_MS, GAP_MS, GAP_MS + 1))
        item, kind = generator.choice(("p1", "p2", "unknown item")), generator.choice((None, "view", "buy"))
        events.append(at(time_ms, item, kind, float(number)))
    return events


def by_time_and_arrival(events: Sequence[UserEvent]) -> list[dict[str, Any]]:
    """Return a log as the history that `Recommender` takes: events in order of time, equal times in order of arrival."""
    ordered = sorted(events, key=lambda event: event.time_ms or 0)
    return [
        {"item_id": one.item_id, "timestamp": (one.time_ms or 0) / 1000, "kind": one.kind, "value": one.value}
        for one in ordered
    ]


def answer(result: RecommendResult) -> Any:
    return [(item.item_id, item.score, item.reason) for item in result.items], result.skipped_count


def expected_answer(recommender: Recommender, events: Sequence[UserEvent], exclude_seen: bool) -> Any:
    found = recommender.recommend(by_time_and_arrival(events), 20, now=NOW_MS, exclude_seen=exclude_seen)
    return [(item.item_id, item.score, item.reason) for item in found], found.skipped


@pytest.mark.parametrize("seed", range(6))
def test_a_state_equals_the_replay_of_the_whole_sorted_log(
    seed: int, ruled_model: Path, store: SQLiteStore, small_limits: None
) -> None:
    """Late events join and divide sessions; some repeat an earlier event, and some are repeated by one."""
    recommender = Recommender.load(ruled_model)
    engine = ServingEngine(ServedModel.open(ruled_model, store, 2**20), store)
    generator = random.Random(seed)
    waiting, arrived = random_events(generator, 40), []
    while waiting:
        # mostly the next event, sometimes a later one, so that the others are late
        arrived.append(waiting.pop(min(generator.choice((0, 0, 1, 2, 9)), len(waiting) - 1)))
        store.append([(ANNA, arrived[-1])])
        if generator.random() < 0.6:
            exclude_seen = generator.random() < 0.4
            rules = RankingRules(k=20, exclude_seen=exclude_seen)
            found = engine.recommend(RecommendQuery(UserContext("shop", "anna"), rules, NOW_MS))
            assert answer(found) == expected_answer(recommender, arrived, exclude_seen)


@pytest.mark.parametrize("seed", range(6))
def test_events_of_a_request_are_cleaned_together_with_those_of_the_log(
    seed: int, ruled_model: Path, store: SQLiteStore
) -> None:
    recommender = Recommender.load(ruled_model)
    engine = ServingEngine(ServedModel.open(ruled_model, store, 2**20), store)
    generator = random.Random(seed)
    events = random_events(generator, 12)
    for _ in range(6):
        in_request = [generator.random() < 0.4 for _ in events]
        logged = [event for event, sent in zip(events, in_request, strict=True) if not sent]
        sent = [event for event, sent in zip(events, in_request, strict=True) if sent]
        store.delete_user(ANNA)
        store.append([(ANNA, event) for event in logged])
        query = RecommendQuery(UserContext("shop", "anna", sent), RankingRules(k=20), NOW_MS)
        assert answer(engine.recommend(query)) == expected_answer(recommender, [*logged, *sent], False)


@pytest.mark.parametrize("seed", range(4))
def test_explanations_are_those_of_the_recommender(seed: int, ruled_model: Path, store: SQLiteStore) -> None:
    """Of 90 events, the last ones are explained from a snapshot."""
    recommender = Recommender.load(ruled_model)
    engine = ServingEngine(ServedModel.open(ruled_model, store, 2**20), store)
    generator = random.Random(seed)
    events = random_events(generator, 90)
    for event in events:
        store.append([(ANNA, event)])
        engine.recommend(RecommendQuery(UserContext("shop", "anna"), RankingRules(k=1), NOW_MS))
    query = RecommendQuery(UserContext("shop", "anna"), RankingRules(k=2), NOW_MS, explain=True)
    for item in engine.recommend(query).items:
        influences = recommender.explain(by_time_and_arrival(events), item.item_id, now=NOW_MS, last=20)
        assert item.attributions
        by_influence = sorted((abs(one.influence) for one in influences), reverse=True)
        assert [abs(one.influence) for one in item.attributions] == pytest.approx(by_influence[:3], abs=1e-5)


def test_a_late_event_joins_two_sessions_and_a_repeated_one_changes_nothing(
    first_model: Path, store: SQLiteStore, tmp_path: Path
) -> None:
    model = save_with_rules(first_model, RULES["both"], tmp_path / "shop.model")
    engine = ServingEngine(ServedModel.open(model, store, 2**20), store)

    def events_after(*events: UserEvent) -> int:
        store.append([(ANNA, event) for event in events])
        return engine.recommend(RecommendQuery(UserContext("shop", "anna"), now_ms=NOW_MS)).event_count

    assert events_after(at(0), at(1)) == 2
    assert events_after(at(GAP_MS + 2, "p2")) == 1  # a new session
    assert events_after(at(GAP_MS + 2, "p2")) == 1  # a duplicate
    assert events_after(at(GAP_MS + 2, "p2", None)) == 2  # another kind
    assert events_after(at(GAP_MS, "unknown item")) == 4  # late: one session, with the first two events
    assert events_after(at(0)) == 4  # a late duplicate
    assert events_after(at(3 * GAP_MS, "p3")) == 1


def test_a_window_is_cut_before_the_rules_apply(ruled_model: Path, store: SQLiteStore) -> None:
    """Of 25 events with a window of at most 10, events 20 to 24 are left."""
    recommender = Recommender.load(ruled_model)
    engine = ServingEngine(ServedModel.open(ruled_model, store, 2**20, max_user_events=10), store)
    events = random_events(random.Random(9), 25)
    for count in range(1, 26):
        store.append([(ANNA, events[count - 1])])
        first = max(0, (count // 5 - 1) * 5)
        found = engine.recommend(RecommendQuery(UserContext("shop", "anna"), RankingRules(k=20), NOW_MS))
        assert answer(found) == expected_answer(recommender, events[first:count], False)
