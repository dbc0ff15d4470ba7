"""Full ranking: count the items that score higher than each target, and those that score the same.

Shape letters: N targets, I items (the warm ones), C rows of a span, T columns of a tile, D width, K places of a list,
P pairs of a row and an item. Rows are ranked in spans, which threads share, and spans in tiles, so that the whole table
of N x I scores never exists.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from reprise.evaluation.ranking.tiles import MISS, Counts, Pairs, Rows, Span, Tile, cut
from reprise.evaluation.ranking.top_k import GROUP, MAX_KEPT_PER_PLACE, TopKSelection
from reprise.models.sparse_logits import SparseLogits

__all__ = [
    "MISS",
    "ExclusionMask",
    "GivenScores",
    "Ranks",
    "ScoreCallback",
    "Scores",
    "TopKConsumer",
    "VectorScores",
    "rank",
]

SCORES_PER_TILE = {"cpu": 1 << 18, "cuda": 1 << 27}
"""Number of scores in a tile, by device. On a CPU larger tiles leave the cache and smaller ones slow the product."""
COLUMNS_PER_TILE = {"cpu": 512}
"""Approximate number of columns of a tile, by device; on other devices a tile has whole rows."""
MAX_SCORES_KEPT = 1 << 24
"""Maximum number of scores kept for a callback that receives whole rows, or for the top-k lists of a span."""
TARGETS_PER_BLOCK = 64
"""Number of targets whose own scores are estimated in one small matrix product."""

ExclusionMask = Callable[[int, int], tuple[Tensor, Tensor]]
"""Function (first, last) -> (row_P within the span, column_P): the pairs that are not candidates for these targets."""
ScoreCallback = Callable[[Tensor], None]
"""Function called with the whole rows of each span, s_CI; the score is -inf if an item is not a candidate."""


@runtime_checkable
class TopKConsumer(Protocol):
    """Receives the top-k list of each target, which costs less than whole rows of scores."""

    @property
    def k(self) -> int:
        """Number of items needed for each target."""
        ...

    def receive(self, column_CK: Tensor, s_CK: Tensor) -> None:
        """Receive the lists of the next targets, which hold the first `k` items or more.

        Args:
            column_CK: Columns of the items, ascending within a row.
            s_CK: Their scores; -inf if there are fewer candidates than places.
        """
        ...


class Scores(Protocol):
    """Rows of scores that are computed when they are needed."""

    def __len__(self) -> int: ...

    @property
    def items(self) -> int:
        """Number of columns of a row."""
        ...

    def rows(self, first: int, last: int, tiles: list[Tile]) -> Rows:
        """Return the rows `first`..`last - 1`, which can write their scores into these tiles."""
        ...

    def take(self, row_N: Tensor) -> "Scores":
        """Return the scores of some rows, given in ascending order."""
        ...


@dataclass(frozen=True, eq=False)
class VectorScores:
    """Scores as inner products of queries and item vectors."""

    query_ND: Tensor
    """Query vector of each target."""
    vector_ID: Tensor
    """Vector of each item; row j belongs to item index j + 1."""
    extra: SparseLogits | None = None
    """Corrections added to some of the products, if any."""

    def __len__(self) -> int:
        return self.query_ND.shape[0]

    @property
    def items(self) -> int:
        """Number of item vectors."""
        return self.vector_ID.shape[0]

    def rows(self, first: int, last: int, tiles: list[Tile]) -> Rows:
        """Return the rows as matrix products, with the corrections of these rows."""
        extra = None if self.extra is None else self.extra.rows(first, last)
        return _Products(self.query_ND[first:last], self.vector_ID, extra, tiles)

    def take(self, row_N: Tensor) -> "VectorScores":
        """Return the queries of some rows, with their corrections."""
        extra = None if self.extra is None else self.extra.take(row_N)
        return VectorScores(self.query_ND[row_N], self.vector_ID, extra)


class _Products:
    """Rows of inner products."""

    def __init__(
        self, query_CD: Tensor, vector_ID: Tensor, extra: SparseLogits | None, tiles: list[Tile]
    ) -> None:
        self.query_CD, self.vector_ID, self.extra = query_CD, vector_ID, extra
        self._pairs = extra and Pairs(extra.row_P, extra.item_P - 1, tiles, extra.value_P)

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
        if self.extra is not None:
            own_P = self.extra.item_P == target_C[self.extra.row_P]
            value_P = self.extra.value_P[own_P].to(s_C.dtype)
            s_C.index_put_((self.extra.row_P[own_P],), value_P, accumulate=True)
        return s_C

    def write(self, tile: Tile, s_CT: Tensor) -> None:
        """Write one matrix product in place, and add the corrections."""
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


class Ranks(NamedTuple):
    """The rank of each target among the candidates, as two counts."""

    greater_N: Tensor
    """Number of items that score strictly higher, int64; `MISS` if the target is not a candidate."""
    equal_N: Tensor
    """Number of other items with exactly the same score, int64."""


def rank(
    scores: Scores,
    target_N: Tensor,
    mask: ExclusionMask | None = None,
    observer: ScoreCallback | TopKConsumer | None = None,
) -> Ranks:
    """Rank every target among all items.

    Args:
        scores: Finite scores; column j belongs to item index j + 1.
        target_N: Item indices; an index above the number of columns (a cold item) is a miss.
        mask: Items to remove from the candidates; a removed target is a miss. Several threads may call it.
        observer: Receives the scores of each span, or only the top-k lists. It is called by the calling thread, in the
            order of the targets.
    """
    device = target_N.device.type
    tiles = cut(scores.items, min(scores.items, COLUMNS_PER_TILE.get(device, scores.items)))
    whole_rows = observer is not None and not isinstance(observer, TopKConsumer)
    # threads share the spans, except for an observer of whole rows: those are made one span at a time, to save memory
    threads = torch.get_num_threads() if device == "cpu" and not whole_rows else 1
    spans = _spans(len(scores), _rows_per_span(device, tiles, observer), threads)
    work = partial(_rank_span, scores, target_N, tiles, mask, observer)
    ranks = Ranks(torch.empty_like(target_N), torch.empty_like(target_N))
    for (first, last), (counts, lists) in zip(spans, _run(work, spans, threads), strict=True):
        ranks.greater_N[first:last], ranks.equal_N[first:last] = counts
        if lists is not None:
            assert isinstance(observer, TopKConsumer)
            observer.receive(*lists)
    return ranks


def _rows_per_span(device: str, tiles: list[Tile], observer: ScoreCallback | TopKConsumer | None) -> int:
    # a tile of 2^18 scores with 512 columns has 512 rows: 1 MiB in float32, about the cache of one core
    rows = SCORES_PER_TILE.get(device, SCORES_PER_TILE["cuda"]) // max(
        tile.end - tile.begin for tile in tiles
    )
    if isinstance(observer, TopKConsumer):
        rows = min(rows, MAX_SCORES_KEPT // (MAX_KEPT_PER_PLACE * GROUP * observer.k))
    elif observer is not None:
        rows = min(rows, MAX_SCORES_KEPT // tiles[-1].end)
    return max(16, rows)


def _spans(targets: int, rows: int, threads: int) -> list[tuple[int, int]]:
    """Divide all targets into spans of about the same length, the same number for each thread.

    Example: 1,000 targets in spans of at most 300 rows are 4 spans; for 3 threads 6, so that none waits for the others.
    """
    count = -(-targets // rows)
    if targets >= threads * TARGETS_PER_BLOCK:
        count = -(-count // threads) * threads
    return list(pairwise(place * targets // count for place in range(count + 1))) if count else []


def _run(
    work: Callable[[int, int], "_SpanResult"], spans: list[tuple[int, int]], threads: int
) -> Iterator["_SpanResult"]:
    """Yield the result of each span, in order.

    Each thread computes its products on one core. Threads within one product would have to wait for each other at the
    end of every tile.
    """
    if threads == 1 or len(spans) == 1:
        yield from (work(first, last) for first, last in spans)
        return
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield from pool.map(work, *zip(*spans, strict=True))
    finally:
        # set_num_threads in a worker also sets the default of threads that are created later
        torch.set_num_threads(threads)


class _SpanResult(NamedTuple):
    counts: Counts
    lists: tuple[Tensor, Tensor] | None


@torch.no_grad()
def _rank_span(
    scores: Scores,
    target_N: Tensor,
    tiles: list[Tile],
    mask: ExclusionMask | None,
    observer: ScoreCallback | TopKConsumer | None,
    first: int,
    last: int,
) -> _SpanResult:
    excluded = None if mask is None else Pairs(*mask(first, last), tiles)
    span = Span(scores.rows(first, last, tiles), target_N[first:last], tiles, excluded)
    if isinstance(observer, TopKConsumer):
        selection = TopKSelection(observer.k)
        return _SpanResult(span.count(selection), selection.first())
    return _SpanResult(span.count(None if observer is None else _WholeRows(observer, tiles[-1].end)), None)


class _WholeRows:
    """Joins the tiles of a span to whole rows for a callback; a `tiles.TileObserver`."""

    def __init__(self, callback: ScoreCallback, items: int) -> None:
        self.callback, self.items = callback, items
        self._s_CI: Tensor | None = None

    def observe(self, tile: Tile, s_CT: Tensor) -> None:
        """Copy the tile, and call back after the last one."""
        if self._s_CI is None:
            self._s_CI = s_CT if s_CT.shape[1] == self.items else s_CT.new_empty(len(s_CT), self.items)
        if self._s_CI is not s_CT:
            self._s_CI[:, tile.begin : tile.end] = s_CT
        if tile.end == self.items:
            self.callback(self._s_CI)
