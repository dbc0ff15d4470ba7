"""Transition counts over several distances as a scorer by itself.

Shape letters: N targets, C cases of the fit, W last items, I items (the warm ones).
"""

from typing import Annotated

from pydantic import Field
from torch import Tensor

from reprise.config import short_name, spec
from reprise.data.dataset import Part, SequenceDataset
from reprise.models.baselines.window_scorer import WindowScorer, counted
from reprise.models.cooccurrence.correction import CooccurrenceCorrection
from reprise.models.cooccurrence.counting import popularity
from reprise.models.cooccurrence.fitting import find_calibration_examples, fit_correction


@spec
class Cooccurrence:
    """What came near the last W items, at several distances: log p_j + g log(1 + s_j / e), see `CooccurrenceCorrection`.

    The parameters are fitted on the validation part, whose events are not counted; without one they keep their defaults.
    Popular items that came near the same ones stand first: a chain with a memory of W events instead of one.
    """

    window: Annotated[int, Field(ge=1)] = 20
    """Last events that are looked at, W."""
    neighbours: Annotated[int, Field(ge=1)] = 128
    """Items counted near each item, at most."""
    exclude_seen: bool = False
    """Whether it will be asked for items that the user has not had."""

    def __str__(self) -> str:
        return short_name(self)

    def fit(self, dataset: SequenceDataset) -> "FittedCooccurrence":
        """Count the pairs of the training part, fit what they are worth on the validation part, and count that part too.

        Raises:
            DataError: The training part is empty.
        """
        log_share_I = popularity(dataset).log()
        residual = CooccurrenceCorrection(dataset.items.warm, self.window, self.neighbours)
        residual.observe(dataset, before="valid")
        cases = find_calibration_examples(dataset, "valid", self.window, exclude_seen=self.exclude_seen)
        # beside popularity log loss gives the better lists; beside a network it does not
        fit_correction(residual, cases, lambda case_C: log_share_I.float().expand(len(case_C), -1), focus=0.0)
        return counted(FittedCooccurrence(str(self), residual), dataset)


class FittedCooccurrence(WindowScorer):
    """`Cooccurrence` of a log, with what they were found to be worth."""

    def __init__(self, name: str, residual: CooccurrenceCorrection) -> None:
        super().__init__(name, residual.window)
        self._residual = residual.requires_grad_(False)

    def count(self, dataset: SequenceDataset, before: Part) -> None:
        """Count the events before a part, with the parameters that were fitted."""
        self._residual.observe(dataset, before)
        self._log_share_I = popularity(dataset, before).log()

    def after(self, recent_NW: Tensor) -> Tensor:
        """The logits, s_NI."""
        s_NI = self._log_share_I.repeat(len(recent_NW), 1)
        self._residual(recent_NW).add_to(s_NI)
        return s_NI
