"""The contract of an event store as a check, for your own stores; the built-in stores pass it too.

A failed check raises `AssertionError` with the part of the contract that the store breaks.
"""

import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any

from reprise.errors import DataError
from reprise.server.store.event_store import Compactable, EventStore, StoreError
from reprise.server.store.records import Status, User, UserEvent, UserLog
from reprise.testing.answer_contract import check_answers, check_listed_events
from reprise.testing.erasure_contract import check_erasures
from reprise.testing.item_contract import check_item_changes, check_item_deletions
from reprise.testing.state_contract import check_states

ANNA, BERT = User("shop", "anna"), User("shop", "bert")
NAMESAKE = User("rival", "anna")
"""A user of another tenant with the same id."""
UNUSUAL = User("shop", "Zoë 'x'; -- \"y\" \\ 🛒")
"""A user whose id has characters that need escaping."""
START_MS = 1_700_000_000_000


def check_store(open_store: Callable[[], EventStore]) -> None:
    """Check that a store keeps the contract of `EventStore`.

    Args:
        open_store: Opens the same store with each call, as several processes would. The store must be empty at first.

    Raises:
        AssertionError: the store breaks the contract; the message says how.
    """
    for check in _CHECKS:
        with _handles(open_store) as (store, other):
            check(store, other)


@contextmanager
def _handles(open_store: Callable[[], EventStore]) -> Generator[tuple[EventStore, EventStore], None, None]:
    """Open a store twice and delete the users of earlier checks."""
    with closing(open_store()) as store, closing(open_store()) as other:
        for user in (ANNA, BERT, NAMESAKE, UNUSUAL):
            store.delete_user(user)
        yield store, other


def _event(user: User, number: int, event_id: str | None = None) -> tuple[User, UserEvent]:
    return user, UserEvent(f"p{number}", START_MS + 1000 * number, event_id=event_id)


def _items(store: EventStore, user: User) -> list[str]:
    return [event.item_id for event in store.events_since(user).events]


def _position(log: UserLog) -> tuple[int, int]:
    """Return the generation and the last `seq` of a log."""
    return log.generation, log.events[-1].seq


def _check_events_are_stored_unchanged(store: EventStore, other: EventStore) -> None:
    events = [
        UserEvent("p 1 ✓", START_MS, "click", 2.5, "event \u0001ö"),
        UserEvent("p2", 0, None, None, None),
        UserEvent("p3", START_MS * 2, "", -0.0, ""),
    ]
    assert store.append([(UNUSUAL, event) for event in events]) == [Status.ACCEPTED] * 3, (
        "new events must be accepted"
    )
    for handle in (store, other):
        stored = handle.events_since(UNUSUAL).events
        assert [event._replace(seq=0) for event in stored] == events, (
            "every handle must return events as they were appended"
        )
        assert [event.seq for event in stored] == [1, 2, 3], "seq must count from 1 without gaps"


def _check_an_event_without_a_time_is_an_error(store: EventStore, other: EventStore) -> None:
    try:
        store.append([_event(ANNA, 0), (ANNA, UserEvent("p1"))])
    except DataError:
        assert other.events_since(ANNA).events == [], "no event of a rejected batch may be stored"
    else:
        raise AssertionError("an event without time_ms must raise DataError")


def _check_duplicates_are_not_stored(store: EventStore, other: EventStore) -> None:
    first = [_event(ANNA, 0, "a"), _event(ANNA, 1, "b"), _event(ANNA, 0, "a"), _event(ANNA, 1, "b")]
    accepted, duplicate = Status.ACCEPTED, Status.DUPLICATE
    assert store.append(first) == [accepted, accepted, duplicate, duplicate], (
        "an event with the id and the content of another one must be a duplicate within a batch"
    )
    assert other.append([_event(ANNA, 1, "b"), _event(ANNA, 5, "c")]) == [duplicate, accepted], (
        "an event id must be known to every handle"
    )
    assert store.append([_event(ANNA, 6), _event(ANNA, 6)]) == [accepted, accepted], (
        "an event without an id must never be a duplicate"
    )
    assert store.append([_event(NAMESAKE, 7, "a")]) == [accepted], (
        "event ids of one tenant must not affect another tenant"
    )
    assert _items(other, ANNA) == ["p0", "p1", "p5", "p6", "p6"], "duplicates must not be stored"
    assert [event.seq for event in other.events_since(ANNA).events] == [1, 2, 3, 4, 5], (
        "duplicates must not use up a seq"
    )
    assert _items(other, NAMESAKE) == ["p7"], "tenants must be separate"


