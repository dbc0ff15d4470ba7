"""The vectors of the items: what a network reads, and what it compares its hidden state with.

Shape letters: B rows, T steps, D width, I items.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from reprise.data.vocabulary import PAD


class ItemVectors(nn.Module):
    """One learned vector an item, tied: the same table is the input and the output of the network.

    Tied vectors halve the parameters and let an item that is mostly a target teach the network how to read it.
    """

    def __init__(self, items: int, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(items + 1, size) / math.sqrt(size))
        with torch.no_grad():
            self.weight[PAD] = 0.0

    def forward(self, item: Tensor) -> Tensor:
        """The raw vectors of item indices, of any leading shape. `PAD` has the zero vector and never learns."""
        return embedding(item, self.weight, padding_idx=PAD)

    @property
    def vectors_ID(self) -> Tensor:
        """The vectors of items 1..I."""
        return self.weight[1:]
