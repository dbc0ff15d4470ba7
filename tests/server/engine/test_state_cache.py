"""A cached state equals the replay of the user's events in order of time, however the events arrived."""

import random
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from reprise.recommender import Recommender
from reprise.server.engine import state_cache, user_state
from reprise.server.engine.state_builder import MAX_USER_EVENTS, ReplayStoppedError, StateBuilder
from reprise.server.engine.state_cache import LongHistoryError, StateCache
from reprise.server.engine.user_state import UserState
from reprise.server.store.records import User, UserEvent
from reprise.server.store.sqlite import SQLiteStore

ANNA = User("shop", "anna")
START_MS = 1_700_000_000_000


@pytest.fixture(scope="module")
def builder(first_model: Path) -> StateBuilder:
    ranker = Recommender.load(first_model).ranker
    return StateBuilder(ranker.network, ranker.catalogue)


@pytest.fixture
def states(builder: StateBuilder, store: SQLiteStore) -> StateCache:
    return StateCache(builder, store, 2**20)


def event_at(minute: int, item: str | None = None) -> UserEvent:
    kind = ("view", "buy")[minute % 2]
    return UserEvent(item or f"p{minute % 20}", START_MS + 60_000 * minute, kind, float(minute))


def append(store: SQLiteStore, *events: UserEvent, user: User = ANNA) -> None:
    store.append([(user, event) for event in events])


def equal(one: UserState, other: UserState) -> bool:
    """Bit for bit, because both are computed by the same steps in the same order."""
    return (
        (one.last_ms, one.event_count, one.skipped_count)
        == (other.last_ms, other.event_count, other.skipped_count)
        and one.network_state.keys() == other.network_state.keys()
        and all(
            np.array_equal(array, other.network_state[name], equal_nan=True)
            for name, array in one.network_state.items()
        )
    )


def replay_log(builder: StateBuilder, store: SQLiteStore, user: User = ANNA) -> UserState:
    return builder.replay(store.events_since(user).events)


def test_a_user_without_events_is_not_cached(states: StateCache) -> None:
    state = states.current(ANNA)
    assert (state.event_count, state.generation, len(states), states.bytes) == (0, 0, 0, 0)


def test_each_new_event_advances_the_state(
    states: StateCache, store: SQLiteStore, builder: StateBuilder
) -> None:
    for minute in range(6):
        append(store, event_at(minute))
        state = states.current(ANNA)
        assert (state.event_count, state.seq) == (minute + 1, minute + 1)
        assert equal(state, replay_log(builder, store))
    assert states.current(ANNA) is state  # without new events the same object is returned


@pytest.mark.parametrize("seed", range(8))
def test_the_order_of_arrival_does_not_matter(
    seed: int, states: StateCache, store: SQLiteStore, builder: StateBuilder
) -> None:
    """Late events arrive in one batch or in several, with and without requests in between."""
    generator = random.Random(seed)
    for minute in generator.sample(range(12), 12):
        append(store, event_at(minute))
        if generator.random() < 0.5:
            states.current(ANNA)
    assert equal(states.current(ANNA), builder.replay([event_at(minute) for minute in range(12)]))
    assert equal(states.current(ANNA), replay_log(builder, store))


def test_events_with_equal_times_are_replayed_in_order_of_arrival(
    states: StateCache, store: SQLiteStore, builder: StateBuilder
) -> None:
    events = [event_at(0, item) for item in ("p3", "p1", "p2")]
    for event in events:
        append(store, event)
        states.current(ANNA)
    assert equal(states.current(ANNA), builder.replay(events))
    assert not equal(states.current(ANNA), builder.replay(events[::-1]))


def test_events_that_the_model_cannot_read_are_skipped(states: StateCache, store: SQLiteStore) -> None:
    append(store, event_at(0))
    before = states.current(ANNA)
    append(store, event_at(1, "unknown item"), event_at(2)._replace(kind="unknown kind"))
    after = states.current(ANNA)
    assert (after.event_count, after.skipped_count, after.seq) == (1, 2, 3)
    for name, array in before.network_state.items():
        assert np.array_equal(array, after.network_state[name], equal_nan=True)
    # their times still count: an event before them is late
    assert after.last_ms == START_MS + 120_000