def _check_other_content_with_a_known_id_is_a_conflict(store: EventStore, other: EventStore) -> None:
    event = UserEvent("p1", START_MS, "view", 2.5, "a")
    accepted, duplicate, conflict = Status.ACCEPTED, Status.DUPLICATE, Status.CONFLICT
    changes: list[dict[str, Any]] = [
        {"item_id": "p2"}, {"time_ms": START_MS + 1}, {"kind": "buy"}, {"kind": None}, {"value": 3.0}, {"value": None},
    ]  # fmt: skip
    changed = [(ANNA, event._replace(**change)) for change in changes]
    assert store.append([(ANNA, event), *changed, (BERT, event)]) == [accepted, *[conflict] * 7], (
        "an event with the id and other content of an event of the same batch must be a conflict"
    )
    for handle in (store, other):
        assert handle.append([*changed, (BERT, event), (ANNA, event)]) == [*[conflict] * 7, duplicate], (
            "an event with the id and other content of a stored event must be a conflict"
        )
    assert other.events_since(ANNA).events == [event._replace(seq=1)], "conflicts must not be stored"
    assert "bert" not in other.recent_users("shop", 9), "a conflict must not add its user"
    resent = event._replace(time_ms=START_MS + 9, time_assigned=True)
    assert store.append([(ANNA, resent)]) == [duplicate], "assigned times must not be compared"


def _check_assigned_times_are_not_before_the_last_event(store: EventStore, other: EventStore) -> None:
    def assigned(time_ms: int) -> tuple[User, UserEvent]:
        return ANNA, UserEvent("p1", time_ms, time_assigned=True)

    store.append([assigned(START_MS), (ANNA, UserEvent("p1", START_MS + 50)), assigned(START_MS + 10)])
    other.append([assigned(START_MS + 20), (ANNA, UserEvent("p1", START_MS - 99)), assigned(START_MS + 30)])
    store.append([assigned(START_MS + 60), (BERT, UserEvent("p1", START_MS, time_assigned=True))])
    stored = [(event.time_ms or 0) - START_MS for event in other.events_since(ANNA).events]
    assert stored == [0, 50, 50, 50, -99, 50, 60], (
        "an event with an assigned time must have the time of the latest earlier event, if that is later"
    )
    assert not any(event.time_assigned for event in other.events_since(ANNA).events), (
        "events from the log must not say that their time was assigned"
    )
    assert other.events_since(BERT).events[0].time_ms == START_MS, "users must not affect each other's times"


def _check_events_since_returns_the_newer_events(store: EventStore, other: EventStore) -> None:
    store.append([_event(ANNA, number) for number in range(5)])
    generation, events = store.events_since(ANNA)
    assert [event.seq for event in store.events_since(ANNA, generation, 3).events] == [4, 5], (
        "events_since must return the events after seq"
    )
    assert store.events_since(ANNA, generation, 5) == (generation, []), (
        "events_since must return no events after the last seq"
    )
    assert store.events_since(ANNA, generation + 1, 3).events == events, (
        "for another generation, events_since must return all events"
    )
    assert store.events_since(ANNA, generation, 1, limit=2) == (generation, events[1:3]), (
        "with a limit, events_since must return the oldest events after seq"
    )
    for since, limit, expected in (((1, 3), 4, events[:4]), ((0, 4), 1, events[4:]), ((0, 5), 1, [])):
        found = store.events_since(ANNA, generation + since[0], since[1], limit=limit)
        assert found == (generation, expected), f"events_since must respect limit={limit}"
    other.append([_event(ANNA, 9)])
    assert [event.item_id for event in store.events_since(ANNA, generation, 5).events] == ["p9"], (
        "a handle must return the events that another one appended"
    )
    for any_limit in (None, 1):
        found = store.events_since(BERT, limit=any_limit)
        assert found == (0, []), "an unknown user must have the generation 0 and no events"
    assert store.append([]) == [], "an empty batch must be accepted"


