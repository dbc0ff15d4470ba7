"""The contract of an event log as a check: run it on your own store; the built-in ones pass it.

A check returns nothing, or raises `AssertionError` that names the promise that was broken.
"""

import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

from reprise.errors import DataError
from reprise.server.store.event_store import EventStore, StoreError
from reprise.server.store.records import Status, User, UserEvent, UserLog

ANNA, BERT = User("shop", "anna"), User("shop", "bert")
NAMESAKE = User("rival", "anna")
ODD = User("shop", "Zoë 'x'; -- \"y\" \\ 🛒")
START_MS = 1_700_000_000_000


def check_store(opened: Callable[[], EventStore]) -> None:
    """All promises of a store.

    Args:
        opened: Opens the same store again each time it is called, as another process would; it must be empty at first.
    """
    for promise in _PROMISES:
        with _handles(opened) as (store, other):
            promise(store, other)


@contextmanager
def _handles(opened: Callable[[], EventStore]) -> Generator[tuple[EventStore, EventStore], None, None]:
    """Two handles of one store, in which nothing is left of the users of these checks."""
    with closing(opened()) as store, closing(opened()) as other:
        for user in (ANNA, BERT, NAMESAKE, ODD):
            store.forget(user)
        yield store, other


def _event(user: User, place: int, event_id: str | None = None) -> tuple[User, UserEvent]:
    return user, UserEvent(f"p{place}", START_MS + 1000 * place, event_id=event_id)


def _items(store: EventStore, user: User) -> list[str]:
    return [event.item_id for event in store.since(user).events]


def _events_come_back_as_they_went_in(store: EventStore, other: EventStore) -> None:
    events = [
        UserEvent("p 1 ✓", START_MS, "click", 2.5, "event \u0001ö"),
        UserEvent("p2", 0, None, None, None),
        UserEvent("p3", START_MS * 2, "", -0.0, ""),
    ]
    assert store.append([(ODD, event) for event in events]) == [Status.ACCEPTED] * 3, (
        "new events must be accepted"
    )
    for handle in (store, other):
        found = handle.since(ODD).events
        assert [event._replace(seq=0) for event in found] == events, (
            "events must come back as they went in, at every handle"
        )
        assert [event.seq for event in found] == [1, 2, 3], "places are counted from 1, without a gap"


def _an_event_without_a_time_is_refused(store: EventStore, other: EventStore) -> None:
    try:
        store.append([_event(ANNA, 0), (ANNA, UserEvent("p1"))])
    except DataError:
        assert other.since(ANNA).events == [], "no event of a refused batch may be stored"
    else:
        raise AssertionError("an event without time_ms must raise DataError")


def _the_same_id_is_a_duplicate(store: EventStore, other: EventStore) -> None:
    first = [_event(ANNA, 0, "a"), _event(ANNA, 1, "b"), _event(ANNA, 2, "a"), _event(BERT, 3, "b")]
    accepted, duplicate = Status.ACCEPTED, Status.DUPLICATE
    assert store.append(first) == [accepted, accepted, duplicate, duplicate], (
        "an event id is known within its batch and to all users of its tenant"
    )
    assert other.append([_event(ANNA, 4, "b"), _event(ANNA, 5, "c")]) == [duplicate, accepted], (
        "an event id is known to every handle"
    )
    assert store.append([_event(ANNA, 6), _event(ANNA, 6)]) == [accepted, accepted], (
        "an event without an id is always new"
    )
    assert store.append([_event(NAMESAKE, 7, "a")]) == [accepted], (
        "an event id of one tenant means nothing to another"
    )
    assert _items(other, ANNA) == ["p0", "p1", "p5", "p6", "p6"], "duplicates leave no trace"
    assert [event.seq for event in other.since(ANNA).events] == [1, 2, 3, 4, 5], "duplicates take no place"
    assert _items(other, NAMESAKE) == ["p7"], "tenants do not see each other"


def _since_goes_on(store: EventStore, other: EventStore) -> None:
    store.append([_event(ANNA, place) for place in range(5)])
    generation, events = store.since(ANNA)
    assert [event.seq for event in store.since(ANNA, generation, 3).events] == [4, 5], "since goes on"
    assert store.since(ANNA, generation, 5) == (generation, []), "nothing is new"
    assert store.since(ANNA, generation + 1, 3).events == events, "of another generation all is new"
    assert store.since(ANNA, generation, 1, limit=2) == (generation, events[1:3]), (
        "at most so many, the oldest of them"
    )
    assert store.since(ANNA, generation + 1, 3, limit=4) == (generation, events[:4])
    assert store.since(ANNA, generation, 4, limit=1) == (generation, events[4:])
    assert store.since(ANNA, generation, 5, limit=1) == (generation, [])
    assert store.since(BERT, limit=1) == (0, [])
    other.append([_event(ANNA, 9)])
    assert [event.item_id for event in store.since(ANNA, generation, 5).events] == ["p9"], (
        "what one handle added another sees"
    )
    assert store.since(BERT) == (0, []), "a user without events is unknown"
    assert store.append([]) == []


