"""Events as the live floor passes them: offered by a caller, and kept in the log."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Status(StrEnum):
    """What became of an event that was offered to the log."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    REJECTED = "rejected"


class User(NamedTuple):
    """Whose events they are. Users of two tenants are strangers, whatever their ids."""

    tenant: str
    user_id: str


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event that is offered to the log."""

    user: User
    item_id: str
    time_ms: int
    """When it was, in milliseconds since 1970."""
    kind: str | None = None
    value: float | None = None
    event_id: str | None = None
    """The caller's own id of it: offered again, it is a duplicate. None is always new."""


class StoredEvent(NamedTuple):
    """An event of one user in the log."""

    seq: int
    """Its place in the order in which the user's events arrived, from 1."""
    item_id: str
    time_ms: int
    kind: str | None
    value: float | None
    event_id: str | None


class UserLog(NamedTuple):
    """What the log has of one user since some place in it."""

    generation: int
    """Changes when the user is forgotten; 0 where the log knows no such user."""
    events: list[StoredEvent]
    """In the order of `seq`. From the beginning, if the generation is not the one that was asked about."""


class ItemChange(NamedTuple):
    """What a caller said of an item after the model was made."""

    version: int
    """Grows with every change of the store."""
    tenant: str
    item_id: str
    values: dict[str, object]
    """By column; these replace the values of an earlier change."""


class ErasureResult(NamedTuple):
    """What was removed of a user, and how that was proved."""

    events: int
    """How many events the log had."""
    proof: str
    """What was checked afterwards, in words."""
