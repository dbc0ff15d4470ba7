"""Full ranking: count the items that score higher than each target, and those that score the same.

Shape letters: N targets, I items (the scored ones), C rows of a span, T columns of a tile, D width, K places of a list,
P pairs of a row and an item. Rows are ranked in spans, which threads share, and spans in tiles, so that the whole table
of N x I scores never exists.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from typing import NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from reprise.evaluation.ranking.repeat_ranks import OtherItems, SpanRanks, rank_with_repeats
from reprise.evaluation.ranking.scores import Scores
from reprise.evaluation.ranking.tiles import Pairs, Span, Tile, cut
from reprise.evaluation.ranking.top_k import GROUP, MAX_KEPT_PER_PLACE, TopKSelection
from reprise.models.corrections.repeat_mixture import NORMALISER_ITEMS

SCORES_PER_TILE = {"cpu": 1 << 18, "cuda": 1 << 27}
"""Number of scores in a tile, by device. On a CPU larger tiles leave the cache and smaller ones slow the product."""
COLUMNS_PER_TILE = {"cpu": 512}
"""Approximate number of columns of a tile, by device; on other devices a tile has whole rows."""
FEW_ROWS = 64
"""With fewer rows, tiles are wider. With more, the estimated scores of targets would often differ from a wide product."""
MAX_SCORES_KEPT = 1 << 24
"""Maximum number of scores kept for a callback that receives whole rows, or for the top-k lists of a span."""
MIN_TARGETS_PER_THREAD = 64
"""With fewer targets per thread, the spans are not divided further for the threads."""

Result = TypeVar("Result")
ExclusionMask = Callable[[int, int], tuple[Tensor, Tensor]]
"""Function (first, last) -> (row_P within the span, column_P): the pairs that are not candidates for these targets."""
ScoreCallback = Callable[[Tensor], None]
"""Function called with the whole rows of each span, s_CI; the score is -inf if an item is not a candidate."""


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
    lists: TopKConsumer | None = None,
) -> Ranks:
    """Rank every target among all items.

    Args:
        scores: Finite scores; column j belongs to item index j + 1.
        target_N: Item indices; an index above the number of columns (a cold item) is a miss.
        mask: Items to remove from the candidates; a removed target is a miss. Several threads may call it.
        lists: Receives the top-k lists. It is called by the calling thread, in the order of the targets.
    """
    tiles, threads = _tiles(scores), _threads(scores)
    kept = max(0 if lists is None else lists.k, 0 if scores.repeats is None else NORMALISER_ITEMS)
    spans = _spans(len(scores), _rows_per_span(scores, tiles, kept), threads)
    work = partial(_rank_span, scores, target_N, tiles, mask, 0 if lists is None else lists.k)
    ranks = Ranks(torch.empty_like(target_N), torch.empty_like(target_N))
    again: list[tuple[Tensor, Tensor]] = []
    for (first, last), found in zip(spans, _run(work, spans, threads), strict=True):
        ranks.greater_N[first:last], ranks.equal_N[first:last] = found.counts[:2]
        if lists is not None:
            assert found.lists is not None
            lists.receive(*found.lists)
        if len(found.again_M):
            again.append((found.again_M + first, found.counts.own_C[found.again_M]))
    if again:
        row_M, own_M = map(torch.cat, zip(*again, strict=True))
        _count_others(scores, ranks, row_M, own_M, mask)
    return ranks


def score_rows(scores: Scores, mask: ExclusionMask | None, callback: ScoreCallback) -> None:
    """Compute whole rows of scores, a few rows at a time to save memory.

    Args:
        scores: Finite scores.
        mask: Items to remove from the candidates; they score -inf.
        callback: Receives the rows, in their order.
    """
    tiles = _tiles(scores)
    rows = min(_rows_per_span(scores, tiles, 0), max(16, MAX_SCORES_KEPT // scores.items))
    for first, last in _spans(len(scores), rows, 1):
        part = scores.rows(first, last, tiles)
        s_CI = part.empty((last - first) * scores.items).view(last - first, scores.items)
        for tile in tiles:
            # memory of its own: a product in a part of wider rows may differ in the last bits
            s_CT = part.empty((last - first) * (tile.end - tile.begin)).view(last - first, -1)
            part.write(tile, s_CT)
            s_CI[:, tile.begin : tile.end] = s_CT
        if scores.repeats is not None:
            s_CI = scores.repeats.rows(first, last).apply(s_CI)
        if mask is not None:
            s_CI[mask(first, last)] = -torch.inf
        callback(s_CI)


def _count_others(
    scores: Scores, ranks: Ranks, row_M: Tensor, own_M: Tensor, mask: ExclusionMask | None
) -> None:
    """Count the other items of targets in the window whose new score is lower than their lists reach.

    Args:
        scores: Scores of all rows.
        ranks: Their ranks. The counts of `row_M` are added to those of the items in the windows.
        row_M: Rows of these targets.
        own_M: Their new scores.
        mask: Items to remove from the candidates.
    """
    tiles, threads, some = _tiles(scores), _threads(scores), scores.take(row_M)
    excluded = None if mask is None else _take_pairs(mask(0, len(scores)), row_M)

    @torch.no_grad()
    def count(first: int, last: int) -> tuple[Tensor, Tensor]:
        assert some.repeats is not None
        others = OtherItems(some.rows(first, last, tiles), some.repeats.item_NW[first:last], tiles)
        here = None
        if excluded is not None:
            inside_P = (excluded[0] >= first) & (excluded[0] < last)
            here = Pairs(excluded[0][inside_P] - first, excluded[1][inside_P], tiles)
        return Span(others, row_M.new_ones(last - first), tiles, here).compare(own_M[first:last])

    spans = _spans(len(row_M), _rows_per_span(scores, tiles, 0), threads)
    at_least_M, greater_M = map(torch.cat, zip(*_run(count, spans, threads), strict=True))
    ranks.greater_N[row_M] += greater_M
    ranks.equal_N[row_M] += at_least_M - greater_M


def _take_pairs(pairs: tuple[Tensor, Tensor], row_M: Tensor) -> tuple[Tensor, Tensor]:
    """Return the pairs of the rows `row_M` (ascending), renumbered from 0."""
    row_P, column_P = pairs
    index_P = torch.searchsorted(row_M, row_P).clamp(max=len(row_M) - 1)
    found_P = row_M[index_P] == row_P
    return index_P[found_P], column_P[found_P]


def _tiles(scores: Scores) -> list[Tile]:
    """Cut the columns into tiles; few rows have wider ones, since each tile costs some fixed time."""
    device = scores.device.type
    width = COLUMNS_PER_TILE.get(device, scores.items)
    if 0 < len(scores) < FEW_ROWS:
        width = max(width, SCORES_PER_TILE.get(device, 0) // len(scores))
    return cut(scores.items, min(scores.items, width))


def _threads(scores: Scores) -> int:
    return torch.get_num_threads() if scores.device.type == "cpu" else 1


def _rows_per_span(scores: Scores, tiles: list[Tile], kept: int) -> int:
    """Return the number of rows of a span; `kept` is the length of the lists, if any."""
    # a tile of 2^18 scores with 512 columns has 512 rows: 1 MiB in float32, about the cache of one core
    size = SCORES_PER_TILE.get(scores.device.type, SCORES_PER_TILE["cuda"])
    rows = size // max(tile.end - tile.begin for tile in tiles)
    if kept:
        rows = min(rows, MAX_SCORES_KEPT // (MAX_KEPT_PER_PLACE * GROUP * kept))
    return max(16, rows)


def _spans(targets: int, rows: int, threads: int) -> list[tuple[int, int]]:
    """Divide all targets into spans of about the same length, the same number for each thread.

    Example: 1,000 targets in spans of at most 300 rows are 4 spans; for 3 threads 6, so that none waits for the others.
    """
    count = -(-targets // rows)
    if targets >= threads * MIN_TARGETS_PER_THREAD:
        count = -(-count // threads) * threads
    return list(pairwise(place * targets // count for place in range(count + 1))) if count else []


def _run(work: Callable[[int, int], Result], spans: list[tuple[int, int]], threads: int) -> Iterator[Result]:
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


@torch.no_grad()
def _rank_span(
    scores: Scores,
    target_N: Tensor,
    tiles: list[Tile],
    mask: ExclusionMask | None,
    k: int,
    first: int,
    last: int,
) -> SpanRanks:
    rows, target_C = scores.rows(first, last, tiles), target_N[first:last]
    excluded = None if mask is None else mask(first, last)
    if scores.repeats is not None:
        return rank_with_repeats(rows, scores.repeats.rows(first, last), target_C, tiles, excluded, k)
    span = Span(rows, target_C, tiles, excluded and Pairs(*excluded, tiles))
    selection = TopKSelection(k) if k else None
    counts = span.count(selection)
    return SpanRanks(counts, None if selection is None else selection.first(), target_C[:0])
