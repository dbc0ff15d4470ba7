"""A fit of counted transitions that makes any network worse."""

from collections.abc import Callable

import torch

from reprise.data.dataset import SequenceDataset
from reprise.models.cooccurrence.fitting import Fit
from reprise.models.networks.network_scorer import NetworkScorer


def spoiling(dataset: SequenceDataset) -> Callable[..., Fit]:
    """What may stand in the place of `fit_transitions`: counts that are taken against what they say."""

    def fit(model: NetworkScorer, *_: object, **__: object) -> Fit:
        assert model.transitions is not None
        model.transitions.observe(dataset)
        with torch.no_grad():
            model.transitions.gain.fill_(-9.0)
        return Fit(120, 1.0, 9.0)

    return fit
