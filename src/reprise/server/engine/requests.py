"""What a caller asks the live floor, and what it answers: plain values, whatever way they come in and go out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from reprise.data.vocabulary import ItemId
from reprise.server.store.records import User, UserEvent


@dataclass(frozen=True)
class UserContext:
    """For whom: a user of the log, a past that is told with the question, or both."""

    tenant: str
    user_id: str | None = None
    """None: nobody the log knows."""
    events: Sequence[UserEvent] = ()
    """What is told; it is read after (or, by its times, among) what the log has, and not kept."""

    @property
    def user(self) -> User | None:
        """The user of the log."""
        return None if self.user_id is None else User(self.tenant, self.user_id)


@dataclass(frozen=True)
class RankingRules:
    """Which items may be answered, and how."""

    k: int = 10
    deny: Sequence[str] = ()
    allow: Sequence[str] | None = None
    filter: Mapping[str, Any] | None = None
    exclude_seen: bool = False
    diversity: float = 0.0

    @property
    def plain(self) -> bool:
        """Whether all items may be answered, so that one search serves several such questions."""
        return not (self.deny or self.exclude_seen or self.filter) and self.allow is None


@dataclass(frozen=True)
class RecommendQuery:
    """What may come next?"""

    asker: UserContext
    rules: RankingRules = field(default_factory=RankingRules)
    now_ms: int | None = None
    """The moment for which the answer is; None: the moment of asking."""
    explain: bool = False


class Attribution(NamedTuple):
    """A past event, and how much it moved the score of an answer."""

    item_id: str
    title: str | None
    timestamp: int | None
    kind: str | None
    influence: float


class RankedItem(NamedTuple):
    """One item of an answer."""

    item_id: ItemId
    score: float
    rank: int
    title: str | None
    reason: str
    causes: list[Attribution] | None = None
    """Those that moved it most first; None where no explanation was asked for."""


class RecommendResult(NamedTuple):
    """What may come next."""

    items: list[RankedItem]
    model_version: str
    events: int
    """How many events it goes by."""
    skipped: int
    """How many it could not read."""
