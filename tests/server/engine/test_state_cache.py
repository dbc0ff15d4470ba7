"""States are folds of the log, however they came about."""

import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from reprise.recommender import Recommender
from reprise.server.engine.event_encoding import by_time
from reprise.server.engine.state_cache import (
    LongHistoryError,
    StateBuilder,
    StateCache,
    UserState,
)
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


def event(place: int, user: User = ANNA, item: str | None = None) -> tuple[User, UserEvent]:
    time_ms, kind = START_MS + 60_000 * place, ("view", "buy")[place % 2]
    return user, UserEvent(item or f"p{place % 20}", time_ms, kind, float(place))


def same(one: UserState, other: UserState) -> bool:
    """Bit for bit: the same steps in the same order."""
    arrays = all(
        np.array_equal(one.network_state[name], other.network_state[name], equal_nan=True)
        for name in one.network_state
    )
    facts = (one.last_ms, one.event_count, one.skipped_count) == (
        other.last_ms,
        other.event_count,
        other.skipped_count,
    )
    return arrays and facts and one.network_state.keys() == other.network_state.keys()


def fold_of_the_log(builder: StateBuilder, store: SQLiteStore, user: User = ANNA) -> UserState:
    return builder.replay(store.since(user).events)


def test_a_stranger_is_remembered_by_nobody(states: StateCache) -> None:
    known = states.current(ANNA)
    assert (known.event_count, known.generation, len(states), states.bytes) == (0, 0, 0, 0)


def test_each_event_moves_the_state_by_one_step(
    states: StateCache, store: SQLiteStore, builder: StateBuilder
) -> None:
    for place in range(6):
        store.append([event(place)])
        known = states.current(ANNA)
        assert (known.event_count, known.seq) == (place + 1, place + 1)
        assert same(known, fold_of_the_log(builder, store))
    assert states.current(ANNA) is known  # nothing new, nothing done


@pytest.mark.parametrize("seed", range(8))
def test_order_of_arrival_does_not_matter(
    seed: int, states: StateCache, store: SQLiteStore, builder: StateBuilder
) -> None:
    """Late events, in one batch or in several, before and after questions: always the fold by time."""
    generator = random.Random(seed)
    places = generator.sample(range(12), 12)
    for place in places:
        store.append([event(place)])
        if generator.random() < 0.5:
            states.current(ANNA)
    in_time = [event(place)[1] for place in range(12)]
    assert same(states.current(ANNA), builder.replay(in_time))
    assert same(states.current(ANNA), fold_of_the_log(builder, store))


def test_events_of_one_time_stay_in_the_order_of_their_arrival(
    states: StateCache, store: SQLiteStore, builder: StateBuilder
) -> None:
    at_once = [event(0)[1]._replace(item_id=item) for item in ("p3", "p1", "p2")]
    for one in at_once:
        store.append([(ANNA, one)])
        states.current(ANNA)
    assert same(states.current(ANNA), builder.replay(at_once))
    assert not same(states.current(ANNA), builder.replay(at_once[::-1]))


def test_an_event_that_cannot_be_read_counts_as_skipped_and_moves_nothing(
    states: StateCache, store: SQLiteStore
) -> None:
    store.append([event(0)])
    before = states.current(ANNA)
    store.append([event(1, item="nobody's"), (ANNA, event(2)[1]._replace(kind="sniff"))])
    after = states.current(ANNA)
    assert (after.event_count, after.skipped_count, after.seq) == (1, 2, 3)
    assert all(
        np.array_equal(before.network_state[name], after.network_state[name], equal_nan=True)
        for name in before.network_state
    )
    # but it was there: an event before it is late
    assert after.last_ms == START_MS + 120_000


def test_a_late_event_that_cannot_be_read_does_no_harm(
    states: StateCache, store: SQLiteStore, builder: StateBuilder
) -> None:
    store.append([event(5)])
    states.current(ANNA)
    store.append([event(1, item="nobody's")])
    assert same(states.current(ANNA), fold_of_the_log(builder, store))


def test_who_was_forgotten_is_a_stranger_also_to_another_process(
    states: StateCache, store: SQLiteStore, builder: StateBuilder
) -> None:
    store.append([event(0), event(1)])
    other = StateCache(builder, store, 2**20)
    assert states.current(ANNA).event_count == other.current(ANNA).event_count == 2
    store.forget(ANNA)
    assert other.current(ANNA).event_count == 0
    assert same(other.current(ANNA), builder.initial)
    assert len(other) == 0
    store.append([event(3)])
    for each in (states, other):
        assert each.current(ANNA).event_count == 1
        assert same(each.current(ANNA), fold_of_the_log(builder, store))