def _check_deletion_is_complete(store: EventStore, other: EventStore) -> None:
    store.append([_event(ANNA, 0, "a"), _event(ANNA, 1, "b"), _event(BERT, 2, "c"), _event(NAMESAKE, 3)])
    before, (version, _) = other.events_since(ANNA), other.deletions_since(0)
    assert store.delete_user(ANNA) == 2, "delete_user must return the number of deleted events"
    for handle in (store, other):
        assert handle.events_since(ANNA, *_position(before)) == (0, []), "a deleted user must be unknown"
        assert _items(handle, BERT) == ["p2"], "a deletion must not affect other users"
        assert _items(handle, NAMESAKE) == ["p3"], "a deletion must not affect other tenants"
        assert "anna" not in handle.recent_users("shop", 10), "a deleted user must not be listed"
        assert handle.verify_erasure(ANNA), "verify_erasure must describe what it checked"
    assert store.delete_user(ANNA) == 0, "deleting an unknown user must not be an error"
    assert store.verify_erasure(User("shop", "unknown")), "verify_erasure must accept an unknown user"
    assert store.vacuum(), "vacuum must describe what it did"
    assert _items(other, BERT) == ["p2"], "a vacuum must not remove events of other users"
    assert store.append([_event(ANNA, 4, "a")]) == [Status.ACCEPTED], "event ids must be deleted too"
    after = other.events_since(ANNA, *_position(before))
    assert [event.item_id for event in after.events] == ["p4"], (
        "new events of a deleted user must be returned to a reader that knew the deleted ones"
    )
    assert after.generation != before.generation, "a deletion must change the generation of the user"
    assert store.verify_erasure(ANNA), "verify_erasure must accept a user with new events"
    assert _items(other, ANNA) == ["p4"], "verify_erasure must not remove new events"
    assert other.deletions_since(version) == (version + 1, [before.generation]), (
        "deletions_since must return the deletion of a known user, and none of an unknown user"
    )


def _check_old_events_can_be_deleted(store: EventStore, other: EventStore) -> None:
    """A store without `compact` passes; it only cannot be used with `reprise compact`."""
    if not isinstance(store, Compactable):
        return
    users = (ANNA, BERT, NAMESAKE)
    store.append([_event(user, number, f"{user.user_id} {number}") for number in range(10) for user in users])
    store.append([_event(UNUSUAL, 0)])
    before = {user: other.events_since(user) for user in (*users, UNUSUAL)}
    version, _ = other.deletions_since(0)
    cut_ms = START_MS + 4_000

    def compact(before_ms: int, tenant: str | None = None, dry_run: bool = False) -> tuple[int, int]:
        *_, last = store.compact(before_ms, tenant, dry_run)
        assert last.share == 1.0, "the last step of a compaction must have the share 1"
        return last.events, last.users

    assert compact(cut_ms, "shop", dry_run=True) == (9, 3), "a dry run must count old events and their users"
    assert other.events_since(ANNA) == before[ANNA], "a dry run must not delete events"
    assert compact(START_MS, "shop") == (0, 0), "events at the time itself must be kept"
    assert compact(cut_ms, "shop") == (9, 3), "a compaction must count the deleted events and their users"
    assert compact(cut_ms, "shop") == (0, 0), "a repeated compaction must find nothing"
    for handle in (store, other):
        found = handle.events_since(ANNA, *_position(before[ANNA]))
        assert found.events == before[ANNA].events[4:], (
            "a reader that knew deleted events must get all events that are left"
        )
        assert found.generation not in (0, before[ANNA].generation), (
            "the loss of events must change the generation"
        )
        assert handle.events_since(NAMESAKE, *_position(before[NAMESAKE])).events == [], (
            "a compaction of one tenant must not affect another"
        )
        assert handle.events_since(UNUSUAL) == (0, []), "a user without events must be unknown"
        assert UNUSUAL.user_id not in handle.recent_users("shop", 9), (
            "a user without events must not be listed"
        )
    assert other.deletions_since(version) == (version + 1, [before[UNUSUAL].generation]), (
        "a user who lost all events must be among the deletions"
    )
    assert store.append([_event(ANNA, 3, "anna 3"), _event(ANNA, 4, "anna 4")]) == [
        Status.ACCEPTED,
        Status.DUPLICATE,
    ], "ids of deleted events must be forgotten, and only these"
    assert _items(other, ANNA) == [*(f"p{number}" for number in range(4, 10)), "p3"], (
        "new events must be readable"
    )
    assert compact(START_MS + 99_000) == (7 + 6 + 10, 3), (
        "without a tenant, a compaction must affect all tenants"
    )
    assert other.recent_users("shop", 9) == other.recent_users("rival", 9) == [], "all users must be deleted"
    store.append([_event(ANNA, 1)])
    assert _items(other, ANNA) == ["p1"], "a user whose events were all deleted must be able to come back"
    assert store.delete_user(ANNA) == 1, "delete_user must count the events that are left"
    assert store.verify_erasure(ANNA), "verify_erasure must work after a compaction"


