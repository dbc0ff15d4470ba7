"""The contract of an event store: the log of all events, and the only durable data of a server."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol, runtime_checkable

from reprise.data.erased_users import ErasedUsers
from reprise.errors import ConfigError, DataError
from reprise.server.store.records import Compaction, ItemChange, Status, StoredState, User, UserEvent, UserLog

DELETIONS_KEPT = 100_000
"""Number of deletions that a store remembers. A reader that gets this many may have missed earlier ones, and must drop
all its cached states."""
ITEM_CHANGES_KEPT = 100_000
"""Number of latest item versions whose deletions a compaction keeps. It removes the records of earlier deletions, so a reader
that has not read that far must read all changes again."""
LATEST_EVENTS = 16
"""Number of last events of a user that an assigned time must not be before (`UserEvent.time_assigned`)."""


class StoreError(OSError):
    """The store failed or did not respond. Unless a method promises more, the operation may have taken effect or not.

    It can be repeated, but events without an `event_id` may then be stored twice.
    """


class StoreNotFoundError(ConfigError):
    """The event store at an address is missing, and may not be created."""

    def __init__(self, location: object) -> None:
        super().__init__(f"no event log at {location}; give the address that a server uses")


class EventStore(Protocol):
    """The events of all users, and the changes of items.

    A store can be used from several threads. Several processes can use the same data, each through a store of its own.
    `reprise.testing.check_store` checks that a class keeps this contract.
    """

    def append(self, events: Sequence[tuple[User, UserEvent]]) -> list[Status]:
        """Append events durably and in order, all of them or none; return one status for each event.

        An event whose `event_id` the tenant has already used is not stored: it is a duplicate if `is_repetition` of the stored
        event, otherwise a conflict. Events with the status `ACCEPTED` survive a crash of the process and of the machine. The
        log assigns `seq`; a given `seq` is ignored. An event with `time_assigned` is stored with the latest time among the
        user's last events, at least `LATEST_EVENTS` of them, if that is later than its `time_ms`.

        Raises:
            DataError: an event has no `time_ms`; no event was appended.
            StoreError: all events were appended or, most likely, none. Events with an `event_id` may be sent again.
        """
        ...

    def events_since(
        self, user: User, generation: int = 0, seq: int = 0, limit: int | None = None
    ) -> UserLog:
        """Return the events of a user after a position in the log, in the order of `seq`.

        Args:
            user: The user.
            generation: Generation of the user, from an earlier result. If the user has another generation now, all
                events are returned, as if `seq` were 0.
            seq: Position of the last event that the caller knows; 0: none.
            limit: Maximum number of events, at least 1. The store reads no more than these. None: no limit.

        Raises:
            StoreError: the store does not respond.
        """
        ...

    def delete_user(self, user: User) -> int:
        """Delete all data of a user durably, in one fast transaction; return the number of deleted events.

        An unknown user is not an error. See `KeepsErasures` for stores that remember the deletion.

        Raises:
            StoreError: nothing was deleted; if the connection was lost, this is unknown.
        """
        ...

    def verify_erasure(self, user: User) -> str:
        """Check that nothing remains of a deleted user; return a description of the check.

        This may take long. Other threads and processes can use the store meanwhile. If the user has new events, the
        description says so; this is not an error.

        Raises:
            StoreError: data of the user remains and cannot be removed, or the store does not respond.
        """
        ...

    def deletions_since(self, version: int) -> tuple[int, list[int]]:
        """Return the current version, and the generations of the users deleted after `version`.

        Each deletion increases the version by 1, from 0. Only the newest `DELETIONS_KEPT` deletions are returned.
        """
        ...

    def vacuum(self) -> str:
        """Rewrite the tables so that no bytes of deleted rows remain; return a description of the result.

        This may take long and block other users of the store. It is for administration, not for requests.
        """
        ...

    def recent_users(self, tenant: str, limit: int) -> list[str]:
        """Return the ids of the newest users of a tenant, newest first."""
        ...

    def put_item(self, tenant: str, item_id: str, values: Mapping[str, object]) -> int:
        """Store the column values of an item, in place of all earlier ones; return the version of the change.

        Raises:
            StoreError: the values are stored or not; the call can be repeated.
        """
        ...

    def delete_item(self, tenant: str, item_id: str) -> int | None:
        """Delete the stored values of an item; return the version of the deletion, or None if no values are stored.

        Raises:
            StoreError: the values are deleted or not; the call can be repeated.
        """
        ...

    def items_since(self, version: int) -> list[ItemChange]:
        """Return the item changes after a version, oldest first. Only the last change of each item is returned.

        A deletion is a change too. A compaction removes deletions before the last `ITEM_CHANGES_KEPT` versions.
        """
        ...

    def check(self) -> None:
        """Raise `StoreError` if the store cannot be written to."""
        ...

    def close(self) -> None:
        """Close files and connections. Appended events are kept; later calls raise `StoreError`."""
        ...


@runtime_checkable
class HasWriteAheadLog(Protocol):
    """An event store with a write-ahead log, whose size the server reports in its metrics."""

    def log_bytes(self) -> int:
        """Return the size of the write-ahead log, in bytes."""
        ...


@runtime_checkable
class Compactable(Protocol):
    """An event store that can delete old events, which `reprise compact` does."""

    def compact(
        self, before_ms: int, tenant: str | None = None, dry_run: bool = False
    ) -> Iterator[Compaction]:
        """Delete the events before a time, in small transactions, while other threads and processes use the store.

        Each user who loses events gets a new generation in the same transaction, so that states are computed again from the
        events that are left. A user who loses all events is deleted. The event ids are forgotten. If the iteration ends
        early or fails, a later call deletes the rest.

        Args:
            before_ms: Delete events with an earlier `time_ms`, in milliseconds since 1970.
            tenant: Delete events of this tenant only. None: of all tenants.
            dry_run: Count the events and delete none.

        Yields:
            What has been done so far, after each transaction. The last one has the share 1.

        Raises:
            StoreError: the step that failed was done or not; the earlier ones were done.
        """
        ...


def is_repetition(offered: tuple[User, UserEvent], stored: tuple[User, UserEvent]) -> bool:
    """Return whether an event with a known `event_id` has the content of the stored one. Assigned times do not count."""
    (user, event), (stored_user, known) = offered, stored
    return (
        user == stored_user
        and (event.item_id, event.kind, event.value) == (known.item_id, known.kind, known.value)
        and (event.time_assigned or event.time_ms == known.time_ms)
    )


@runtime_checkable
class ListsEvents(Protocol):
    """An event store that can list all its events, so that a model can be trained again from the log."""

    def all_events(self, tenant: str) -> Iterator[tuple[str, UserEvent]]:
        """Yield the user id and the event of all events of a tenant, in the order of each user's log.

        Raises:
            StoreError: the store does not respond.
        """
        ...


@runtime_checkable
class KeepsStates(Protocol):
    """An event store that also keeps states of users, so that a long history is not replayed after each start.

    States are a cache. A store without these methods works, and a failure of theirs loses nothing.
    """

    def load_state(self, user: User, model: str) -> StoredState | None:
        """Return the state of a user that this model computed; None if there is none of the user's present generation.

        Raises:
            StoreError: the store does not respond.
        """
        ...

    def save_states(self, states: Sequence[StoredState]) -> None:
        """Keep states, one for each user, in place of those of other models and of earlier positions in the log.

        States of deleted users, which have another generation by now, are not kept. `EventStore.delete_user` deletes the
        state of the user in the same transaction as the events.

        Raises:
            StoreError: the states are kept or not.
        """
        ...

    def drop_states(self, model: str, limit: int) -> int:
        """Delete states that another model computed, at most `limit` of them; return their number.

        Raises:
            StoreError: the states are deleted or not.
        """
        ...


@runtime_checkable
class KeepsErasures(Protocol):
    """An event store with a queue of erased users, so that the next training leaves them out of its log.

    `EventStore.delete_user` adds the user in the same transaction, also a user without events in the store, whose events may
    be in a log. A compaction adds no user. The queue keeps keyed hashes and times, and no ids. A store without these methods
    works, but `reprise prepare --forget` refuses it.
    """

    def erased_users(self, tenant: str) -> ErasedUsers:
        """Return the queue of a tenant.

        Raises:
            StoreError: the store does not respond.
        """
        ...

    def purge_erased(self, before_ms: int, tenant: str) -> int:
        """Remove the users of a tenant who were last deleted before a time, and return their number.

        Raises:
            StoreError: the users are removed or not; the call can be repeated.
        """
        ...


def require_times(events: Sequence[tuple[User, UserEvent]]) -> None:
    """Raise `DataError` if an event has no `time_ms`: the log orders the events of a user by time."""
    for _, event in events:
        if event.time_ms is None:
            raise DataError(
                f"an event with item {event.item_id!r} has no time; set time_ms to milliseconds since 1970"
            )
