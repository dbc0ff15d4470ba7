"""Results of a recommender: ranked items, continuations, influences of events and contributions of columns."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from reprise.data.vocabulary import ItemId
from reprise.frame_output import FrameLibrary, frame_of
from reprise.notebook_html import html_table


class Recommendation(NamedTuple):
    """One recommended item."""

    item_id: ItemId
    """Id of the item, as in the log."""
    score: float
    """Score of the item; higher is better. Compare scores of one model only."""
    rank: int
    """Rank of the item in the result; 1 is best."""
    reason: str
    """Short text that says what the score is based on."""
    title: str | None = None
    """Title of the item, if the item table has one."""
    propensity: float | None = None
    """Probability with which exploration drew the item for this slot; None: the model ranked it here."""


class Recommendations(list[Recommendation]):
    """Recommended items, best first. Fewer than requested if fewer items pass the filters."""

    def __init__(
        self, items: Iterable[Recommendation] = (), *, skipped: int = 0, unknown_allowed: int = 0
    ) -> None:
        super().__init__(items)
        self.skipped = skipped
        """Number of events of the history that were skipped, because the model has no vector for their items."""
        self.unknown_allowed = unknown_allowed
        """Number of ids of the allow list that cannot be recommended, because the model has no vector for them."""

    def __repr__(self) -> str:
        shown = ", ".join(f"{item.item_id!r} {item.score:.4g}" for item in self[:5])
        return f"Recommendations([{shown}{', ...' if len(self) > 5 else ''}])"

    def _repr_html_(self) -> str:
        rows = [(item.rank, item.item_id, item.title, item.score, item.reason) for item in self]
        return html_table(
            f"{len(self)} recommendations", ["rank", "item_id", "title", "score", "reason"], rows
        )

    def to_frame(self, library: FrameLibrary = "pandas") -> Any:
        """Return the items as a data frame with one column for each field of `Recommendation`.

        Raises:
            MissingLibraryError: the library is not installed.
        """
        return frame_of(
            {name: [getattr(item, name) for item in self] for name in Recommendation._fields}, library
        )

    @property
    def item_ids(self) -> list[ItemId]:
        """Ids of the items, best first."""
        return [item.item_id for item in self]


class Continuation(list[ItemId]):
    """Ids of generated items, in the order in which they follow the history."""

    def __init__(self, item_ids: Iterable[ItemId] = (), log_probabilities: Iterable[float] = ()) -> None:
        super().__init__(item_ids)
        self.log_probabilities = list(log_probabilities)
        """Natural logarithm of each item's probability after the items before it, among all items, at a temperature of 1.

        For an empty history the first one is the logarithm of the item's share of the training events. The sum is the
        log-probability of the whole continuation.
        """
        assert len(self.log_probabilities) == len(self)


class Influence(NamedTuple):
    """Influence of one event of a history on the score of an item."""

    item_id: ItemId
    """Id of the event's item."""
    position: int
    """Position of the event in the history that was passed, from 0."""
    influence: float
    """Score with the event minus score without it; positive if the event raised the score."""


class ColumnContribution(NamedTuple):
    """Contribution of one column of an item to its score."""

    column: str
    """Name of the column."""
    value: Any
    """Value that the model read, as a JSON value; None for a vector, which is long."""
    contribution: float
    """Amount that the value adds to the score; negative if it lowers the score."""
