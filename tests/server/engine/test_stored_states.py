"""States of long histories are kept in the store: a restart continues them, and nothing else is ever taken for them."""

import random
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reprise.data.history_rules import HistoryRules
from reprise.recommender import Recommender
from reprise.server.engine import state_cache, user_state
from reprise.server.engine.requests import RankingRules, RecommendQuery, UserContext
from reprise.server.engine.served_model import ServedModel
from reprise.server.engine.serving_engine import ServingEngine
from reprise.server.engine.state_builder import StateBuilder
from reprise.server.engine.state_cache import StateCache
from reprise.server.engine.stored_states import decode_state, encode_state
from reprise.server.engine.user_state import UserState
from reprise.server.store.event_store import EventStore, StoreError
from reprise.server.store.opening import open_store
from reprise.server.store.records import StoredState, User, UserEvent
from reprise.server.store.sqlite import SQLiteStore

ANNA = User("shop", "anna")
START_MS = 1_700_000_000_000
RULES = HistoryRules(drop_duplicates=True, session_gap_ms=10**9)


@pytest.fixture(scope="module")
def builder(first_model: Path) -> StateBuilder:
    ranker = Recommender.load(first_model).ranker
    return StateBuilder(ranker.network, ranker.catalogue, RULES)


@pytest.fixture(autouse=True)
def small_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_state, "SNAPSHOT_INTERVALS", (2, 4, 8, 16))
    monkeypatch.setattr(user_state, "MIN_SNAPSHOT_EVENTS", 2)
    monkeypatch.setattr(state_cache, "SAVED_EVENTS", 10)


@pytest.fixture(params=["sqlite", "postgres"])
def each_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EventStore]:
    in_file = request.param == "sqlite"
    address = f"sqlite:///{tmp_path}/events.db" if in_file else request.getfixturevalue("postgres_address")
    with closing(open_store(address)) as store:
        store.delete_user(ANNA)
        yield store


def event_at(minute: int) -> UserEvent:
    return UserEvent(
        f"p{minute % 20}", START_MS + 60_000 * minute, ("view", "buy")[minute % 2], float(minute)
    )


def append(store: EventStore, *minutes: int) -> None:
    store.append([(ANNA, event_at(minute)) for minute in minutes])


def assert_equal(one: UserState, other: UserState) -> None:
    for name in (
        "seq",
        "last_ms",
        "event_count",
        "skipped_count",
        "log_count",
        "window_start",
        "session_start",
    ):
        assert getattr(one, name) == getattr(other, name), name
    assert one.last_keys == other.last_keys
    for name, array in one.network_state.items():
        stored = other.network_state[name]
        assert array.dtype == stored.dtype and np.array_equal(array, stored, equal_nan=True), name


def saved(states: StateCache, store: Any) -> list[StoredState]:
    unsaved = states.take_unsaved()
    store.save_states(unsaved)
    return unsaved


def test_a_state_survives_the_conversion_to_bytes(builder: StateBuilder, store: SQLiteStore) -> None:
    states = StateCache(builder, store, 2**20, "m")
    append(store, *range(50))
    state = states.current(ANNA, with_seen=True)
    stored = encode_state(ANNA, state, "m")
    found = decode_state(stored, builder.initial)
    assert found is not None
    assert_equal(found, state)
    assert found.seen is not None and np.array_equal(found.seen, state.seen)  # type: ignore[arg-type]
    assert found.generation == state.generation and found.snapshots[:4] == (None,) * 4
    for one, other in zip(found.snapshots[4:], state.snapshots[4:], strict=True):
        assert one is not None and other is not None
        assert_equal(one, other)
    # the state after 48 events is the snapshot of both intervals, and was written once
    assert found.snapshots[4] is found.snapshots[6]
    assert len(stored.body) < 4 * (builder.state_bytes + 500)


def test_bytes_that_do_not_fit_give_none(
    builder: StateBuilder, store: SQLiteStore, second_model: Path
) -> None:
    append(store, *range(20))
    stored = encode_state(ANNA, StateCache(builder, store, 2**20, "m").current(ANNA), "m")
    ranker = Recommender.load(second_model).ranker
    other = StateBuilder(ranker.network, ranker.catalogue)
    assert decode_state(stored, other.initial) is None
    generator = random.Random(0)
    for length in (0, 3, 4, 40, len(stored.body) - 1):
        assert decode_state(stored._replace(body=stored.body[:length]), builder.initial) is None
    assert decode_state(stored._replace(body=stored.body + b"\0"), builder.initial) is None
    assert decode_state(stored._replace(seq=stored.seq + 1), builder.initial) is None
    for _ in range(200):  # damaged headers are refused, or give a state of the same shape
        place = generator.randrange(300)
        body = stored.body[:place] + bytes([generator.randrange(256)]) + stored.body[place + 1 :]
        found = decode_state(stored._replace(body=body), builder.initial)
        assert found is None or found.network_state.keys() == builder.initial.network_state.keys()


