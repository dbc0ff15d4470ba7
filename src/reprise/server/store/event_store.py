"""The contract of an event store."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from reprise.errors import ConfigError, DataError
from reprise.server.store.records import ItemChange, Status, User, UserEvent, UserLog

FORGOTTEN_KEPT = 100_000
"""Of how many forgettings a store tells: who hears of so many at once may have missed earlier ones."""


class StoreError(OSError):
    """The store did not take something, or did not answer: nothing is promised of it, and it may be tried again."""


class StoreNotFoundError(ConfigError):
    """There is no event store at an address, and none may be created."""

    def __init__(self, location: object) -> None:
        super().__init__(f"there is no event log at {location}; name the one that a server writes to")


class EventStore(Protocol):
    """The truth about users. Safe to use from several threads; several processes may share one."""

    def append(self, events: Sequence[tuple[User, UserEvent]]) -> list[Status]:
        """Append events durably and in order, all of them or none; return one status for each event.

        An event whose `event_id` the tenant has already used is a duplicate and is not stored. Events with the status
        `ACCEPTED` survive a crash of the process and of the machine. The log assigns `seq`; a given `seq` is ignored.

        Raises:
            DataError: an event has no `time_ms`; no event was appended.
            StoreError: all events were appended or, most likely, none. Events with an `event_id` may be sent again.
        """
        ...

    def since(self, user: User, generation: int = 0, seq: int = 0, limit: int | None = None) -> UserLog:
        """The events of a user after place `seq` of this generation; all of them if the log has another generation.

        Args:
            user: Whose.
            generation: Of the user, as the log last told it.
            seq: The place of the last event that is known.
            limit: At most so many events, the oldest of them, and no more are read; at least 1. None: all.

        Raises:
            StoreError: the store does not answer.
        """
        ...

    def forget(self, user: User) -> int:
        """Remove everything of a user, durably, in one transaction; how many events it was. It does not take long.

        Raises:
            StoreError: it was not removed, or, where the connection was lost, perhaps not.
        """
        ...

    def prove_forgotten(self, user: User) -> str:
        """Look whether anything is left of a user who was forgotten before; what was checked, in words.

        It may take long. Others read and write meanwhile, so a user who came back is told of, and is no error.

        Raises:
            StoreError: there is a trace that cannot be removed, or the store does not answer.
        """
        ...

    def forgotten_since(self, version: int) -> tuple[int, list[int]]:
        """The version of the last forgetting, and the generations of the users who were forgotten after `version`.

        Versions grow by 1 with every forgetting, from 0. Only the newest `FORGOTTEN_KEPT` are told of: who hears of so many
        remembers nobody any more.
        """
        ...

    def scrub(self) -> str:
        """Write the tables anew, so that no byte of a deleted row is left in them; what was done, in words.

        It takes long where there is much, and others wait meanwhile: for an operator's command, not for a request.
        """
        ...

    def recent_users(self, tenant: str, limit: int) -> list[str]:
        """Ids of users of a tenant, the newest users first."""
        ...

    def put_item(self, tenant: str, item_id: str, values: Mapping[str, object]) -> int:
        """Keep what a caller says of an item, instead of what was said before; the version of the change.

        Raises:
            StoreError: nothing was kept.
        """
        ...

    def items_since(self, version: int) -> list[ItemChange]:
        """The changes of items after this version, oldest first; only the last one of each item."""
        ...

    def check(self) -> None:
        """Raise `StoreError` where the store cannot be written to."""
        ...

    def close(self) -> None:
        """Let go of files and connections. What was appended stays."""
        ...


def require_times(events: Sequence[tuple[User, UserEvent]]) -> None:
    """Raise `DataError` if an event has no `time_ms`: the log orders the events of a user by time."""
    for _, event in events:
        if event.time_ms is None:
            raise DataError(
                f"an event with item {event.item_id!r} has no time; set time_ms to milliseconds since 1970"
            )
