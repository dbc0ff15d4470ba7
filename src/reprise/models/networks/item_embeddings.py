"""The vectors of the items: what a network reads, and what it compares its hidden state with.

Shape letters: B rows, T steps, D width, I items.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, normalize

from reprise.data.vocabulary import PAD


class ItemEmbeddings(nn.Module):
    """One learned vector an item, tied: the same table is the input and the output of the network.

    Tied vectors halve the parameters and let an item that is mostly a target teach the network how to read it.

    Args:
        items: How many items, I.
        size: Width of a vector, D.
        unit: Queries are compared with the vectors divided by their length; read are the raw ones.
        sparse: Gradients hold only the rows that a step touched, so that its cost does not grow with I. The loss must then
            be one with negatives.
    """

    def __init__(self, items: int, size: int, *, unit: bool = False, sparse: bool = False) -> None:
        super().__init__()
        self.unit = unit
        self.sparse = sparse
        self.weight = nn.Parameter(torch.randn(items + 1, size) / math.sqrt(size))
        with torch.no_grad():
            self.weight[PAD] = 0.0

    def forward(self, item: Tensor) -> Tensor:
        """The raw vectors of item indices, of any leading shape. `PAD` has the zero vector and never learns."""
        return embedding(item, self.weight, padding_idx=PAD, sparse=self.sparse)

    @property
    def vectors_ID(self) -> Tensor:
        """The vectors of items 1..I."""
        return self.weight[1:]

    def scoring_ID(self) -> Tensor:
        """What queries are compared with: the vectors of items 1..I, of length 1 if `unit`."""
        return normalize(self.vectors_ID, dim=-1) if self.unit else self.vectors_ID

    def scoring_rows(self, item_N: Tensor) -> Tensor:
        """What queries are compared with for some items only, [N, D]; gradients go to their rows."""
        rows_ND = self(item_N)
        return normalize(rows_ND, dim=-1) if self.unit else rows_ND
