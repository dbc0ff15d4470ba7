"""Additive corrections of a few logits per row, as sparse triples (row, item, value).

Shape letters: B rows, C rows of a chunk, I items, N targets, P entries.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class SparseLogits(NamedTuple):
    """Values to add to some logits of some targets, P entries in ascending order of rows.

    Entries of the same row and item are summed.
    """

    row_P: Tensor
    """Row of the target, int64, ascending."""
    item_P: Tensor
    """Item index, 1..I."""
    value_P: Tensor
    """Value to add, float32."""

    def rows(self, first: int, last: int) -> "SparseLogits":
        """Return the entries of the rows `first` to `last - 1`, renumbered from 0."""
        ends = torch.tensor([first, last], device=self.row_P.device)
        begin, end = torch.searchsorted(self.row_P, ends).tolist()
        return SparseLogits(self.row_P[begin:end] - first, self.item_P[begin:end], self.value_P[begin:end])

    def take(self, row_N: Tensor) -> "SparseLogits":
        """Return the entries of the rows `row_N` (ascending), renumbered from 0."""
        index_P = torch.searchsorted(row_N, self.row_P).clamp(max=max(len(row_N) - 1, 0))
        found_P = row_N[index_P] == self.row_P if len(row_N) else torch.zeros_like(index_P, dtype=torch.bool)
        return SparseLogits(index_P[found_P], self.item_P[found_P], self.value_P[found_P])

    def add_to(self, s_CI: Tensor, first: int = 0) -> None:
        """Add the entries of the rows from `first` on to their logits `s_CI`, in place."""
        part = self.rows(first, first + len(s_CI))
        s_CI.index_put_((part.row_P, part.item_P - 1), part.value_P.to(s_CI.dtype), accumulate=True)
