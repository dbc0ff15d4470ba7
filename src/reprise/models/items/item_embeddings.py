"""The item embeddings, used as the inputs of a network and as its output vectors.

Shape letters: B rows, T steps, N items that are looked up, R rows that a step reads, D width, I items.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from reprise.data.vocabulary import PAD
from reprise.nn.elementwise import unit_vectors


class ItemEmbeddings(nn.Module):
    """One learned vector per item, tied: the same table is the input and the output of the network.

    Tying halves the number of parameters, and an item that occurs mostly as a target also gets a useful input vector.

    Args:
        items: Number of items, I.
        size: Width of a vector, D.
        unit: Whether queries are compared with normalised vectors; the inputs are always the raw ones.
        sparse: Whether training reads and updates only the rows that a step uses, so that its cost does not grow with I.
            The loss must then be a sampled one. None: the trainer decides.
    """

    def __init__(self, items: int, size: int, *, unit: bool = False, sparse: bool | None = False) -> None:
        super().__init__()
        self.unit = unit
        self.sparse = sparse
        self._rows: tuple[Tensor, Tensor] | None = None
        # in place: a table of millions of items must not exist twice
        self.weight = nn.Parameter(torch.randn(items + 1, size).div_(math.sqrt(size)))
        with torch.no_grad():
            self.weight[PAD] = 0.0

    def forward(self, item: Tensor) -> Tensor:
        """Return the raw vectors of item indices, [..., D]. `PAD` has the zero vector and is never updated."""
        if self._rows is None:
            return embedding(item, self.weight, padding_idx=PAD)
        return embedding(self._places(item), self._rows[1], padding_idx=PAD)

    def _places(self, item: Tensor) -> Tensor:
        """Return the positions of items in the rows of `use_rows`, or of the whole table; an IndexError for other items."""
        if self._rows is None:
            return item
        row_R = self._rows[0]
        # by binary search, because an array of places of all items would cost time and memory that grow with I
        place = torch.searchsorted(row_R, item).clamp_(max=len(row_R) - 1)
        # an item without a row gets a place beyond the end, which is an IndexError
        return torch.where(row_R[place] == item, place, len(row_R))

    def draw(self) -> None:
        """Prepare the next forward pass. `ContentEmbeddings` draws the items that lose their learned vectors in it."""

    def use_rows(self, row_R: Tensor, weight_RD: Tensor) -> None:
        """Look all items up in `weight_RD`, the vectors of the items `row_R`, until `use_table`.

        `row_R` ascends and begins with `PAD`. A gradient of the vectors then has R rows. Looking up another item raises an
        IndexError.
        """
        self._rows = row_R, weight_RD

    def use_table(self) -> None:
        """Look items up in the whole table again."""
        self._rows = None

    @property
    def candidates(self) -> int:
        """Number of candidates of the loss: all items of the table."""
        return len(self.weight) - 1

    def candidate_items(self) -> Tensor:
        """Return the item indices of the candidates of the loss, int64 [K], ascending."""
        return torch.arange(1, len(self.weight), device=self.weight.device)

    def is_candidate(self, item: Tensor) -> Tensor:
        """Return whether items are candidates of the loss, bool [...]."""
        return item < len(self.weight)

    def learn(self, item_N: Tensor) -> None:
        """Add items to the candidates of the loss. Here all items of the table are candidates from the beginning."""

    def candidate_columns(self, item_N: Tensor) -> Tensor:
        """Return the position of items in `candidate_items`, int64 [N]."""
        return item_N - 1

    def candidate_vectors(self) -> Tensor:
        """Return the output vectors of the candidates of the loss, [K, D]."""
        return self.scoring_ID()

    @property
    def vectors_ID(self) -> Tensor:
        """The raw vectors of items 1..I."""
        return self.weight[1:]

    def scoring_ID(self) -> Tensor:
        """Return the vectors that queries are compared with, for items 1..I; normalised if `unit`."""
        return unit_vectors(self.vectors_ID) if self.unit else self.vectors_ID

    def scoring_rows(self, item_N: Tensor) -> Tensor:
        """Return the vectors that queries are compared with, for the items `item_N` only, [N, D]."""
        rows_ND = self(item_N)
        return unit_vectors(rows_ND) if self.unit else rows_ND
