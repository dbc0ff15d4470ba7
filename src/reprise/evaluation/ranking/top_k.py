"""The first k items of each row, found while the scores pass by in tiles.

Shape letters: C rows of a span, T columns of a tile, G groups of neighbouring items, W items of a group, K places of a
list, P groups that were kept, Q items of them, M columns of any kind.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from reprise.evaluation.ranking.tiles import ALIGNMENT, Tile

GROUP = 32
"""Number of items in a group. One pass finds the best score of each group; only promising groups are copied."""
assert ALIGNMENT % GROUP == 0
MAX_KEPT_PER_PLACE = 16
"""A row keeps this many groups per place of its list, on average, before those below its threshold are dropped."""
BUCKETS_PER_PLACE = 3
"""Number of buckets per place, from which the threshold is found: more give a higher threshold and take longer."""


class _Kept(NamedTuple):
    """Groups with their scores, in ascending order of tiles, then of rows."""

    row_P: Tensor
    group_P: Tensor
    s_PW: Tensor


class TopKSelection:
    """Keeps the groups of neighbouring items that may contain one of the first `k` items of their row.

    Each row has a threshold: at least k earlier items score as high or higher. A later item must be above it to be among
    the first k, so a group without such an item is not kept. Example for k = 2: after the groups with the best scores
    0.9, 0.4 and 0.7 the threshold is 0.7, and a later group with the best score 0.6 is skipped. The threshold is raised
    after every half as many items more, since finding it costs as much as looking at some groups. A `tiles.TileObserver`.
    """

    def __init__(self, k: int) -> None:
        self.k = k
        self._kept: _Kept | None = None
        self._new: list[tuple[Tile, Tensor, Tensor]] = []
        self._buckets: list[Tensor] = []
        self._threshold_C1: Tensor | None = None
        self._groups_before = self._groups_since = self._size = 0

    def observe(self, tile: Tile, s_CT: Tensor) -> None:
        """Copy the groups of a tile that may contain one of the first items."""
        missing = -s_CT.shape[1] % GROUP
        s_GW = (pad(s_CT, (0, missing), value=-torch.inf) if missing else s_CT).view(-1, GROUP)
        best_CG = s_GW.amax(1).view(len(s_CT), -1)
        above_CG = best_CG > (-torch.inf if self._threshold_C1 is None else self._threshold_C1)
        place_P = above_CG.view(-1).nonzero()[:, 0]
        self._new.append((tile, place_P, s_GW.index_select(0, place_P)))
        self._fill_buckets(tile.number, best_CG)
        self._groups_since += best_CG.shape[1]
        self._size += len(place_P)
        if self._groups_since >= max(self._groups_before // 2, self.k):
            self._raise_threshold()
        if self._size > MAX_KEPT_PER_PLACE * self.k * len(s_CT):
            # rising scores pass every threshold: without this, 20,000 of them would all be kept
            self._raise_threshold()
            self._drop()

    def first(self) -> tuple[Tensor, Tensor]:
        """Return (column_CK ascending, s_CK) of the first `k` items of each row; -inf if there are fewer candidates."""
        self._raise_threshold()
        kept = self._drop()
        rows = len(self._buckets[0])
        candidate_PW = ~torch.isneginf(kept.s_PW)
        if self._threshold_C1 is not None:
            candidate_PW &= kept.s_PW >= self._threshold_C1[kept.row_P]
        group_Q, place_Q = candidate_PW.nonzero(as_tuple=True)
        # tiles came in order, so a stable sort by row keeps the columns of each row ascending
        order_Q = kept.row_P[group_Q].argsort(stable=True)
        group_Q, place_Q = group_Q[order_Q], place_Q[order_Q]
        row_Q = kept.row_P[group_Q]
        items_C = row_Q.bincount(minlength=rows)
        # number of each item within its row: rows 0 0 0 1 1 give 0 1 2 0 1
        number_Q = torch.arange(len(row_Q), device=row_Q.device) - (items_C.cumsum(0) - items_C)[row_Q]
        size = rows, max(int(items_C.max()), self.k)
        s_CM, column_CM = kept.s_PW.new_full(size, -torch.inf), row_Q.new_zeros(size)
        s_CM[row_Q, number_Q] = kept.s_PW[group_Q, place_Q]
        column_CM[row_Q, number_Q] = kept.group_P[group_Q] * GROUP + place_Q
        first_CK = first_mask(s_CM, self.k).nonzero()[:, 1].view(rows, self.k)
        return column_CM.gather(1, first_CK), s_CM.gather(1, first_CK)

    def _fill_buckets(self, number: int, best_CG: Tensor) -> None:
        """Put the best score of each group into a bucket, which keeps the best of all scores put into it.

        The buckets bound the work of finding the threshold: it looks at about 3 k buckets, not at all groups so far.
        """
        if sum(bucket_CG.shape[1] for bucket_CG in self._buckets) < BUCKETS_PER_PLACE * self.k:
            self._buckets.append(best_CG)
            return
        bucket_CG = self._buckets[number % len(self._buckets)]
        # a group without a bucket is left out, which can make the threshold too low but never too high
        groups = min(bucket_CG.shape[1], best_CG.shape[1])
        torch.maximum(bucket_CG[:, :groups], best_CG[:, :groups], out=bucket_CG[:, :groups])

    def _raise_threshold(self) -> None:
        # the k-th best bucket is a valid threshold: the k best buckets hold k different items at least as high
        best_CM = torch.cat(self._buckets, 1)
        if best_CM.shape[1] >= self.k:
            self._threshold_C1 = best_CM.topk(self.k, dim=1, sorted=False).values.amin(1, keepdim=True)
        self._groups_before, self._groups_since = self._groups_before + self._groups_since, 0

    def _drop(self) -> _Kept:
        """Drop the groups below the threshold, and return the others."""
        groups = self._joined()
        if self._threshold_C1 is not None:
            stays_P = (groups.s_PW.amax(1) >= self._threshold_C1[groups.row_P, 0]).nonzero()[:, 0]
            groups = _Kept(*(part.index_select(0, stays_P) for part in groups))
        self._kept, self._new, self._size = groups, [], len(groups.row_P)
        return groups

    def _joined(self) -> _Kept:
        """Return the groups kept before and those that the tiles since then have added."""
        if not self._new:
            assert self._kept is not None
            return self._kept
        tiles, places, scores = zip(*self._new, strict=True)
        found_K = torch.tensor([len(place_P) for place_P in places])
        width_K = torch.tensor([-(-(tile.end - tile.begin) // GROUP) for tile in tiles])
        begin_K = torch.tensor([tile.begin // GROUP for tile in tiles])
        place_P = torch.cat(places)
        width_P, begin_P = (of_K.repeat_interleave(found_K).to(place_P.device) for of_K in (width_K, begin_K))
        row_P = place_P.div(width_P, rounding_mode="floor")
        new = _Kept(row_P, place_P - row_P * width_P + begin_P, torch.cat(scores))
        if self._kept is None:
            return new
        return _Kept(*(torch.cat(parts) for parts in zip(self._kept, new, strict=True)))


def first_mask(s_CM: Tensor, k: int) -> Tensor:
    """Return a mask of exactly the first `k` items of each row: higher scores first, the lower column among equals."""
    threshold_C1 = s_CM.topk(k, dim=1).values[:, -1:]
    higher_CM = s_CM > threshold_C1
    equal_CM = s_CM == threshold_C1
    free_C1 = k - higher_CM.sum(1, keepdim=True)
    return higher_CM | (equal_CM & (equal_CM.cumsum(1) <= free_C1))