def test_a_new_process_continues_from_the_stored_state(
    builder: StateBuilder, each_store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = StateCache(builder, each_store, 2**20, "m")
    append(each_store, *range(40))
    states.current(ANNA)
    assert [one.seq for one in saved(states, each_store)] == [40] and states.take_unsaved() == []
    # without new events the state is cached too, for requests that may not replay
    unchanged = StateCache(builder, each_store, 2**20, "m")
    assert unchanged.current(ANNA) is unchanged.current(ANNA, max_new_events=1)
    append(each_store, *range(40, 43))
    later = StateCache(builder, each_store, 2**20, "m")
    assert_equal(later.current(ANNA), builder_state(builder, each_store))
    assert (later.replayed_events, later.loaded_states) == (3, 1)
    # a late event goes back to the nearest stored snapshot, after 32 events
    append(each_store, 34)
    again = StateCache(builder, each_store, 2**20, "m")
    assert_equal(again.current(ANNA), builder_state(builder, each_store))
    assert (again.replayed_events, again.loaded_states) == (44 - 32, 1)


def builder_state(builder: StateBuilder, store: EventStore) -> UserState:
    return replace(StateCache(builder, store, 2**20).current(ANNA), snapshots=UserState.snapshots)


def test_states_are_stored_again_after_further_events(builder: StateBuilder, store: SQLiteStore) -> None:
    states = StateCache(builder, store, 2**20, "m")
    positions = []
    for minute in range(35):
        append(store, minute)
        states.current(ANNA)
        positions += [one.seq for one in saved(states, store)]
    assert positions == [10, 20, 30]


def test_a_state_of_another_model_or_limit_is_not_used(first_model: Path, store: SQLiteStore) -> None:
    ranker = Recommender.load(first_model).ranker
    append(store, *range(30))
    for model, max_events in (("m", 100), ("other", 100), ("m", 10), ("m", None)):
        builder = StateBuilder(ranker.network, ranker.catalogue, max_events=max_events)
        states = StateCache(builder, store, 2**20, model)
        assert_equal(states.current(ANNA), builder_state(builder, store))
        assert states.loaded_states == 0
        saved(states, store)
        again = StateCache(builder, store, 2**20, model)
        again.current(ANNA)
        assert again.loaded_states == 1


def test_a_deleted_user_has_no_stored_state(builder: StateBuilder, each_store: EventStore) -> None:
    states = StateCache(builder, each_store, 2**20, "m")
    append(each_store, *range(30))
    states.current(ANNA)
    late = states.take_unsaved()
    each_store.save_states(late)  # type: ignore[attr-defined]
    each_store.delete_user(ANNA)
    each_store.save_states(late)  # type: ignore[attr-defined]
    append(each_store, *range(12))
    later = StateCache(builder, each_store, 2**20, "m")
    assert later.current(ANNA).event_count == 12 and later.loaded_states == 0


class PlainStore:
    """A store of one's own that keeps no states: a SQLite store without those methods."""

    def __init__(self, store: SQLiteStore) -> None:
        for name in ("append", "events_since", "delete_user", "deletions_since", "items_since"):
            setattr(self, name, getattr(store, name))


def test_a_store_without_states_works(first_model: Path, store: SQLiteStore) -> None:
    plain: Any = PlainStore(store)
    engine = ServingEngine(ServedModel.open(first_model, plain, 2**20), plain)
    append(store, *range(30))
    assert engine.recommend(RecommendQuery(UserContext("shop", "anna"))).event_count == 30
    engine.save_states()
    assert store._database.rows("SELECT count(*) FROM states") == [(0,)]


def test_a_failing_store_of_states_costs_a_replay_only(
    builder: StateBuilder, store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise StoreError("no states")

    append(store, *range(30))
    states = StateCache(builder, store, 2**20, "m")
    states.current(ANNA)
    saved(states, store)
    monkeypatch.setattr(store, "load_state", fail)
    assert StateCache(builder, store, 2**20, "m").current(ANNA).event_count == 30


def test_states_that_wait_to_be_stored_are_bounded(
    builder: StateBuilder, store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_cache, "MAX_UNSAVED", 3)
    states = StateCache(builder, store, 2**20, "m")
    users = [User("shop", f"user {number}") for number in range(5)]
    for user in users:
        store.append([(user, event_at(minute)) for minute in range(10)])
        states.current(user)
    states.drop(users[4])
    assert [one.user for one in states.take_unsaved()] == users[2:4]


def test_a_swap_deletes_the_states_of_the_old_model(
    first_model: Path, second_model: Path, store: SQLiteStore
) -> None:
    engine = ServingEngine(ServedModel.open(first_model, store, 2**20), store)
    query = RecommendQuery(UserContext("shop", "anna"), RankingRules(k=3), START_MS + 10**9)
    append(store, *range(30))
    expected = engine.recommend(query)
    engine.save_states()
    models = "SELECT model FROM states"
    ((old,),) = store._database.rows(models)
    restarted = ServingEngine(ServedModel.open(first_model, store, 2**20), store)
    assert restarted.recommend(query).items == expected.items
    assert restarted.model.states.loaded_states == 1
    # another user's state is not computed by the new model, which warms up the cached ones
    store.append([(User("shop", "bert"), event_at(minute)) for minute in range(30)])
    store.save_states(
        [StoredState(User("shop", "bert"), store.events_since(User("shop", "bert")).generation, 1, old, b"")]
    )
    restarted.swap_model(second_model)
    restarted.save_states()
    ((new,),) = store._database.rows(models)
    assert new != old and restarted.recommend(query).model_version == restarted.model.version
