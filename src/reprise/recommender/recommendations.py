"""What a recommender answers with."""

from collections.abc import Iterable
from typing import NamedTuple

from reprise.data.vocabulary import ItemId


class Recommendation(NamedTuple):
    """One recommended item."""

    item_id: ItemId
    """The caller's id."""
    score: float
    """Higher is better. Scores of one answer compare; those of two models do not."""
    rank: int
    """1 is best."""
    reason: str
    """Where the answer comes from, in words."""
    title: str | None = None
    """The item's title, where the item table has one."""


class Recommendations(list[Recommendation]):
    """A ranked answer, best first. Shorter than asked where fewer items pass the filters."""

    def __init__(
        self, answers: Iterable[Recommendation] = (), *, skipped: int = 0, unknown_allowed: int = 0
    ) -> None:
        super().__init__(answers)
        self.skipped = skipped
        """How many events of the history have items the model has no vector for; they had no influence."""
        self.unknown_allowed = unknown_allowed
        """How many ids of the allow list the model has no vector for; they cannot be recommended."""

    @property
    def item_ids(self) -> list[ItemId]:
        """The ids alone, best first."""
        return [answer.item_id for answer in self]


class Continuation(list[ItemId]):
    """The ids of items that could follow, in their order."""

    def __init__(self, item_ids: Iterable[ItemId] = (), log_probabilities: Iterable[float] = ()) -> None:
        super().__init__(item_ids)
        self.log_probabilities = list(log_probabilities)
        """The natural logarithm of each item's probability after those before it, among all items, at a temperature of
        1; without a history the first is the logarithm of a share of the training events. Their sum is that of the path.
        """
        assert len(self.log_probabilities) == len(self)


class Influence(NamedTuple):
    """What one event of a history did to the score of an item."""

    item_id: ItemId
    """The item of the event."""
    position: int
    """Where the event stands in the history that was passed, from 0."""
    influence: float
    """The score with the event minus the score without it; above 0 it spoke for the item."""
