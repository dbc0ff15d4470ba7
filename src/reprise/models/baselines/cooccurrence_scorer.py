"""Item co-occurrence at several distances as a scorer without a network.

Shape letters: N targets, C calibration examples of a step, W last items, I items (the warm ones).
"""

from typing import Annotated

from pydantic import Field
from torch import Tensor

from reprise.config import short_name, spec
from reprise.data.dataset import Part, SequenceDataset
from reprise.models.baselines.window_scorer import WindowScorer, fitted
from reprise.models.corrections.cooccurrence import CooccurrenceCorrection
from reprise.models.corrections.fitting import find_calibration_examples, fit_corrections
from reprise.models.counts.counting import popularity


@spec
class Cooccurrence:
    """Popularity corrected by co-occurrence with the last W items: log p_j + g log(1 + s_j / e).

    s_j is defined in `CooccurrenceCorrection`, whose second sum is not used. The parameters are fitted on the validation
    part, whose events are not counted for the fit; without a validation part they keep their defaults. It ranks first
    what occurred near the last W items: a Markov chain with a memory of W events instead of one.
    """

    window: Annotated[int, Field(ge=1)] = 20
    """Number of last events that are used, W."""
    neighbours: Annotated[int, Field(ge=1)] = 128
    """Number of neighbours stored per item."""
    exclude_seen: bool = False
    """Whether the parameters are fitted for lists without the items that the user has seen."""

    def __str__(self) -> str:
        return short_name(self)

    def fit(self, dataset: SequenceDataset) -> "FittedCooccurrence":
        """Count the training part, fit the parameters on the validation part, then count that part as well.

        Raises:
            DataError: The training part is empty.
        """
        log_share_I = popularity(dataset).log()
        correction = CooccurrenceCorrection(
            dataset.items.warm, self.window, self.neighbours, similarity=False
        )
        correction.count(dataset, before="valid")
        examples = find_calibration_examples(dataset, "valid", self.window, exclude_seen=self.exclude_seen)
        # Log loss, not the default of networks: without a network it gives the better lists (validation mrr on
        # Nowplaying 0.1494 against 0.1468 with q = 0.5).
        base_I = log_share_I.float()
        fit_corrections(
            correction, None, examples, lambda index_C: base_I.expand(len(index_C), -1), gce_q=0.0
        )
        return fitted(FittedCooccurrence(str(self), correction), dataset)


class FittedCooccurrence(WindowScorer):
    """A fitted `Cooccurrence` scorer."""

    def __init__(self, name: str, correction: CooccurrenceCorrection) -> None:
        super().__init__(name, correction.window)
        self._correction = correction.requires_grad_(False)

    def count_events(self, dataset: SequenceDataset, before: Part) -> None:
        """Count the events before a part; the fitted parameters are unchanged."""
        self._correction.count(dataset, before)
        self._log_share_I = popularity(dataset, before).log()

    def score_windows(self, recent_NW: Tensor) -> Tensor:
        """Return the corrected log popularity, s_NI."""
        s_NI = self._log_share_I.repeat(len(recent_NW), 1)
        self._correction(recent_NW).add_to(s_NI)
        return s_NI
