"""The contract of the answer log: what was recommended, and the events that followed from it."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from reprise.server.store.records import User

FOREVER_MS = 2**62
"""A time after every other one, in milliseconds since 1970."""


class ShownItem(NamedTuple):
    """One item of an answer."""

    item_id: str
    """Id of the item."""
    score: float
    """Score of the model."""
    propensity: float | None = None
    """Probability with which exploration drew the item for this slot; None: the model ranked it here."""


class Answer(NamedTuple):
    """One answer: which model recommended which items to whom."""

    recommendation_id: str
    """Id of the answer, which events may carry."""
    time_ms: int
    """Time of the answer, in milliseconds since 1970."""
    tenant: str
    """Tenant of the request."""
    user: User | None
    """User of the request; None if the request named no user, and in answers that were read from a store."""
    model: str
    """Version of the model."""
    variant: str | None
    """Name of the variant in an A/B test; None: there was no test, or the request named no user."""
    operation: str
    """Name of the operation, such as `recommend`."""
    items: tuple[ShownItem, ...]
    """Items of the answer, best first."""
    user_hash: str = ""
    """Keyed hash of the user, in an answer that was read from a store; empty: the request named no user."""


class Response(NamedTuple):
    """An event that carried the id of an answer."""

    recommendation_id: str
    """Id of the answer."""
    time_ms: int
    """Time of the event, in milliseconds since 1970."""
    item_id: str
    """Item of the event."""
    kind: str | None
    """Kind of the event; None: the model's default kind."""
    value: float | None
    """Number that belongs to the event, such as a price."""
    user_hash: str
    """Keyed hash of the user."""


@runtime_checkable
class KeepsAnswers(Protocol):
    """An event store that also keeps answers, and the events that carry a `recommendation_id`.

    `EventStore.append` of such a store keeps a `Response` for each accepted event with a `recommendation_id`, in the same
    transaction. `EventStore.delete_user` deletes the answers and the responses of the user, in its transaction. Users are
    stored as keyed hashes only.
    """

    def append_answers(self, answers: Sequence[Answer]) -> None:
        """Store answers, all of them or none. An answer whose `recommendation_id` is known is not stored again.

        Raises:
            StoreError: the store does not respond, or has no table for answers.
        """
        ...

    def answers(self, tenant: str, since_ms: int = 0, before_ms: int = FOREVER_MS) -> Iterator[Answer]:
        """Yield the answers of a tenant in a period, in the order in which they were stored.

        Raises:
            StoreError: the store does not respond.
        """
        ...

    def responses(self, tenant: str, since_ms: int = 0, before_ms: int = FOREVER_MS) -> Iterator[Response]:
        """Yield the events of a tenant with a `recommendation_id` in a period, in the order in which they were stored.

        Raises:
            StoreError: the store does not respond.
        """
        ...

    def user_hash(self, user: User) -> str:
        """Return the keyed hash of a user, as in the answers and responses that are read from this store."""
        ...

    def trim_answers(self, before_ms: int, keep: int) -> int:
        """Delete answers before a time and all but the newest `keep`, and responses before that time; return the number.

        Raises:
            StoreError: the store does not respond.
        """
        ...
