"""All corrections of the logits of some targets: values to add, then the mixture with repeats.

Shape letters: N targets, I items.
"""

from typing import NamedTuple

from torch import Tensor

from reprise.models.corrections.cooccurrence import CooccurrenceCorrection
from reprise.models.corrections.recent_events import RecentEvents
from reprise.models.corrections.repeat_head import RepeatHead
from reprise.models.corrections.repeat_mixture import RepeatMixture
from reprise.models.sparse_logits import SparseLogits


class LogitChanges(NamedTuple):
    """What changes the inner products of queries and item vectors, in this order."""

    added: SparseLogits | None = None
    """Values that are added to some logits; None if nothing is added."""
    repeats: RepeatMixture | None = None
    """Mixture that replaces the logits of recent items; None if nothing is replaced."""

    def rows(self, first: int, last: int) -> "LogitChanges":
        """Return the changes of the rows `first` to `last - 1`."""
        return LogitChanges(
            None if self.added is None else self.added.rows(first, last),
            None if self.repeats is None else self.repeats.rows(first, last),
        )

    def take(self, row_N: Tensor) -> "LogitChanges":
        """Return the changes of some rows, given in ascending order."""
        return LogitChanges(
            None if self.added is None else self.added.take(row_N),
            None if self.repeats is None else self.repeats.take(row_N),
        )

    def apply(self, s_NI: Tensor) -> Tensor:
        """Change complete rows of logits in place, and return them."""
        if self.added is not None:
            self.added.add_to(s_NI)
        return s_NI if self.repeats is None else self.repeats.apply(s_NI)


def logit_changes(
    recent: RecentEvents, cooccurrence: CooccurrenceCorrection | None, repeat_head: RepeatHead | None
) -> LogitChanges:
    """Return the changes of the logits after some windows, by the corrections that are present and have an effect."""
    return LogitChanges(
        None if cooccurrence is None or cooccurrence.is_zero else cooccurrence(recent.item_NW),
        None if repeat_head is None or repeat_head.is_zero else repeat_head(recent),
    )
