"""Rows of scores in tiles that fit the cache of a processor core: computed, counted and overwritten.

Shape letters: C rows of a span, I items, T columns of a tile, K tiles, P pairs of a row and a column. A tile that stays
in the cache is compared at little extra cost next to the matrix product, and no table of all scores ever exists.
"""

from itertools import pairwise
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

MISS = 2**31 - 1
"""Value of `greater` for a target without a rank, which is below every list."""
ALIGNMENT = 32
"""Tiles begin at multiples of this many columns, so that products and comparisons work on whole vector registers."""


class Tile(NamedTuple):
    """A range of neighbouring columns."""

    number: int
    """Number of the tile within a row, from 0."""
    begin: int
    """First column."""
    end: int
    """Column after the last one."""


def cut(items: int, width: int) -> list[Tile]:
    """Divide all columns into tiles of `width` to nearly twice as many columns, without a narrow last tile.

    A narrow matrix product takes another code path in the library and differs from a wide one in the last bits, so that
    equal item vectors would no longer tie. Example: 1,000 columns of width 300 are the tiles 0-319, 320-639 and 640-999,
    not three tiles of 300 and one of 100.
    """
    count = max(1, items // width)
    edges = [number * items // count // ALIGNMENT * ALIGNMENT for number in range(count)] + [items]
    return [Tile(number, begin, end) for number, (begin, end) in enumerate(pairwise(edges))]


class Rows(Protocol):
    """Some rows of scores, written tile by tile."""

    def empty(self, scores: int) -> Tensor:
        """Allocate memory for this many scores, of the right type and on the right device."""
        ...

    def own(self, target_C: Tensor) -> Tensor:
        """Estimate the score of each row's target, s_C. The last bits may differ from what `write` gives."""
        ...

    def write(self, tile: Tile, s_CT: Tensor) -> None:
        """Write the scores of a tile."""
        ...


class TileObserver(Protocol):
    """Receives the tiles of a span, in order."""

    def observe(self, tile: Tile, s_CT: Tensor) -> None:
        """Receive the scores of a tile, -inf if an item is not a candidate; they are overwritten afterwards."""
        ...


class Pairs:
    """Pairs of a row and a column, sorted by tile, so that those of one tile are a slice.

    Equal pairs keep their order.

    Args:
        row_P: Row of each pair within the span.
        column_P: Column of each pair.
        tiles: All tiles of a row.
        value_P: Value of each pair, for `add_to`.
    """

    def __init__(
        self, row_P: Tensor, column_P: Tensor, tiles: list[Tile], value_P: Tensor | None = None
    ) -> None:
        begin_K = torch.tensor([tile.begin for tile in tiles], device=row_P.device)
        width_K = torch.tensor([tile.end - tile.begin for tile in tiles], device=row_P.device)
        tile_P = torch.bucketize(column_P, begin_K[1:], right=True)
        self.order_P = tile_P.argsort(stable=True)
        # index into a tile that is stored row by row: column 330 in row 2 of the tile 320-639 is at 2 * 320 + 10
        index_P = row_P * width_K[tile_P] + column_P - begin_K[tile_P]
        self._index_P = index_P[self.order_P]
        self._value_P = None if value_P is None else value_P[self.order_P]
        self._edges = [0, *tile_P.bincount(minlength=len(tiles)).cumsum(0).tolist()]

    def read(self, tile: Tile, s_CT: Tensor) -> Tensor:
        """Return the scores of the pairs in a tile; joined over all tiles they are in the order `order_P`."""
        return s_CT.view(-1).index_select(0, self._index_P[self._slice(tile)])

    def fill(self, tile: Tile, s_CT: Tensor, value: float) -> None:
        """Set the scores of the pairs in a tile to a value."""
        s_CT.view(-1).index_fill_(0, self._index_P[self._slice(tile)], value)

    def add_to(self, tile: Tile, s_CT: Tensor) -> None:
        """Add the values of the pairs in a tile to their scores. Values of equal pairs add up, in their order."""
        assert self._value_P is not None
        here = self._slice(tile)
        values = self._value_P[here].to(s_CT.dtype)
        s_CT.view(-1).index_put_((self._index_P[here],), values, accumulate=True)

    def _slice(self, tile: Tile) -> slice:
        return slice(self._edges[tile.number], self._edges[tile.number + 1])


class Counts(NamedTuple):
    """The ranks of the targets of some rows, as two counts."""

    greater_C: Tensor
    """Number of items that score strictly higher, int64; `MISS` if the target is not a candidate."""
    equal_C: Tensor
    """Number of other items with exactly the same score, int64."""
    own_C: Tensor
    """Score of the target; -inf if it is not a candidate."""


class Span:
    """Some rows with one target each, whose ranks are counted together.

    Args:
        rows: Scores of the rows.
        target_C: Target of each row; an item index above the number of columns (a cold item) is a miss.
        tiles: All tiles of a row.
        excluded: Pairs that are not candidates; an excluded target is a miss.
    """

    def __init__(
        self, rows: Rows, target_C: Tensor, tiles: list[Tile], excluded: Pairs | None = None
    ) -> None:
        items = tiles[-1].end
        self.rows, self.tiles, self.excluded = rows, tiles, excluded
        self._cold_C = target_C > items
        self._target_C = target_C.clamp(max=items)
        row_C = torch.arange(len(target_C), device=target_C.device)
        self._targets = Pairs(row_C, self._target_C - 1, tiles)

    def count(self, observer: TileObserver | None = None) -> Counts:
        """Count the scores of each row that are greater than that of its target, and those that are equal."""
        # with several tiles, the first ones are compared before the tile of the target is computed: its score is
        # estimated. A single tile is read before anything is compared.
        own_C = self.rows.own(self._target_C) if len(self.tiles) > 1 else None
        at_least_C, greater_C, read_C = self._pass(own_C, observer)
        excluded_C = torch.isneginf(read_C)
        if own_C is not None and not bool(((read_C == own_C) | excluded_C).all()):
            # the sum order of a product depends on its shape. If an estimate 0.7000001 turns out to be 0.7 in its tile,
            # an equal item at 0.7 was counted as lower, so count again with the scores of the tiles
            at_least_C, greater_C = self.compare(read_C)
        missed_C = self._cold_C | excluded_C
        equal_C = (at_least_C - greater_C - 1).masked_fill(missed_C, 0)
        own_C = read_C.masked_fill(missed_C, -torch.inf)
        return Counts(greater_C.masked_fill(missed_C, MISS), equal_C, own_C)

    def compare(self, own_C: Tensor) -> tuple[Tensor, Tensor]:
        """Return the number of scores of each row that are at least `own_C`, and the number above it."""
        return self._pass(own_C, None)[:2]

    def _pass(self, own_C: Tensor | None, observer: TileObserver | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return the number of scores >= `own_C`, the number above it, and the targets' scores as the tiles have them.

        If `own_C` is None, the targets' scores are compared; then there is a single tile.
        """
        rows = len(self._target_C)
        widest = max(tile.end - tile.begin for tile in self.tiles)
        # a sum of ones is several times faster than a sum of booleans; float32 counts exactly below 2^24 columns
        # two buffers for all tiles: new memory for each tile would be outside the cache
        score_memory, mask_memory = (self.rows.empty(rows * widest) for _ in range(2))
        count_type = torch.float64 if widest > 2**24 else score_memory.dtype
        at_least_KC, greater_KC = score_memory.new_empty(2, len(self.tiles), rows, dtype=count_type)
        read_C, read = self.rows.empty(rows), []
        own_C1 = (read_C if own_C is None else own_C)[:, None]
        for tile in self.tiles:
            s_CT, mask_CT = (_shaped(memory, rows, tile) for memory in (score_memory, mask_memory))
            self.rows.write(tile, s_CT)
            if self.excluded is not None:
                self.excluded.fill(tile, s_CT, -torch.inf)
            read.append(self._targets.read(tile, s_CT))
            if own_C is None:
                read_C[self._targets.order_P] = read[0]
            if observer is not None:
                observer.observe(tile, s_CT)
            torch.sum(torch.ge(s_CT, own_C1, out=mask_CT), 1, dtype=count_type, out=at_least_KC[tile.number])
            torch.sum(s_CT.gt_(own_C1), 1, dtype=count_type, out=greater_KC[tile.number])
        read_C[self._targets.order_P] = torch.cat(read)
        return _totals(at_least_KC), _totals(greater_KC), read_C


def _shaped(memory: Tensor, rows: int, tile: Tile) -> Tensor:
    """Return the first part of a buffer, in the shape of a tile."""
    width = tile.end - tile.begin
    return memory[: rows * width].view(rows, width)


def _totals(count_KC: Tensor) -> Tensor:
    return count_KC.long().sum(0)
