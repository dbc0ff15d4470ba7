"""The popular items that replace the scores of a network for users without known events."""

from typing import NamedTuple
from weakref import ReferenceType, WeakKeyDictionary, ref

from torch import nn

from reprise.arrays import AnyArray
from reprise.data.dataset import Part, SequenceDataset
from reprise.data.fit_popular_items import fit_popular_items
from reprise.data.popular_items import PopularItems
from reprise.models.networks.network_scorer import NetworkScorer


class _Fitted(NamedTuple):
    items: "ReferenceType[AnyArray]"
    """Items of the events of the dataset, which identify it."""
    before: Part
    popular: PopularItems


_FITTED: "WeakKeyDictionary[nn.Module, _Fitted]" = WeakKeyDictionary()
"""Last result for each network: validation asks for it in each epoch."""


def popular_fallback(network: nn.Module, dataset: SequenceDataset) -> PopularItems:
    """Return the popular items of a network: those it was released with, or counted from the events it has learned."""
    released = network.released_popularity() if isinstance(network, NetworkScorer) else None
    if released is not None:
        return released
    before: Part = getattr(network, "learned_before", "valid")
    dataset = dataset.scoring(getattr(network, "scored_items", dataset.items.warm))
    last = _FITTED.get(network)
    if last is None or last.items() is not dataset.item or last.before != before:
        last = _Fitted(ref(dataset.item), before, fit_popular_items(dataset, before))
        _FITTED[network] = last
    return last.popular
