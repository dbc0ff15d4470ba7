"""Rows of scores, tile by tile: made, counted and dropped while they are in a processor's cache.

Shape letters: C rows of a span, I items, T columns of a tile, K tiles, P pairs of a row and a column. A tile is as
large as a cache, so that comparing costs little beside the product, and no table of scores ever exists.
"""

from itertools import pairwise
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

MISS = 2**31 - 1
"""The number of higher items of a target without a rank: below every list."""
ALIGNED = 32
"""Tiles begin at multiples of this many columns: products and comparisons work on whole vectors."""


class Tile(NamedTuple):
    """Some neighbouring columns."""

    place: int
    """Which tile of a row."""
    begin: int
    """The first column."""
    end: int
    """One past the last."""


def cut(items: int, width: int) -> list[Tile]:
    """All columns in tiles of about `width`: less than twice as many, and no narrow one at the end.

    A narrow product takes another way through a processor and differs from the wide ones in its last bits.
    """
    count = max(1, items // width)
    edges = [place * items // count // ALIGNED * ALIGNED for place in range(count)] + [items]
    return [Tile(place, begin, end) for place, (begin, end) in enumerate(pairwise(edges))]


class Rows(Protocol):
    """Some rows of scores, written tile by tile."""

    def empty(self, scores: int) -> Tensor:
        """Memory for so many scores, of the right type and on the right device."""
        ...

    def own(self, target_C: Tensor) -> Tensor:
        """The score of each row's target, s_C. A guess: its last bits may differ from those that `write` gives."""
        ...

    def write(self, tile: Tile, s_CT: Tensor) -> None:
        """Write the scores of a tile."""
        ...


class Watcher(Protocol):
    """Sees the tiles of a span, in order."""

    def see(self, tile: Tile, s_CT: Tensor) -> None:
        """The scores of a tile, -inf where an item is no candidate; they are written over afterwards."""
        ...


class Places:
    """Pairs of a row and a column, sorted by tile, so that those of a tile are a slice; equal pairs keep their order."""

    def __init__(
        self, row_P: Tensor, column_P: Tensor, tiles: list[Tile], value_P: Tensor | None = None
    ) -> None:
        begin_K = torch.tensor([tile.begin for tile in tiles], device=row_P.device)
        width_K = torch.tensor([tile.end - tile.begin for tile in tiles], device=row_P.device)
        tile_P = torch.bucketize(column_P, begin_K[1:], right=True)
        self.order_P = tile_P.argsort(stable=True)
        place_P = row_P * width_K[tile_P] + column_P - begin_K[tile_P]
        self._place_P = place_P[self.order_P]
        self._value_P = None if value_P is None else value_P[self.order_P]
        self._edges = [0, *tile_P.bincount(minlength=len(tiles)).cumsum(0).tolist()]

    def read(self, tile: Tile, s_CT: Tensor) -> Tensor:
        """The scores of the pairs in a tile; those of all tiles, one after the other, are in the order `order_P`."""
        return s_CT.view(-1).index_select(0, self._place_P[self._here(tile)])

    def fill(self, tile: Tile, s_CT: Tensor, value: float) -> None:
        """Set the scores of the pairs in a tile."""
        s_CT.view(-1).index_fill_(0, self._place_P[self._here(tile)], value)

    def add_to(self, tile: Tile, s_CT: Tensor) -> None:
        """Add the values of the pairs in a tile; several of one place add up, in their order."""
        assert self._value_P is not None
        here = self._here(tile)
        values = self._value_P[here].to(s_CT.dtype)
        s_CT.view(-1).index_put_((self._place_P[here],), values, accumulate=True)

    def _here(self, tile: Tile) -> slice:
        return slice(self._edges[tile.place], self._edges[tile.place + 1])


class Counts(NamedTuple):
    """Where the targets of some rows stand."""

    greater_C: Tensor
    """How many items score strictly higher, int64; `MISS` when the target is no candidate."""
    equal_C: Tensor
    """How many other items score exactly the same, int64."""


class Span:
    """Some rows with one target each, to be counted.

    Args:
        rows: Their scores.
        target_C: Their targets; an item index above the number of columns (a cold item) is a miss.
        tiles: All columns.
        hidden: Pairs that are no candidates; a hidden target is a miss.
    """

    def __init__(self, rows: Rows, target_C: Tensor, tiles: list[Tile], hidden: Places | None = None) -> None:
        items = tiles[-1].end
        self.rows, self.tiles, self.hidden = rows, tiles, hidden
        self._cold_C = target_C > items
        self._target_C = target_C.clamp(max=items)
        row_C = torch.arange(len(target_C), device=target_C.device)
        self._targets = Places(row_C, self._target_C - 1, tiles)

    def count(self, watcher: Watcher | None = None) -> Counts:
        """How many scores are greater than each row's own, and how many equal."""
        # in a single tile the targets' scores stand before anything is compared with them
        known = len(self.tiles) > 1
        own_C = self.rows.own(self._target_C) if known else self.rows.empty(len(self._target_C))
        at_least_C, greater_C, seen_C = self._pass(own_C, watcher)
        hidden_C = torch.isneginf(seen_C)
        if not bool(((seen_C == own_C) | hidden_C).all()):
            # a product's last bits go by its shape: once more, with the scores that stood in the tiles
            at_least_C, greater_C, _ = self._pass(seen_C, None)
        missed_C = self._cold_C | hidden_C
        equal_C = (at_least_C - greater_C - 1).masked_fill(missed_C, 0)
        return Counts(greater_C.masked_fill(missed_C, MISS), equal_C)

    def _pass(self, own_C: Tensor, watcher: Watcher | None) -> tuple[Tensor, Tensor, Tensor]:
        """How many scores are at least `own_C`, how many above it, and the targets' scores as they stood in the tiles."""
        widest = max(tile.end - tile.begin for tile in self.tiles)
        # sums of ones in place of a sum of booleans, which is several times slower; exact below 2 ** 24 columns
        total = torch.float64 if widest > 2**24 else own_C.dtype
        at_least_KC, greater_KC = own_C.new_empty(2, len(self.tiles), len(own_C), dtype=total)
        room, other = own_C.new_empty(2, len(own_C) * widest)
        read, own_C1 = [], own_C[:, None]
        for tile in self.tiles:
            s_CT, mask_CT = (_shaped(memory, len(own_C), tile) for memory in (room, other))
            self.rows.write(tile, s_CT)
            if self.hidden is not None:
                self.hidden.fill(tile, s_CT, -torch.inf)
            read.append(self._targets.read(tile, s_CT))
            if len(self.tiles) == 1:
                own_C[self._targets.order_P] = read[0]
            if watcher is not None:
                watcher.see(tile, s_CT)
            torch.sum(torch.ge(s_CT, own_C1, out=mask_CT), 1, dtype=total, out=at_least_KC[tile.place])
            torch.sum(s_CT.gt_(own_C1), 1, dtype=total, out=greater_KC[tile.place])
        seen_C = torch.empty_like(own_C)
        seen_C[self._targets.order_P] = torch.cat(read)
        return _totals(at_least_KC), _totals(greater_KC), seen_C


def _shaped(memory: Tensor, rows: int, tile: Tile) -> Tensor:
    """The first part of some memory, as a tile."""
    width = tile.end - tile.begin
    return memory[: rows * width].view(rows, width)


def _totals(count_KC: Tensor) -> Tensor:
    return count_KC.long().sum(0)
