"""Rows of scores that are computed when they are needed: inner products of vectors, or given tables.

Shape letters: N targets, I items (the scored ones), C rows of a span, T columns of a tile, D width, P pairs of a row and an
item.
"""

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from reprise.evaluation.ranking.tiles import Pairs, Rows, Tile
from reprise.models.corrections.repeat_mixture import RepeatMixture
from reprise.models.corrections.score_corrections import ScoreCorrections
from reprise.models.sparse_logits import SparseLogits

TARGETS_PER_BLOCK = 64
"""Number of targets whose own scores are estimated in one small matrix product."""
NO_CORRECTIONS = ScoreCorrections()


class Scores(Protocol):
    """Rows of scores that are computed when they are needed."""

    def __len__(self) -> int: ...

    @property
    def items(self) -> int:
        """Number of columns of a row."""
        ...

    @property
    def device(self) -> torch.device:
        """Device of the scores."""
        ...

    @property
    def repeats(self) -> RepeatMixture | None:
        """Mixture that replaces the scores of recent items, if any; `rows` gives the scores before it."""
        ...

    def rows(self, first: int, last: int, tiles: list[Tile]) -> Rows:
        """Return the rows `first`..`last - 1`, which can write their scores into these tiles."""
        ...

    def take(self, row_N: Tensor) -> "Scores":
        """Return the scores of some rows, given in ascending order."""
        ...


@dataclass(frozen=True, eq=False)
class VectorScores:
    """Scores as inner products of queries and item vectors, some of them corrected."""

    query_ND: Tensor
    """Query vector of each target."""
    vector_ID: Tensor
    """Vector of each item; row j belongs to item index j + 1."""
    corrections: ScoreCorrections = NO_CORRECTIONS
    """Corrections of some of the products."""
    longest: Tensor | None = None
    """Length of the longest item vector, if it is known already."""

    def __len__(self) -> int:
        return self.query_ND.shape[0]

    @property
    def items(self) -> int:
        """Number of item vectors."""
        return self.vector_ID.shape[0]

    @property
    def device(self) -> torch.device:
        """Device of the queries."""
        return self.query_ND.device

    @property
    def repeats(self) -> RepeatMixture | None:
        """Mixture that replaces the scores of recent items, if any."""
        return self.corrections.repeats

    def rows(self, first: int, last: int, tiles: list[Tile]) -> Rows:
        """Return the rows as matrix products, to which the values of these rows are added."""
        added = None if self.corrections.added is None else self.corrections.added.rows(first, last)
        return _Products(self.query_ND[first:last], self.vector_ID, added, tiles)

    def take(self, row_N: Tensor) -> "VectorScores":
        """Return the queries of some rows, with the corrections of their scores."""
        return replace(self, query_ND=self.query_ND[row_N], corrections=self.corrections.take(row_N))

    def bounds(self) -> Tensor:
        """Return an upper bound of the absolute products of each row, [N]: |q . v| <= |q| |v|."""
        longest = longest_vector(self.vector_ID) if self.longest is None else self.longest
        bound_N: Tensor = self.query_ND.norm(dim=1) * longest
        return bound_N


def longest_vector(vector_ID: Tensor) -> Tensor:
    """Return the largest Euclidean norm of the vectors."""
    longest: Tensor = vector_ID.norm(dim=1).amax()
    return longest


class _Products:
    """Rows of inner products."""

    def __init__(
        self, query_CD: Tensor, vector_ID: Tensor, added: SparseLogits | None, tiles: list[Tile]
    ) -> None:
        self.query_CD, self.vector_ID, self.added = query_CD, vector_ID, added
        self._pairs = added and Pairs(added.row_P, added.item_P - 1, tiles, added.value_P)

    def empty(self, scores: int) -> Tensor:
        """Allocate memory of the type of the queries."""
        return self.query_CD.new_empty(scores)

    def own(self, target_C: Tensor) -> Tensor:
        """Compute the scores of the targets from small products of some queries with all their targets.

        A row-wise dot product would sum in another order than the large products of `write`, and so differ in the last
        bits. A small square product usually sums in the same order; `Span.count` notices when it does not.
        """
        s_C, memory = self.empty(len(target_C)), self.empty((2 * TARGETS_PER_BLOCK) ** 2)
        blocks = max(1, len(target_C) // TARGETS_PER_BLOCK)
        edges = [place * len(target_C) // blocks for place in range(blocks + 1)]
        for begin, end in pairwise(edges):
            rows, columns = end - begin, max(end - begin, TARGETS_PER_BLOCK)
            # fewer than 64 queries repeat some targets, since a narrow product sums in another order: 3 queries are
            # multiplied with the targets 0 1 2 0 1 2 0 ..., and the diagonal holds what is needed
            repeated = torch.arange(begin, begin + columns, device=target_C.device)
            vector_TD = self.vector_ID[target_C[begin + (repeated - begin) % rows] - 1]
            s_CT = memory[: rows * columns].view(rows, columns)
            torch.mm(self.query_CD[begin:end], vector_TD.T, out=s_CT)
            s_C[begin:end] = s_CT.diagonal()
        if self.added is not None:
            own_P = self.added.item_P == target_C[self.added.row_P]
            value_P = self.added.value_P[own_P].to(s_C.dtype)
            s_C.index_put_((self.added.row_P[own_P],), value_P, accumulate=True)
        return s_C

    def write(self, tile: Tile, s_CT: Tensor) -> None:
        """Write one matrix product in place, and add the values."""
        torch.mm(self.query_CD, self.vector_ID[tile.begin : tile.end].T, out=s_CT)
        if self._pairs is not None:
            self._pairs.add_to(tile, s_CT)


@dataclass(frozen=True, eq=False)
class GivenScores:
    """Scores that are already computed."""

    score_NI: Tensor
    """Score of each item for each target; column j belongs to item index j + 1."""

    def __len__(self) -> int:
        return self.score_NI.shape[0]

    @property
    def items(self) -> int:
        """Number of columns."""
        return self.score_NI.shape[1]

    @property
    def device(self) -> torch.device:
        """Device of the table."""
        return self.score_NI.device

    @property
    def repeats(self) -> None:
        """Given scores are final."""
        return None

    def rows(self, first: int, last: int, tiles: list[Tile]) -> Rows:
        """Return some rows of the table."""
        return _GivenRows(self.score_NI[first:last])

    def take(self, row_N: Tensor) -> "GivenScores":
        """Return a copy of some rows of the table."""
        return GivenScores(self.score_NI[row_N])


class _GivenRows(NamedTuple):
    s_CI: Tensor

    def empty(self, scores: int) -> Tensor:
        """Allocate memory of the type of the table."""
        return self.s_CI.new_empty(scores)

    def own(self, target_C: Tensor) -> Tensor:
        """Read the scores of the targets from the table."""
        return self.s_CI.gather(1, (target_C - 1)[:, None])[:, 0]

    def write(self, tile: Tile, s_CT: Tensor) -> None:
        """Copy the scores: a tile is overwritten, and all rows of the table may share the memory of one."""
        s_CT.copy_(self.s_CI[:, tile.begin : tile.end])