def _forgetting_is_complete(store: EventStore, other: EventStore) -> None:
    store.append([_event(ANNA, 0, "a"), _event(ANNA, 1, "b"), _event(BERT, 2, "c"), _event(NAMESAKE, 3)])
    before, (version, _) = other.since(ANNA), other.forgotten_since(0)
    assert store.forget(ANNA) == 2, "what was removed is counted"
    for handle in (store, other):
        assert handle.since(ANNA, *_place(before)) == (0, []), "a user who was forgotten is unknown"
        assert _items(handle, BERT) == ["p2"] and _items(handle, NAMESAKE) == ["p3"], "others stay"
        assert "anna" not in handle.recent_users("shop", 10)
        assert handle.prove_forgotten(ANNA), "it says what was checked"
    assert store.forget(ANNA) == 0, "to forget a stranger is no error"
    assert store.prove_forgotten(User("shop", "nobody"))
    assert store.scrub() and _items(other, BERT) == ["p2"], "to scrub takes nothing that was not forgotten"
    assert store.append([_event(ANNA, 4, "a")]) == [Status.ACCEPTED], "event ids are forgotten too"
    after = other.since(ANNA, *_place(before))
    assert [event.item_id for event in after.events] == ["p4"], (
        "one who comes back begins anew, and a handle that knew them before notices"
    )
    assert after.generation != before.generation
    assert store.prove_forgotten(ANNA), "one who came back is no error"
    assert _items(other, ANNA) == ["p4"], "to prove removes nothing"
    assert other.forgotten_since(version) == (version + 1, [before.generation]), (
        "a handle that remembers users hears who was forgotten, and of strangers nothing"
    )


def _the_forgotten_are_told_in_order(store: EventStore, other: EventStore) -> None:
    start, _ = store.forgotten_since(0)
    users = (BERT, ANNA, ODD)
    store.append([_event(user, 0) for user in users])
    generations = [store.since(user).generation for user in users]
    for handle, user in zip((store, other, store), users, strict=True):
        handle.forget(user)
    for handle in (store, other):
        for known in range(4):
            assert handle.forgotten_since(start + known) == (start + 3, generations[known:]), (
                "versions are counted, and those of after a version are told"
            )


def _place(log: UserLog) -> tuple[int, int]:
    return log.generation, log.events[-1].seq


def _appending_is_safe_from_several_threads(store: EventStore, other: EventStore) -> None:
    started = threading.Barrier(4)

    def add(worker: int) -> list[Status]:
        started.wait()
        handle = (store, other)[worker % 2]
        return [
            status
            for place in range(20)
            for status in handle.append(
                [_event((ANNA, BERT)[worker // 2], place, f"{worker // 2} {place}"), _event(ODD, place)]
            )[:1]
        ]

    with ThreadPoolExecutor(4) as pool:
        statuses = [status for found in pool.map(add, range(4)) for status in found]
    assert statuses.count(Status.ACCEPTED) == 40, "of two who offer the same event exactly one is accepted"
    for user, count in ((ANNA, 20), (BERT, 20), (ODD, 80)):
        found = store.since(user).events
        assert [event.seq for event in found] == list(range(1, count + 1)), "places have no gap"
        if user is not ODD:
            assert sorted(event.item_id for event in found) == sorted(f"p{place}" for place in range(20))


def _a_reader_never_misses_a_place(store: EventStore, other: EventStore) -> None:
    """Places must become visible in their order, or a reader that goes on from the last one would lose an event."""
    done = threading.Event()

    def add(handle: EventStore) -> None:
        for place in range(60):
            handle.append([_event(ANNA, place)])

    def follow() -> Iterator[int]:
        generation, seq = 0, 0
        while True:
            last = done.is_set()
            generation, events = store.since(ANNA, generation, seq)
            yield from (event.seq for event in events)
            seq = events[-1].seq if events else seq
            if last:
                return

    with ThreadPoolExecutor(3) as pool:
        followed = pool.submit(lambda: list(follow()))
        for writer in [pool.submit(add, store), pool.submit(add, other)]:
            writer.result()
        done.set()
        assert followed.result() == list(range(1, 121)), (
            "a reader that follows the log sees each place once, in order"
        )


def _items_are_kept(store: EventStore, other: EventStore) -> None:
    start = max((change.version for change in store.items_since(0)), default=0)
    first = store.put_item("shop", "p1", {"title": "Läufer", "price": 2.5, "available": True, "size": None})
    second = other.put_item("shop", "p1", {"price": 3})
    third = store.put_item("rival", "p1", {"price": 4})
    assert start < first < second < third, "versions grow, whichever handle changes an item"
    found = [change[1:] for change in other.items_since(start)]
    assert found == [("shop", "p1", {"price": 3}), ("rival", "p1", {"price": 4})], (
        "the last change of an item replaces those before"
    )
    assert store.items_since(third) == []


def _users_are_listed_newest_first(store: EventStore, other: EventStore) -> None:
    for user in (ANNA, NAMESAKE, ODD, BERT):
        store.append([_event(user, 0)])
    assert other.recent_users("shop", 2) == ["bert", ODD.user_id]
    assert other.recent_users("rival", 9) == ["anna"]


def _a_closed_store_says_so(store: EventStore, other: EventStore) -> None:
    store.append([_event(ANNA, 0)])
    store.check()
    store.close()
    for ask in (store.check, lambda: store.append([_event(ANNA, 1)]), lambda: store.since(ANNA)):
        try:
            ask()
        except StoreError:
            continue
        raise AssertionError("a closed store must raise StoreError")
    assert _items(other, ANNA) == ["p0"], "what was appended stays"


_PROMISES = (
    _events_come_back_as_they_went_in,
    _an_event_without_a_time_is_refused,
    _the_same_id_is_a_duplicate,
    _since_goes_on,
    _forgetting_is_complete,
    _the_forgotten_are_told_in_order,
    _appending_is_safe_from_several_threads,
    _a_reader_never_misses_a_place,
    _items_are_kept,
    _users_are_listed_newest_first,
    _a_closed_store_says_so,
)
