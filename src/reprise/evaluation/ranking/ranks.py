"""Full ranking: how many items score higher than the target, and how many the same.

Shape letters: N targets, I items (the warm ones), C rows of a span, T columns of a tile, D width, K places of a list,
P pairs of a row and an item. Rows are ranked in spans, which threads share, and spans in tiles: a table of N x I never
exists.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from reprise.evaluation.ranking.tiles import MISS, Counts, Places, Rows, Span, Tile, cut
from reprise.evaluation.ranking.top_k import KEPT_AT_MOST, WIDTH, TopKSelection
from reprise.models.sparse_logits import SparseLogits

__all__ = ["MISS", "GivenScores", "Hide", "Lists", "Ranks", "Scores", "VectorScores", "Watch", "rank"]

SCORES_AT_ONCE = {"cpu": 1 << 18, "cuda": 1 << 27}
"""Scores in a tile, by device. On a CPU larger tiles leave the cache of a core and smaller ones slow the product."""
COLUMNS = {"cpu": 512}
"""Columns of a tile, about, by device; whole rows on all others."""
WHOLE_AT_ONCE = 1 << 24
"""Scores that are kept at once for someone who watches whole rows, or for the lists of a span."""
OWN_AT_ONCE = 64
"""Targets whose scores are guessed together."""

Hide = Callable[[int, int], tuple[Tensor, Tensor]]
"""(first, last) -> (row_P within the span, column_P): what is no candidate for targets `first`..`last`."""
Watch = Callable[[Tensor], None]
"""Called with the whole rows of each span, s_CI; -inf where an item is no candidate."""


@runtime_checkable
class Lists(Protocol):
    """Sees the first items of each target, which costs less than whole rows."""

    @property
    def longest(self) -> int:
        """How many items of each target it wants."""
        ...

    def show(self, column_CM: Tensor, s_CM: Tensor) -> None:
        """Columns of each row, ascending, and their scores; -inf where there are not so many candidates."""
        ...


class Scores(Protocol):
    """Rows of scores that are written when they are needed."""

    def __len__(self) -> int: ...

    @property
    def items(self) -> int:
        """How many columns a row has."""
        ...

    def rows(self, first: int, last: int, tiles: list[Tile]) -> Rows:
        """The rows from `first` to before `last`, ready to be written in these tiles."""
        ...

    def take(self, row_N: Tensor) -> "Scores":
        """The same for some rows only, ascending."""
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

    def rows(self, first: int, last: int, tiles: list[Tile]) -> Rows:
        """Matrix products, and the additions to these rows."""
        extra = None if self.extra is None else self.extra.rows(first, last)
        return _Products(self.query_ND[first:last], self.vector_ID, extra, tiles)

    def take(self, row_N: Tensor) -> "VectorScores":
        """Their queries, and the additions to them."""
        extra = None if self.extra is None else self.extra.take(row_N)
        return VectorScores(self.query_ND[row_N], self.vector_ID, extra)


class _Products:
    """Rows of inner products."""

    def __init__(
        self, query_CD: Tensor, vector_ID: Tensor, extra: SparseLogits | None, tiles: list[Tile]
    ) -> None:
        self.query_CD, self.vector_ID, self.extra = query_CD, vector_ID, extra
        self._places = extra and Places(extra.row_P, extra.item_P - 1, tiles, extra.value_P)

    def empty(self, scores: int) -> Tensor:
        """Of the type of the queries."""
        return self.query_CD.new_empty(scores)

    def own(self, target_C: Tensor) -> Tensor:
        """From products of some queries with the targets of all of them, which go the way of the large products."""
        s_C, room = self.empty(len(target_C)), self.empty((2 * OWN_AT_ONCE) ** 2)
        blocks = max(1, len(target_C) // OWN_AT_ONCE)
        edges = [place * len(target_C) // blocks for place in range(blocks + 1)]
        for begin, end in pairwise(edges):
            rows, columns = end - begin, max(end - begin, OWN_AT_ONCE)
            # few queries are compared with some targets twice: a narrow product differs in its last bits
            around = torch.arange(begin, begin + columns, device=target_C.device)
            vector_TD = self.vector_ID[target_C[begin + (around - begin) % rows] - 1]
            s_CT = room[: rows * columns].view(rows, columns)
            torch.mm(self.query_CD[begin:end], vector_TD.T, out=s_CT)
            s_C[begin:end] = s_CT.diagonal()
        if self.extra is not None:
            mine_P = self.extra.item_P == target_C[self.extra.row_P]
            value_P = self.extra.value_P[mine_P].to(s_C.dtype)
            s_C.index_put_((self.extra.row_P[mine_P],), value_P, accumulate=True)
        return s_C

    def write(self, tile: Tile, s_CT: Tensor) -> None:
        """One matrix product, in place, and the additions to it."""
        torch.mm(self.query_CD, self.vector_ID[tile.begin : tile.end].T, out=s_CT)
        if self._places is not None:
            self._places.add_to(tile, s_CT)


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

    def rows(self, first: int, last: int, tiles: list[Tile]) -> Rows:
        """Some rows of the table."""
        return _GivenRows(self.score_NI[first:last])

    def take(self, row_N: Tensor) -> "GivenScores":
        """Some rows of the table, copied."""
        return GivenScores(self.score_NI[row_N])


class _GivenRows(NamedTuple):
    s_CI: Tensor

    def empty(self, scores: int) -> Tensor:
        """Of the type of the table."""
        return self.s_CI.new_empty(scores)

    def own(self, target_C: Tensor) -> Tensor:
        """Read from the table."""
        return self.s_CI.gather(1, (target_C - 1)[:, None])[:, 0]

    def write(self, tile: Tile, s_CT: Tensor) -> None:
        """A copy: the tile is written over, and the given scores may be one row of memory for all."""
        s_CT.copy_(self.s_CI[:, tile.begin : tile.end])


class Ranks(NamedTuple):
    """Where each target stands among the candidates."""

    greater_N: Tensor
    """How many items score strictly higher, int64; `MISS` when the target is no candidate."""
    equal_N: Tensor
    """How many other items score exactly the same, int64."""


def rank(
    scores: Scores, target_N: Tensor, hide: Hide | None = None, watch: Watch | Lists | None = None
) -> Ranks:
    """Rank every target among all items.

    Args:
        scores: Finite scores, column j for item index j + 1.
        target_N: Item indices; one above the number of columns (a cold item) is a miss.
        hide: What to remove from the candidates; a hidden target is a miss. Several threads may ask it.
        watch: Sees the scores of each span before they are dropped, or only the first items if it shows `Lists`. It is
            called by the thread that called this, in the order of the targets.
    """
    device = target_N.device.type
    tiles = cut(scores.items, min(scores.items, COLUMNS.get(device, scores.items)))
    whole = watch is not None and not isinstance(watch, Lists)
    # spans are shared by threads, unless somebody wants to see whole rows: those are made one span at a time
    threads = torch.get_num_threads() if device == "cpu" and not whole else 1
    spans = _spans(len(scores), _rows(device, tiles, watch), threads)
    work = partial(_ranked, scores, target_N, tiles, hide, watch)
    ranks = Ranks(torch.empty_like(target_N), torch.empty_like(target_N))
    for (first, last), (counts, lists) in zip(spans, _shared(work, spans, threads), strict=True):
        ranks.greater_N[first:last], ranks.equal_N[first:last] = counts
        if lists is not None:
            assert isinstance(watch, Lists)
            watch.show(*lists)
    return ranks


def _rows(device: str, tiles: list[Tile], watch: Watch | Lists | None) -> int:
    """How many rows a span may have."""
    rows = SCORES_AT_ONCE.get(device, SCORES_AT_ONCE["cuda"]) // max(tile.end - tile.begin for tile in tiles)
    if isinstance(watch, Lists):
        rows = min(rows, WHOLE_AT_ONCE // (KEPT_AT_MOST * WIDTH * watch.longest))
    elif watch is not None:
        rows = min(rows, WHOLE_AT_ONCE // tiles[-1].end)
    return max(16, rows)


def _spans(targets: int, rows: int, threads: int) -> list[tuple[int, int]]:
    """All targets in spans of about the same length, as many for each thread."""
    count = -(-targets // rows)
    if targets >= threads * OWN_AT_ONCE:
        count = -(-count // threads) * threads
    return list(pairwise(place * targets // count for place in range(count + 1))) if count else []


def _shared(
    work: Callable[[int, int], "_Found"], spans: list[tuple[int, int]], threads: int
) -> Iterator["_Found"]:
    """What becomes of each span, in order. Threads of one core each wait for nobody, as those within a product do."""
    if threads == 1 or len(spans) == 1:
        yield from (work(first, last) for first, last in spans)
        return
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield from pool.map(work, *zip(*spans, strict=True))
    finally:
        # threads to come would else have one core too
        torch.set_num_threads(threads)


class _Found(NamedTuple):
    counts: Counts
    lists: tuple[Tensor, Tensor] | None


@torch.no_grad()
def _ranked(
    scores: Scores,
    target_N: Tensor,
    tiles: list[Tile],
    hide: Hide | None,
    watch: Watch | Lists | None,
    first: int,
    last: int,
) -> _Found:
    """One span."""
    hidden = None if hide is None else Places(*hide(first, last), tiles)
    span = Span(scores.rows(first, last, tiles), target_N[first:last], tiles, hidden)
    if isinstance(watch, Lists):
        shortlist = TopKSelection(watch.longest)
        return _Found(span.count(shortlist), shortlist.first())
    return _Found(span.count(None if watch is None else _Whole(watch, tiles[-1].end)), None)


class _Whole:
    """Puts the tiles of a span together for somebody who watches whole rows; a `tiles.Watcher`."""

    def __init__(self, watch: Watch, items: int) -> None:
        self.watch, self.items = watch, items
        self._s_CI: Tensor | None = None

    def see(self, tile: Tile, s_CT: Tensor) -> None:
        """Keep a copy, and show it when it is complete."""
        if self._s_CI is None:
            self._s_CI = s_CT if s_CT.shape[1] == self.items else s_CT.new_empty(len(s_CT), self.items)
        if self._s_CI is not s_CT:
            self._s_CI[:, tile.begin : tile.end] = s_CT
        if tile.end == self.items:
            self.watch(self._s_CI)