def _check_deletions_are_returned_in_order(store: EventStore, other: EventStore) -> None:
    start, _ = store.deletions_since(0)
    users = (BERT, ANNA, UNUSUAL)
    store.append([_event(user, 0) for user in users])
    generations = [store.events_since(user).generation for user in users]
    for handle, user in zip((store, other, store), users, strict=True):
        handle.delete_user(user)
    for handle in (store, other):
        for known in range(4):
            assert handle.deletions_since(start + known) == (start + 3, generations[known:]), (
                "deletions_since must return the deletions after a version, in order"
            )


def _check_appending_is_thread_safe(store: EventStore, other: EventStore) -> None:
    """Two threads append the same events of ANNA and two of BERT; each also appends own events of UNUSUAL."""
    barrier = threading.Barrier(4)

    def append(thread: int) -> list[Status]:
        barrier.wait()
        handle, user = (store, other)[thread % 2], thread // 2
        return [
            handle.append([_event((ANNA, BERT)[user], number, f"{user} {number}"), _event(UNUSUAL, number)])[
                0
            ]
            for number in range(20)
        ]

    with ThreadPoolExecutor(4) as pool:
        statuses = [status for several in pool.map(append, range(4)) for status in several]
    assert statuses.count(Status.ACCEPTED) == 40, (
        "of two concurrent events with the same id, exactly one must be accepted"
    )
    for user, count in ((ANNA, 20), (BERT, 20), (UNUSUAL, 80)):
        events = store.events_since(user).events
        assert [event.seq for event in events] == list(range(1, count + 1)), (
            "seq must have no gaps after concurrent appends"
        )
        if user is not UNUSUAL:
            items = sorted(event.item_id for event in events)
            assert items == sorted(f"p{number}" for number in range(20)), "every event must be stored once"


def _check_a_reader_sees_every_event(store: EventStore, other: EventStore) -> None:
    """If a larger `seq` became visible before a smaller one, a reader that continues after it would miss an event."""
    done = threading.Event()

    def append(handle: EventStore) -> None:
        for number in range(60):
            handle.append([_event(ANNA, number)])

    def follow() -> Iterator[int]:
        generation, seq = 0, 0
        while True:
            is_last_read = done.is_set()
            generation, events = store.events_since(ANNA, generation, seq)
            yield from (event.seq for event in events)
            seq = events[-1].seq if events else seq
            if is_last_read:
                return

    with ThreadPoolExecutor(3) as pool:
        reader = pool.submit(lambda: list(follow()))
        for writer in [pool.submit(append, store), pool.submit(append, other)]:
            writer.result()
        done.set()
        assert reader.result() == list(range(1, 121)), (
            "a reader that follows the log must see every event once, in order"
        )


def _check_recent_users_are_newest_first(store: EventStore, other: EventStore) -> None:
    for user in (ANNA, NAMESAKE, UNUSUAL, BERT):
        store.append([_event(user, 0)])
    assert other.recent_users("shop", 2) == ["bert", UNUSUAL.user_id], (
        "recent_users must return the newest users first"
    )
    assert other.recent_users("rival", 9) == ["anna"], "recent_users must return users of one tenant"


def _check_a_closed_store_raises(store: EventStore, other: EventStore) -> None:
    store.append([_event(ANNA, 0)])
    store.check()
    store.close()
    for operation in (
        store.check,
        lambda: store.append([_event(ANNA, 1)]),
        lambda: store.events_since(ANNA),
    ):
        try:
            operation()
        except StoreError:
            continue
        raise AssertionError("a closed store must raise StoreError")
    assert _items(other, ANNA) == ["p0"], "events must remain after a store is closed"


_CHECKS = (
    _check_events_are_stored_unchanged,
    _check_an_event_without_a_time_is_an_error,
    _check_duplicates_are_not_stored,
    _check_other_content_with_a_known_id_is_a_conflict,
    _check_assigned_times_are_not_before_the_last_event,
    _check_events_since_returns_the_newer_events,
    _check_deletion_is_complete,
    _check_old_events_can_be_deleted,
    _check_deletions_are_returned_in_order,
    _check_appending_is_thread_safe,
    _check_a_reader_sees_every_event,
    check_item_changes,
    check_item_deletions,
    _check_recent_users_are_newest_first,
    check_states,
    check_erasures,
    check_answers,
    check_listed_events,
    _check_a_closed_store_raises,
)
