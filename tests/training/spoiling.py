"""A fit of the co-occurrence correction that lowers the metrics of any network."""

from collections.abc import Callable

import torch

from reprise.data.dataset import SequenceDataset
from reprise.models.corrections.cooccurrence import CooccurrenceCorrection
from reprise.models.corrections.fitting import Fit


def spoiling(dataset: SequenceDataset) -> Callable[..., Fit]:
    """Return a replacement of `fit_corrections` that gives the counts a negative weight."""

    def fit(cooccurrence: CooccurrenceCorrection | None, *_: object) -> Fit:
        assert cooccurrence is not None
        cooccurrence.count(dataset)
        with torch.no_grad():
            cooccurrence.gain.fill_(-9.0)
        return Fit(120, 1.0, 9.0)

    return fit