def test_a_late_event_may_be_unreadable(
    states: StateCache, store: SQLiteStore, builder: StateBuilder
) -> None:
    append(store, event_at(5))
    states.current(ANNA)
    append(store, event_at(1, "unknown item"))
    assert equal(states.current(ANNA), replay_log(builder, store))


def test_a_deleted_user_starts_from_an_empty_state_in_every_process(
    states: StateCache, store: SQLiteStore, builder: StateBuilder
) -> None:
    append(store, event_at(0), event_at(1))
    other = StateCache(builder, store, 2**20)
    assert states.current(ANNA).event_count == other.current(ANNA).event_count == 2
    store.delete_user(ANNA)
    assert other.current(ANNA).event_count == 0
    assert equal(other.current(ANNA), builder.initial)
    assert len(other) == 0
    append(store, event_at(3))
    for each in (states, other):
        assert each.current(ANNA).event_count == 1
        assert equal(each.current(ANNA), replay_log(builder, store))


def test_the_least_recently_used_states_are_dropped_and_rebuilt(
    builder: StateBuilder, store: SQLiteStore
) -> None:
    one = builder.initial.bytes
    states = StateCache(builder, store, 3 * one + one // 2)
    users = [User("shop", f"user {number}") for number in range(5)]
    for number, user in enumerate(users):
        append(store, event_at(number), user=user)
        states.current(user)
    assert states.recent_users() == [users[4], users[3], users[2]]
    assert states.bytes <= 3 * one + one // 2
    states.current(users[2])
    states.current(users[0])
    assert states.recent_users() == [users[0], users[2], users[4]]
    assert equal(states.current(users[1]), replay_log(builder, store, users[1]))
    states.drop(users[1])
    assert users[1] not in states.recent_users()


def test_seen_items_are_computed_without_running_the_network(
    states: StateCache, store: SQLiteStore, builder: StateBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = ["p3", "p1", "unknown item", "p3"]
    append(store, *(event_at(minute, item) for minute, item in enumerate(items)))
    before = states.current(ANNA)
    with monkeypatch.context() as patch:
        patch.setattr(type(builder._network), "advance_all", None)
        after = states.current(ANNA, with_seen=True)
    assert equal(before, after) and after.seen is not None
    assert np.array_equal(after.seen, replay_log(builder, store).seen)  # type: ignore[arg-type]
    assert states.current(ANNA).seen is after.seen  # cached
    with pytest.raises(LongHistoryError):
        StateCache(builder, store, 2**20).current(ANNA, with_seen=True, max_new_events=3)
    store.delete_user(ANNA)
    assert states.current(ANNA, with_seen=True).seen.size == 0  # type: ignore[union-attr]


def test_seen_items_are_kept_up_to_date_once_requested(states: StateCache, store: SQLiteStore) -> None:
    append(store, event_at(0), event_at(1), event_at(0, "unknown item"))
    assert states.current(ANNA).seen is None
    seen = states.current(ANNA, with_seen=True).seen
    assert seen is not None and len(seen) == 2
    append(store, event_at(2), event_at(1))
    assert states.current(ANNA).seen is not None
    assert states.current(ANNA, with_seen=True).seen.size == 3  # type: ignore[union-attr]
    append(store, event_at(0))  # late: the whole history is replayed
    assert states.current(ANNA, with_seen=True).seen.size == 3  # type: ignore[union-attr]


def test_more_new_events_than_allowed_raise_an_error(states: StateCache, store: SQLiteStore) -> None:
    append(store, *map(event_at, range(11)))
    with pytest.raises(LongHistoryError):
        states.current(ANNA, max_new_events=10)
    assert states.current(ANNA, max_new_events=11).event_count == 11
    append(store, event_at(0))  # late: 12 events would have to be replayed
    with pytest.raises(LongHistoryError):
        states.current(ANNA, max_new_events=10)


class StepCounter:
    """Counts the steps of a cache's network."""

    def __init__(self, states: StateCache, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps = 0
        network = states.builder._network
        advance_all = network.advance_all

        def count_and_advance(state: Any, events: Any) -> Any:
            self.steps += len(events)
            return advance_all(state, events)

        counting = SimpleNamespace(advance_all=count_and_advance, runtime=network.runtime)
        monkeypatch.setattr(states.builder, "_network", counting)

    def reset(self) -> int:
        """Return the number of steps since the last call."""
        steps, self.steps = self.steps, 0
        return steps


def test_the_cost_of_a_late_event_grows_with_its_lateness(
    states: StateCache, store: SQLiteStore, builder: StateBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lateness is the number of events after it: 1 late -> at most 16 steps, 40 late -> at most 128."""
    counter = StepCounter(states, monkeypatch)
    for minute in range(0, 1400, 2):
        append(store, event_at(minute))
        states.current(ANNA)
    assert counter.reset() == 700
    for lateness, max_steps in [(1, 16), (5, 16), (40, 128), (300, 710)]:
        append(store, event_at(1400 - 2 * lateness - 1))
        state = states.current(ANNA)
        assert lateness <= counter.reset() <= max_steps
        assert equal(state, replay_log(builder, store))
        counter.reset()
    assert states.bytes < 9 * (builder.initial.bytes + 500)


def test_the_next_late_event_costs_no_more_than_the_first(
    states: StateCache, store: SQLiteStore, builder: StateBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter = StepCounter(states, monkeypatch)
    append(store, *map(event_at, range(0, 1200, 3)))
    states.current(ANNA)
    for minute in range(1200, 1500, 3):
        for late in (minute, minute - 1, minute - 2):  # each earlier than the one before
            append(store, event_at(late))
            counter.reset()
            state = states.current(ANNA)
            assert counter.reset() <= 18
    assert equal(state, replay_log(builder, store))


def test_snapshots_hold_exactly_the_events_up_to_their_position(
    states: StateCache, store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Times 1, 2, 5, 3 arrive -> positions by time are 1, 2, 4, 3 -> no snapshot after the third of them."""
    monkeypatch.setattr(user_state, "SNAPSHOT_INTERVALS", (1, 64, 512, 4096))
    monkeypatch.setattr(user_state, "MIN_SNAPSHOT_EVENTS", 0)
    append(store, *map(event_at, (1, 2, 5, 3)))
    newer, older = states.current(ANNA).snapshots[:2]
    assert newer is not None and (newer.event_count, newer.seq) == (4, 4)
    assert older is not None and (older.event_count, older.seq) == (2, 2)


def test_only_the_last_events_are_replayed(store: SQLiteStore, first_model: Path) -> None:
    """A window of at most 10 events starts at a multiple of 5: with 12 events at event 5, with 15 at event 10."""
    ranker = Recommender.load(first_model).ranker
    bounded = StateBuilder(ranker.network, ranker.catalogue, max_events=10)
    starts = [bounded.window_start(count) for count in (0, 4, 5, 9, 10, 14, 15, 19, 20)]
    assert starts == [0, 0, 0, 0, 5, 5, 10, 10, 15]
    unbounded = StateBuilder(ranker.network, ranker.catalogue, max_events=None)
    states = StateCache(bounded, store, 2**20)
    for minute in range(23):
        append(store, event_at(minute))
        first = max(0, ((minute + 1) // 5 - 1) * 5)
        state = states.current(ANNA, with_seen=True)
        expected = unbounded.replay([event_at(later) for later in range(first, minute + 1)])
        assert equal(state, expected) and np.array_equal(state.seen, expected.seen)  # type: ignore[arg-type]
        assert (state.log_count, state.window_start, state.event_count) == (
            minute + 1,
            first,
            minute + 1 - first,
        )
        assert [event.item_id for event in states.events_of(ANNA, state)] == [
            event_at(later).item_id for later in range(first, minute + 1)
        ]


@pytest.mark.parametrize("max_events", [12, MAX_USER_EVENTS])
@pytest.mark.parametrize("seed", range(8))
def test_snapshots_windows_and_limits_do_not_change_the_states(
    seed: int, max_events: int, store: SQLiteStore, first_model: Path, small_limits: None
) -> None:
    """Late events go back to snapshots and move the window of 12 events. Deletions and refused replays come between."""
    ranker = Recommender.load(first_model).ranker
    builder = StateBuilder(ranker.network, ranker.catalogue, max_events=max_events)
    generator, states = random.Random(seed), StateCache(builder, store, 2**20)
    for minute in range(60):
        minutes = [
            max(0, minute - generator.choice((0, 0, 0, 1, 3, 9, 40)))
            for _ in range(generator.randrange(1, 9))
        ]
        append(store, *(event_at(one, generator.choice(("p1", "p5", "unknown item"))) for one in minutes))
        if generator.random() < 0.05:
            store.delete_user(ANNA)
        if generator.random() < 0.6:
            with suppress(LongHistoryError):
                states.current(ANNA, max_new_events=generator.choice((None, 4)))
            state = states.current(ANNA, with_seen=generator.random() < 0.2)
            expected = replay_log(builder, store)
            assert equal(state, expected)
            assert (state.log_count, state.window_start) == (expected.log_count, expected.window_start)
            if state.seen is not None:
                assert np.array_equal(state.seen, expected.seen)  # type: ignore[arg-type]
            assert len(states.events_of(ANNA, state)) == state.log_count - state.window_start


def test_a_long_history_is_read_in_pages_and_only_its_last_events_are_kept(
    store: SQLiteStore, first_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_cache, "PAGE_EVENTS", 10)
    ranker = Recommender.load(first_model).ranker
    states = StateCache(StateBuilder(ranker.network, ranker.catalogue, max_events=8), store, 2**20)
    append(store, *map(event_at, range(200)))
    limits: list[int | None] = []
    events_since = store.events_since

    def recorded(user: User, generation: int = 0, seq: int = 0, limit: int | None = None) -> Any:
        limits.append(limit)
        return events_since(user, generation, seq, limit)

    monkeypatch.setattr(store, "events_since", recorded)
    largest = 0
    keep_last = state_cache._NewEvents.keep_last

    def keep(new: Any, count: int) -> None:
        nonlocal largest
        largest = max(largest, len(new.events))
        keep_last(new, count)

    monkeypatch.setattr(state_cache._NewEvents, "keep_last", keep)
    state = states.current(ANNA)
    assert limits == [10] * 21 and largest <= 36
    assert (state.log_count, state.event_count) == (200, 4)


def test_a_replay_stops_between_two_pieces(
    builder: StateBuilder, store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(store, *map(event_at, range(1000)))
    states = StateCache(StateBuilder(builder._network, builder._catalogue), store, 2**20)
    advance_all = builder._network.advance_all
    pieces: list[int] = []

    def advance_and_stop(state: Any, events: Any) -> Any:
        pieces.append(len(events))
        states.builder.stop()
        return advance_all(state, events)

    network = SimpleNamespace(advance_all=advance_and_stop, runtime=builder._network.runtime)
    monkeypatch.setattr(states.builder, "_network", network)
    for _ in range(2):  # the second one does not begin
        with pytest.raises(ReplayStoppedError):
            states.current(ANNA)
        assert len(pieces) == 1 and pieces[0] < 300 and len(states) == 0


def test_a_late_event_after_a_long_replay_does_not_replay_everything(
    states: StateCache, store: SQLiteStore, builder: StateBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The snapshots of one replay of 2,000 events are as near as those of single events: 8, 64 and 512 events apart."""
    append(store, *map(event_at, range(0, 4000, 2)))
    states.current(ANNA)
    counter = StepCounter(states, monkeypatch)
    for lateness, max_steps in [(1, 16), (40, 128), (400, 1024 + 64)]:
        append(store, event_at(4000 - 2 * lateness - 1))
        state = states.current(ANNA)
        assert lateness <= counter.reset() <= max_steps
        assert equal(state, replay_log(builder, store))
        counter.reset()
