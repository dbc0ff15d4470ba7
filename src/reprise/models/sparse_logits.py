"""Additive corrections of a few logits in each row, as sparse triples.

Shape letters: B rows, C rows of a chunk, I items, N targets, P csr_entries.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class SparseLogits(NamedTuple):
    """Additions to some logits of some targets, [P] csr_entries in the order of their rows; several of one place add up."""

    row_P: Tensor
    """Which target, int64, ascending."""
    item_P: Tensor
    """Item index, 1..I."""
    value_P: Tensor
    """What is added, float32."""

    def rows(self, first: int, last: int) -> "SparseLogits":
        """Those of the rows from `first` to before `last`, which become rows 0, 1, ..."""
        ends = torch.tensor([first, last], device=self.row_P.device)
        begin, end = torch.searchsorted(self.row_P, ends).tolist()
        return SparseLogits(self.row_P[begin:end] - first, self.item_P[begin:end], self.value_P[begin:end])

    def take(self, row_N: Tensor) -> "SparseLogits":
        """Those of some rows, ascending, which become rows 0, 1, ..."""
        place_P = torch.searchsorted(row_N, self.row_P).clamp(max=max(len(row_N) - 1, 0))
        mine_P = row_N[place_P] == self.row_P if len(row_N) else torch.zeros_like(place_P, dtype=torch.bool)
        return SparseLogits(place_P[mine_P], self.item_P[mine_P], self.value_P[mine_P])

    def add_to(self, s_CI: Tensor, first: int = 0) -> None:
        """Add those of the rows from `first` on to a table of their logits, in place; column j is item index j + 1."""
        mine = self.rows(first, first + len(s_CI))
        s_CI.index_put_((mine.row_P, mine.item_P - 1), mine.value_P.to(s_CI.dtype), accumulate=True)
