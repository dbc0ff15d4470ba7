"""Records of the event log: users, their events, changes of items and results of deletions."""

from enum import StrEnum
from typing import Literal, NamedTuple


class Status(StrEnum):
    """Outcome of one event offered to the log."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    REJECTED = "rejected"


Reason = Literal["invalid", "too_early", "in_future", "unknown_kind", "no_consent", "too_many", "conflict"]
"""Why an event is not stored: it is rejected, or in conflict with a stored event."""


class User(NamedTuple):
    """A user of one tenant. The same `user_id` in two tenants means two different users."""

    tenant: str
    user_id: str


class UserEvent(NamedTuple):
    """One event of a user: offered to the log, read from it, or sent with a request.

    The user is not a field: `EventStore.append` takes pairs of a user and an event, and `EventStore.events_since` reads one
    user.
    """

    item_id: str
    """Id of the item, as text. A catalogue with integer ids reads `"17"` as 17."""
    time_ms: int | None = None
    """Milliseconds since 1970. None: unknown, which only an event sent with a request may have."""
    kind: str | None = None
    """Name of the event type, such as `"view"`. None: the model's default type."""
    value: float | None = None
    """Number that belongs to the event, such as a rating or a price. None: missing."""
    event_id: str | None = None
    """Id that the caller chose, for detecting duplicates. None: the event is never a duplicate."""
    seq: int = 0
    """Position in the log of the user, from 1. 0: the event is not from the log."""
    time_assigned: bool = False
    """For an event offered to the log: the caller knew no time, and `time_ms` is the time of arrival. The log moves it to the
    time of the user's last event if that is later, and does not compare it with the time of a duplicate."""
    recommendation_id: str | None = None
    """Id of the answer that led to the event, for an event offered to the log. It is kept in the answer log (`KeepsAnswers`),
    and is not compared with that of a duplicate. None: not known."""


class UserLog(NamedTuple):
    """Events of one user, read from the log in one consistent view."""

    generation: int
    """Random number given to a user at the first event. It changes when the user is deleted; 0: the user is unknown."""
    events: list[UserEvent]
    """Events in the order of `seq`. All events of the user if `generation` differs from the requested one."""


class StoredState(NamedTuple):
    """The state of a user, kept by a store as a cache. It is valid for one model and one generation of the user."""

    user: User
    generation: int
    """Generation of the user whose events the state has read."""
    seq: int
    """Position in the log of the last event that the state has read."""
    model: str
    """What computed the state: the version of the model and the settings of the server."""
    body: bytes
    """The state, in a form that the store does not read."""


class ItemChange(NamedTuple):
    """New column values of an item, set by a caller after the model was exported, or their deletion."""

    version: int
    """Number of the change. It grows with every change in the store."""
    tenant: str
    item_id: str
    values: dict[str, object] | None
    """New values by column name. They replace all values of an earlier change of this item. None: the change was deleted."""


class Compaction(NamedTuple):
    """Progress of the deletion of old events."""

    events: int
    """Number of events that were deleted, or found."""
    users: int
    """Number of users that these events belong to."""
    share: float
    """Share of the work that is done, 0 to 1."""


class ErasureResult(NamedTuple):
    """Result of deleting the data of a user."""

    events: int
    """Number of events that were deleted."""
    proof: str
    """Description of the check that found no remaining data of the user."""
