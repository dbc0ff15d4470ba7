"""The first items of each row, found while the scores come by in tiles.

Shape letters: C rows of a span, T columns of a tile, G groups of neighbouring items, W items of a group, K places of a
list, P groups that were kept, Q items of them, M columns of any kind.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from reprise.evaluation.ranking.tiles import ALIGNED, Tile

WIDTH = 32
"""Items in a group. One pass finds the best of each group; only the best groups are then looked into."""
assert ALIGNED % WIDTH == 0
KEPT_AT_MOST = 16
"""Times k groups of a row are kept, on average, before those that fell below the bar are dropped."""
BUCKETS = 3
"""Times k buckets of groups are compared to find the bar: more make it higher, and take longer."""


class _Kept(NamedTuple):
    """Groups with their scores, in ascending order of tiles, then of rows."""

    row_P: Tensor
    group_P: Tensor
    s_PW: Tensor


class TopKSelection:
    """Keeps the groups of neighbouring items that may hold one of the first `k` items of their row.

    Each row has a bar: k items before have at least this score. So a later item that is not above the bar is not among
    the first k, and a group without an item above it can be dropped. The bar is raised whenever half as many items more
    have come by. A `tiles.Watcher`.
    """

    def __init__(self, k: int) -> None:
        self.k = k
        self._kept: _Kept | None = None
        self._new: list[tuple[Tile, Tensor, Tensor]] = []
        self._buckets: list[Tensor] = []
        self._bar_C1: Tensor | None = None
        self._judged = self._due = self._size = 0

    def see(self, tile: Tile, s_CT: Tensor) -> None:
        """Keep what may be among the first."""
        missing = -s_CT.shape[1] % WIDTH
        s_GW = (pad(s_CT, (0, missing), value=-torch.inf) if missing else s_CT).view(-1, WIDTH)
        best_CG = s_GW.amax(1).view(len(s_CT), -1)
        above_CG = best_CG > (-torch.inf if self._bar_C1 is None else self._bar_C1)
        place_P = above_CG.view(-1).nonzero()[:, 0]
        self._new.append((tile, place_P, s_GW.index_select(0, place_P)))
        self._pour(tile.place, best_CG)
        self._due += best_CG.shape[1]
        self._size += len(place_P)
        if self._due >= max(self._judged // 2, self.k):
            self._raise_bar()
        if self._size > KEPT_AT_MOST * self.k * len(s_CT):
            self._raise_bar()
            self._drop()

    def first(self) -> tuple[Tensor, Tensor]:
        """(column_CK ascending, s_CK): the first `k` items of each row; -inf where there are not so many candidates."""
        self._raise_bar()
        kept = self._drop()
        rows = len(self._buckets[0])
        candidate_PW = ~torch.isneginf(kept.s_PW)
        if self._bar_C1 is not None:
            candidate_PW &= kept.s_PW >= self._bar_C1[kept.row_P]
        group_Q, place_Q = candidate_PW.nonzero(as_tuple=True)
        # tiles came in order, so the items of a row stay in order
        order_Q = kept.row_P[group_Q].argsort(stable=True)
        group_Q, place_Q = group_Q[order_Q], place_Q[order_Q]
        row_Q = kept.row_P[group_Q]
        items_C = row_Q.bincount(minlength=rows)
        rank_Q = torch.arange(len(row_Q), device=row_Q.device) - (items_C.cumsum(0) - items_C)[row_Q]
        size = rows, max(int(items_C.max()), self.k)
        s_CM, column_CM = kept.s_PW.new_full(size, -torch.inf), row_Q.new_zeros(size)
        s_CM[row_Q, rank_Q] = kept.s_PW[group_Q, place_Q]
        column_CM[row_Q, rank_Q] = kept.group_P[group_Q] * WIDTH + place_Q
        first_CK = first_mask(s_CM, self.k).nonzero()[:, 1].view(rows, self.k)
        return column_CM.gather(1, first_CK), s_CM.gather(1, first_CK)

    def _pour(self, place: int, best_CG: Tensor) -> None:
        """Put the best of each group into a bucket, which remembers the best of all that was put into it."""
        if sum(bucket_CG.shape[1] for bucket_CG in self._buckets) < BUCKETS * self.k:
            self._buckets.append(best_CG)
            return
        bucket_CG = self._buckets[place % len(self._buckets)]
        # a group without a bucket is left out: the bar may be too low, never too high
        groups = min(bucket_CG.shape[1], best_CG.shape[1])
        torch.maximum(bucket_CG[:, :groups], best_CG[:, :groups], out=bucket_CG[:, :groups])

    def _raise_bar(self) -> None:
        """The k-th best bucket has k items at least as high, in k buckets."""
        best_CM = torch.cat(self._buckets, 1)
        if best_CM.shape[1] >= self.k:
            self._bar_C1 = best_CM.topk(self.k, dim=1, sorted=False).values.amin(1, keepdim=True)
        self._judged, self._due = self._judged + self._due, 0

    def _drop(self) -> _Kept:
        """Drop the groups below the bar."""
        groups = self._joined()
        if self._bar_C1 is not None:
            stays_P = (groups.s_PW.amax(1) >= self._bar_C1[groups.row_P, 0]).nonzero()[:, 0]
            groups = _Kept(*(part.index_select(0, stays_P) for part in groups))
        self._kept, self._new, self._size = groups, [], len(groups.row_P)
        return groups

    def _joined(self) -> _Kept:
        """What was kept before and what the tiles since have added."""
        if not self._new:
            assert self._kept is not None
            return self._kept
        tiles, places, scores = zip(*self._new, strict=True)
        found_K = torch.tensor([len(place_P) for place_P in places])
        width_K = torch.tensor([-(-(tile.end - tile.begin) // WIDTH) for tile in tiles])
        begin_K = torch.tensor([tile.begin // WIDTH for tile in tiles])
        place_P = torch.cat(places)
        width_P, begin_P = (of_K.repeat_interleave(found_K).to(place_P.device) for of_K in (width_K, begin_K))
        row_P = place_P.div(width_P, rounding_mode="floor")
        new = _Kept(row_P, place_P - row_P * width_P + begin_P, torch.cat(scores))
        if self._kept is None:
            return new
        return _Kept(*(torch.cat(parts) for parts in zip(self._kept, new, strict=True)))


def first_mask(s_CM: Tensor, k: int) -> Tensor:
    """Exactly the first `k` of each row, bool: higher scores first, among equals the lower column."""
    threshold_C1 = s_CM.topk(k, dim=1).values[:, -1:]
    higher_CM = s_CM > threshold_C1
    level_CM = s_CM == threshold_C1
    free_C1 = k - higher_CM.sum(1, keepdim=True)
    return higher_CM | (level_CM & (level_CM.cumsum(1) <= free_C1))
