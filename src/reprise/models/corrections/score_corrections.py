"""The corrections of the scores of some targets: values to add, then the mixture with repeats.

Shape letters: N targets, I items.
"""

from typing import NamedTuple

from torch import Tensor

from reprise.models.corrections.cooccurrence import CooccurrenceCorrection
from reprise.models.corrections.recent_events import RecentEvents
from reprise.models.corrections.repeat_head import RepeatHead
from reprise.models.corrections.repeat_mixture import RepeatMixture
from reprise.models.sparse_logits import SparseLogits


class ScoreCorrections(NamedTuple):
    """Corrections of the inner products of queries and item vectors, applied in this order."""

    added: SparseLogits | None = None
    """Values that are added to some logits; None if nothing is added."""
    repeats: RepeatMixture | None = None
    """Mixture that replaces the logits of recent items; None if nothing is replaced."""

    def rows(self, first: int, last: int) -> "ScoreCorrections":
        """Return the corrections of the rows `first` to `last - 1`."""
        return ScoreCorrections(
            None if self.added is None else self.added.rows(first, last),
            None if self.repeats is None else self.repeats.rows(first, last),
        )

    def take(self, row_N: Tensor) -> "ScoreCorrections":
        """Return the corrections of some rows, given in ascending order."""
        return ScoreCorrections(
            None if self.added is None else self.added.take(row_N),
            None if self.repeats is None else self.repeats.take(row_N),
        )

    def apply(self, s_NI: Tensor) -> Tensor:
        """Correct the logits of all items in place, and return them. `s_NI` has one row for each target."""
        if self.added is not None:
            self.added.add_to(s_NI)
        return s_NI if self.repeats is None else self.repeats.apply(s_NI)


def score_corrections(
    recent: RecentEvents, cooccurrence: CooccurrenceCorrection | None, repeat_head: RepeatHead | None
) -> ScoreCorrections:
    """Return the score corrections after some windows, by the modules that are present and not off."""
    return ScoreCorrections(
        None if cooccurrence is None or cooccurrence.is_zero else cooccurrence(recent.item_NW),
        None if repeat_head is None or repeat_head.is_zero else repeat_head(recent),
    )
