"""A fit of the co-occurrence correction that lowers the metrics of any network."""

from collections.abc import Callable

import torch

from reprise.data.dataset import SequenceDataset
from reprise.models.corrections.fitting import Fit
from reprise.models.networks.network_scorer import NetworkScorer


def spoiling(dataset: SequenceDataset) -> Callable[..., Fit]:
    """Return a replacement of `fit_cooccurrence` that gives the counts a negative weight."""

    def fit(model: NetworkScorer, *_: object, **__: object) -> Fit:
        assert model.cooccurrence is not None
        model.cooccurrence.count(dataset)
        with torch.no_grad():
            model.cooccurrence.gain.fill_(-9.0)
        return Fit(120, 1.0, 9.0)

    return fit