def test_memory_is_bounded_and_who_made_room_is_folded_again(
    builder: StateBuilder, store: SQLiteStore
) -> None:
    one = builder.initial.bytes
    states = StateCache(builder, store, 3 * one + one // 2)
    users = [User("shop", f"user {number}") for number in range(5)]
    store.append([event(number, user) for number, user in enumerate(users)])
    for user in users:
        states.current(user)
    assert states.recent_users() == [users[4], users[3], users[2]]
    assert states.bytes <= 3 * one + one // 2
    states.current(users[2])
    states.current(users[0])
    assert states.recent_users() == [users[0], users[2], users[4]]
    assert same(states.current(users[1]), fold_of_the_log(builder, store, users[1]))
    states.drop(users[1])
    assert users[1] not in states.recent_users()


def test_to_ask_for_what_was_seen_folds_nothing_again(
    states: StateCache, store: SQLiteStore, builder: StateBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.append([event(place, item=item) for place, item in enumerate(["p3", "p1", "unknown", "p3"])])
    before = states.current(ANNA)
    with monkeypatch.context() as patch:
        patch.setattr(type(builder._network), "advance", None)
        after = states.current(ANNA, with_seen=True)
    assert same(before, after) and after.seen is not None
    assert np.array_equal(after.seen, fold_of_the_log(builder, store).seen)  # type: ignore[arg-type]
    assert states.current(ANNA).seen is after.seen  # remembered
    with pytest.raises(LongHistoryError):
        StateCache(builder, store, 2**20).current(ANNA, with_seen=True, max_new_events=3)
    store.forget(ANNA)
    assert states.current(ANNA, with_seen=True).seen.size == 0  # type: ignore[union-attr]


def test_what_was_seen_is_known_when_it_is_asked_for(
    states: StateCache, store: SQLiteStore, builder: StateBuilder
) -> None:
    store.append([event(0), event(1), event(0, item="nobody's")])
    assert states.current(ANNA).seen is None
    seen = states.current(ANNA, with_seen=True).seen
    assert seen is not None and len(seen) == 2
    store.append([event(2), event(1)])
    assert states.current(ANNA).seen is not None
    assert states.current(ANNA, with_seen=True).seen.size == 3  # type: ignore[union-attr]
    store.append([event(0)])  # late: all is folded again, and what was seen is still known
    assert states.current(ANNA, with_seen=True).seen.size == 3  # type: ignore[union-attr]


def test_a_long_past_is_refused_where_others_wait(states: StateCache, store: SQLiteStore) -> None:
    store.append([event(place) for place in range(11)])
    with pytest.raises(LongHistoryError):
        states.current(ANNA, max_new_events=10)
    assert states.current(ANNA, max_new_events=11).event_count == 11
    store.append([event(0)])  # late
    with pytest.raises(LongHistoryError):
        states.current(ANNA, max_new_events=10)


def test_events_without_a_time_come_last_in_their_order() -> None:
    past = [
        UserEvent("a"),
        UserEvent("b", 5),
        UserEvent("c"),
        UserEvent("d", 3),
        UserEvent("e", 5),
    ]
    assert "".join(one.item_id for one in by_time(past)) == "dbeac"


class Counted:
    """The steps of a network."""

    def __init__(self, states: StateCache, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps = 0
        network = states.builder._network
        advance = network.advance

        def counted(*arguments: Any) -> Any:
            self.steps += 1
            return advance(*arguments)

        monkeypatch.setattr(
            states.builder, "_network", SimpleNamespace(advance=counted, runtime=network.runtime)
        )

    def taken(self) -> int:
        taken, self.steps = self.steps, 0
        return taken


def test_a_late_event_costs_as_many_steps_as_it_is_late(
    states: StateCache, store: SQLiteStore, builder: StateBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = Counted(states, monkeypatch)
    for place in range(0, 1400, 2):
        store.append([event(place)])
        states.current(ANNA)
    assert counted.taken() == 700
    for late, most in [(1, 16), (5, 16), (40, 128), (300, 710)]:
        store.append([event(1400 - 2 * late - 1)])
        known = states.current(ANNA)
        assert late <= counted.taken() <= most
        assert same(known, fold_of_the_log(builder, store))
        counted.taken()
    assert states.bytes < 9 * (builder.initial.bytes + 500)


def test_late_events_again_and_again_cost_no_more_than_one(
    states: StateCache, store: SQLiteStore, builder: StateBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = Counted(states, monkeypatch)
    store.append([event(place) for place in range(0, 1200, 3)])
    states.current(ANNA)
    for place in range(1200, 1500, 3):
        for each in (place, place - 1, place - 2):  # in the order opposite to that of their times
            store.append([event(each)])
            counted.taken()
            known = states.current(ANNA)
            assert counted.taken() <= 18
    assert same(known, fold_of_the_log(builder, store))


@pytest.mark.parametrize("seed", range(6))
def test_marks_change_nothing_but_the_cost(
    seed: int, states: StateCache, store: SQLiteStore, builder: StateBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reprise.server.engine.state_cache.SNAPSHOT_INTERVALS", (2, 5, 11, 30))
    monkeypatch.setattr("reprise.server.engine.state_cache.MIN_SNAPSHOT_EVENTS", 3)
    generator = random.Random(seed)
    for place in range(60):
        places = [
            max(0, place - generator.choice((0, 0, 0, 1, 3, 9, 40))) for _ in range(generator.randrange(1, 4))
        ]
        store.append([event(one, item=generator.choice(("p1", "p5", "nobody's"))) for one in places])
        if generator.random() < 0.05:
            store.forget(ANNA)
        if generator.random() < 0.8:
            known = states.current(ANNA, with_seen=generator.random() < 0.2)
            assert same(known, fold_of_the_log(builder, store))
            seen = known.seen
            if seen is not None:
                assert np.array_equal(seen, fold_of_the_log(builder, store).seen)
