"""Full ranking: how many items score higher than the target, and how many the same.

Shape letters: N targets, I items (the warm ones), C rows of a chunk, D width, P pairs of a row and an item.
Scores are made, compared and dropped in chunks that fit a processor's cache, so a table of N x I never exists.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from reprise.models.items import SparseLogits

MISS = 2**31 - 1
"""The number of higher items of a target without a rank: below every list."""
SCORES_AT_ONCE = {"cpu": 1 << 20, "cuda": 1 << 27}
"""Scores in a chunk, by device. On a CPU larger chunks leave the cache and smaller ones slow the product."""

Hide = Callable[[int, int], tuple[Tensor, Tensor]]
"""(first, last) -> (row_P within the chunk, column_P): what is no candidate for targets `first`..`last`."""
Watch = Callable[[Tensor], None]
"""Called with the scores of each chunk, s_CI; -inf where an item is no candidate."""


class Scores(Protocol):
    """Rows of scores that are written when they are needed."""

    def __len__(self) -> int: ...

    @property
    def items(self) -> int:
        """How many columns a row has."""
        ...

    def empty(self, rows: int) -> Tensor:
        """Room for some rows, of the right type and on the right device."""
        ...

    def write(self, first: int, s_CI: Tensor) -> None:
        """Write the rows from `first` on into `s_CI`."""
        ...


@dataclass(frozen=True, eq=False)
class VectorScores:
    """Scores as inner products of queries and item vectors."""

    query_ND: Tensor
    vector_ID: Tensor
    extra: SparseLogits | None = None
    """What is added to some of the products."""

    def __len__(self) -> int:
        return self.query_ND.shape[0]

    @property
    def items(self) -> int:
        """How many items have a vector."""
        return self.vector_ID.shape[0]

    def empty(self, rows: int) -> Tensor:
        """Room for `rows` rows."""
        return self.query_ND.new_empty(rows, self.items)

    def write(self, first: int, s_CI: Tensor) -> None:
        """One matrix product, in place, and the additions to these rows."""
        torch.mm(self.query_ND[first : first + len(s_CI)], self.vector_ID.T, out=s_CI)
        if self.extra is not None:
            self.extra.add_to(s_CI, first)


@dataclass(frozen=True, eq=False)
class GivenScores:
    """Scores that exist already."""

    score_NI: Tensor

    def __len__(self) -> int:
        return self.score_NI.shape[0]

    @property
    def items(self) -> int:
        """How many columns there are."""
        return self.score_NI.shape[1]

    def empty(self, rows: int) -> Tensor:
        """Room for `rows` rows."""
        return self.score_NI.new_empty(rows, self.items)

    def write(self, first: int, s_CI: Tensor) -> None:
        """A copy: the chunk is written over, and the given scores may be one row of memory for all."""
        s_CI.copy_(self.score_NI[first : first + len(s_CI)])


class Ranks(NamedTuple):
    """Where each target stands among the candidates."""

    greater_N: Tensor
    """How many items score strictly higher, int64; `MISS` when the target is no candidate."""
    equal_N: Tensor
    """How many other items score exactly the same, int64."""


def rank(scores: Scores, target_N: Tensor, hide: Hide | None = None, watch: Watch | None = None) -> Ranks:
    """Rank every target among all items.

    Args:
        scores: Finite scores, column j for item index j + 1.
        target_N: Item indices; one above the number of columns (a cold item) is a miss.
        hide: What to remove from the candidates; a hidden target is a miss.
        watch: Sees the scores of each chunk before they are dropped.
    """
    at_once = SCORES_AT_ONCE.get(target_N.device.type, SCORES_AT_ONCE["cuda"])
    rows = min(max(16, at_once // scores.items), max(1, len(scores)))
    room_CI, other_CI = scores.empty(rows), scores.empty(rows)
    ranks = Ranks(torch.empty_like(target_N), torch.empty_like(target_N))
    for first in range(0, len(scores), rows):
        last = min(first + rows, len(scores))
        s_CI = room_CI[: last - first]
        scores.write(first, s_CI)
        if hide is not None:
            s_CI[hide(first, last)] = -torch.inf
        if watch is not None:
            watch(s_CI)
        greater_C, equal_C = _count(s_CI, target_N[first:last], other_CI[: last - first])
        ranks.greater_N[first:last], ranks.equal_N[first:last] = greater_C, equal_C
    return ranks


def _count(s_CI: Tensor, target_C: Tensor, room_CI: Tensor) -> tuple[Tensor, Tensor]:
    """Numbers of greater and of equal scores; `s_CI` is written over."""
    items = s_CI.shape[1]
    # the target's score is read from the same product: computed apart it could differ in the last bit
    own_C1 = s_CI.gather(1, (target_C - 1).clamp(max=items - 1)[:, None])
    missed_C = (target_C > items) | torch.isneginf(own_C1[:, 0])
    # sums of ones in place of a sum of booleans, which is several times slower; exact below 2 ** 24 items
    total = torch.float64 if items > 2**24 else s_CI.dtype
    at_least_C = torch.ge(s_CI, own_C1, out=room_CI).sum(1, dtype=total).long()
    greater_C = s_CI.gt_(own_C1).sum(1, dtype=total).long()
    equal_C = (at_least_C - greater_C - 1).masked_fill(missed_C, 0)
    return greater_C.masked_fill(missed_C, MISS), equal_C
