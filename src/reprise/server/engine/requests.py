"""Requests to the serving engine and their results, independent of HTTP."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from reprise.data.vocabulary import ItemId
from reprise.recommender.recommendations import ColumnContribution
from reprise.server.store.records import User, UserEvent

MAX_EVENT_AHEAD_S = 300.0
"""Time by which clocks of clients and servers may differ, in seconds."""


@dataclass(frozen=True)
class UserContext:
    """The history to recommend for: a user of the log, events sent with the request, or both."""

    tenant: str
    user_id: str | None = None
    """Id of a user in the log. None: do not read the log."""
    events: Sequence[UserEvent] = ()
    """Events sent with the request. They are merged with those of the log by time, and are not stored."""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """Attributes of the user by column of the user table, sent with the request and not stored."""
    min_users: int = 0
    """Minimum number of users with events of an item, in the log of the model, for the item to be in the answer."""

    @property
    def user(self) -> User | None:
        """The user in the log; None without a `user_id`."""
        return None if self.user_id is None else User(self.tenant, self.user_id)


@dataclass(frozen=True)
class RankingRules:
    """Restrictions on the recommended items, and how to rank them."""

    k: int = 10
    """Number of items to recommend."""
    deny: Sequence[str] = ()
    """Ids of items to exclude."""
    allow: Sequence[str] | None = None
    """Ids of the only items to consider. None: all items."""
    filter: Mapping[str, Any] | None = None
    """Conditions on the columns of the items, by column name. None: no conditions."""
    exclude_seen: bool = False
    """Exclude the items in the user's history."""
    diversity: float = 0.0
    """Trade-off between the score and the dissimilarity of the items, from 0 (score only) to 1."""
    explore: float = 0.0
    """Share of the slots for items that were shown rarely, from 0 to 1."""
    explore_seed: int | None = None
    """Seed of the exploration. None: a different result in each request."""

    @property
    def unrestricted(self) -> bool:
        """Whether no rule excludes an item and no slot is explored, so that several such queries can share one search."""
        return not (self.deny or self.exclude_seen or self.filter or self.explore) and self.allow is None


@dataclass(frozen=True)
class RecommendQuery:
    """A request for the items that a user is likely to choose next."""

    context: UserContext
    rules: RankingRules = field(default_factory=RankingRules)
    now_ms: int | None = None
    """Time to recommend for, in milliseconds since 1970. None: the current time."""
    explain: bool = False
    """Attribute the score of each item to the latest events of the history and to the columns of the item."""


class Attribution(NamedTuple):
    """An event of the history and its influence on the score of a recommended item."""

    item_id: str
    title: str | None
    timestamp: int | None
    """Time of the event in milliseconds since 1970; None: unknown."""
    kind: str | None
    influence: float
    """Score of the recommended item minus its score without this event."""


class RankedItem(NamedTuple):
    """One recommended item."""

    item_id: ItemId
    score: float
    rank: int
    """Position in the list, from 1."""
    title: str | None
    reason: str
    """One line that says why the item was recommended."""
    propensity: float | None = None
    """Probability with which exploration drew the item for this slot. None: the model ranked it here."""
    attributions: list[Attribution] | None = None
    """Events with the largest influence first. None: the query did not ask for an explanation."""
    columns: list[ColumnContribution] | None = None
    """Columns with the largest contribution first. None: the query did not ask for an explanation."""


class RecommendResult(NamedTuple):
    """Recommended items, best first."""

    items: list[RankedItem]
    model_version: str
    event_count: int
    """Number of events in the user's state."""
    skipped_count: int
    """Number of events that the model could not read."""
    variant: str | None = None
    """Name of the user's variant in an A/B test; None: there is no test, or the query has no user."""
