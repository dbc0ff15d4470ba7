"""Item vectors that were released with noise: separate input and output vectors that no training step changes.

Shape letters: N items that are looked up, D width, I items.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from reprise.data.popular_items import PopularItems
from reprise.data.vocabulary import Vocabulary
from reprise.models.items.item_embeddings import ItemEmbeddings

WEIGHT, OUTPUT, SHARE = "items.weight", "items.output", "items.share"
"""Names of the tables in the weights of a network, each with one row per item, after that of `PAD`."""


class ReleasedEmbeddings(ItemEmbeddings):
    """Fixed vectors of items. The last number of an output vector is a bias, and an item has a share of the events.

    Args:
        items: Number of items, I.
        size: Width of an input vector, D.
    """

    output: nn.Parameter
    """Output vectors and biases, [I + 1, D + 1]."""
    share: nn.Parameter
    """Share of each item of all events, [I + 1]."""

    def __init__(self, items: int, size: int) -> None:
        super().__init__(items, size)
        self.weight = nn.Parameter(torch.zeros(items + 1, size), requires_grad=False)
        self.output = nn.Parameter(torch.zeros(items + 1, size + 1), requires_grad=False)
        self.share = nn.Parameter(torch.zeros(items + 1), requires_grad=False)

    def scoring_ID(self) -> Tensor:
        return self.output[1:]

    def scoring_rows(self, item_N: Tensor) -> Tensor:
        return self.output[item_N]

    def popular_items(self) -> PopularItems:
        """Return the popularity of the items for users without events."""
        return PopularItems.static(self.share[1:].detach().cpu().float().numpy())


def align_rows(weights: Mapping[str, Tensor], catalogue: Vocabulary, items: Vocabulary) -> dict[str, Tensor]:
    """Return the weights of a network for the warm items of another vocabulary.

    An item that the catalogue does not have gets zero vectors, and a bias below those of all other items.

    Args:
        weights: Weights of a network with `ReleasedEmbeddings`.
        catalogue: Vocabulary of the weights.
        items: Vocabulary whose warm items the result has.
    """
    if len(catalogue) == items.warm and np.array_equal(catalogue.ids, items.ids[: items.warm]):
        return dict(weights)
    row_I = torch.from_numpy(catalogue.indices(items.ids[: items.warm].tolist()).astype(np.int64))
    place_R = torch.cat([row_I.new_zeros(1), row_I])
    aligned = {name: weights[name][place_R] for name in (WEIGHT, OUTPUT, SHARE)}
    unknown_R = place_R == 0
    unknown_R[0] = False
    aligned[OUTPUT][unknown_R, -1] = weights[OUTPUT][1:, -1].min() - 1.0
    return {**weights, **aligned}
