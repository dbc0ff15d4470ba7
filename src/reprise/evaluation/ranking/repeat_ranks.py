"""Ranks of rows in which the repeat head replaces the scores of recent items.

The new scores depend on the best scores of the whole row, so they are known only after a pass over all tiles. That pass
covers the other items, which keep their scores. The recent items are compared afterwards.

Shape letters: C rows of a span, I items, T columns of a tile, W items of a window, K best other items, P pairs, M rows that
are counted again.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from reprise.data.vocabulary import PAD
from reprise.evaluation.ranking.tiles import MISS, Counts, Pairs, Rows, Span, Tile
from reprise.evaluation.ranking.top_k import TopKSelection, first_mask
from reprise.models.corrections.repeat_mixture import NORMALISER_ITEMS, RepeatMixture


class OtherItems:
    """Rows of scores in which the items of the windows score -inf, and their own scores are kept; a `tiles.Rows`."""

    def __init__(self, rows: Rows, item_CW: Tensor, tiles: list[Tile]) -> None:
        self.rows, self.item_CW = rows, item_CW
        self._row_P, self._place_P = (item_CW != PAD).nonzero(as_tuple=True)
        self._pairs = Pairs(self._row_P, item_CW[self._row_P, self._place_P] - 1, tiles)
        self._read: list[Tensor] = [rows.empty(0)] * len(tiles)

    def empty(self, scores: int) -> Tensor:
        """Allocate memory of the type of the scores."""
        return self.rows.empty(scores)

    def own(self, target_C: Tensor) -> Tensor:
        """Estimate the score of each row's target, also if it is in the window."""
        return self.rows.own(target_C)

    def write(self, tile: Tile, s_CT: Tensor) -> None:
        """Write the scores of a tile, and keep those of the window."""
        self.rows.write(tile, s_CT)
        self._read[tile.number] = self._pairs.read(tile, s_CT)
        self._pairs.fill(tile, s_CT, -torch.inf)

    def window_scores(self) -> Tensor:
        """Return the scores of the windows, [C, W], after all tiles were written; -inf at `PAD`."""
        size = self.item_CW.shape
        own_CW = self.rows.empty(size.numel()).view(size).fill_(-torch.inf)
        order_P = self._pairs.order_P
        own_CW[self._row_P[order_P], self._place_P[order_P]] = torch.cat(self._read)
        return own_CW


class SpanRanks(NamedTuple):
    """Ranks of the targets of a span, as far as one pass over the tiles gives them."""

    counts: Counts
    """The ranks. Those of the rows `again_M` count only the items of the windows."""
    lists: tuple[Tensor, Tensor] | None
    """Columns (ascending) and scores of the first items of each row, [C, K]; None if they are not needed."""
    again_M: Tensor
    """Rows whose other items must be counted once more, with the new score of the target."""


def rank_with_repeats(
    rows: Rows,
    repeats: RepeatMixture,
    target_C: Tensor,
    tiles: list[Tile],
    excluded: tuple[Tensor, Tensor] | None,
    k: int,
) -> SpanRanks:
    """Rank the targets of a span among the scores that the mixture gives.

    Args:
        rows: Scores before the mixture.
        repeats: The terms of the mixture for these rows.
        target_C: Target of each row.
        tiles: All tiles of a row.
        excluded: Pairs (row_P, column_P) that are not candidates. They count for the normaliser of the mixture.
        k: Length of the lists; 0 if they are not needed.
    """
    item_CW, items = repeats.item_NW, tiles[-1].end
    others = OtherItems(rows, item_CW, tiles)
    selection = TopKSelection(max(k, NORMALISER_ITEMS))
    counts = Span(others, target_C, tiles, excluded and Pairs(*excluded, tiles)).count(selection)
    column_CK, best_CK = selection.first()
    every_CK = best_CK if excluded is None else _best(others, target_C, tiles)
    own_CW = others.window_scores()
    highest_CK = torch.cat([every_CK, own_CW], 1).topk(min(NORMALISER_ITEMS, items), dim=1).values
    new_CW = repeats.mixed(own_CW.masked_fill(item_CW == PAD, 0.0), repeats.log_total(highest_CK))
    new_CW = new_CW.to(own_CW.dtype).masked_fill(_not_candidates(item_CW, excluded, items), -torch.inf)
    found = _counts(counts, best_CK, new_CW, item_CW == target_C.unsqueeze(1))
    return found._replace(lists=_merged(column_CK, best_CK, item_CW, new_CW, k) if k else None)


def _best(others: OtherItems, target_C: Tensor, tiles: list[Tile]) -> Tensor:
    """Return the best scores of the other items, whether they are candidates or not, [C, K]."""
    selection = TopKSelection(NORMALISER_ITEMS)
    Span(others, target_C, tiles).count(selection)
    return selection.first()[1]


def _not_candidates(item_CW: Tensor, excluded: tuple[Tensor, Tensor] | None, items: int) -> Tensor:
    """Return a mask of the positions of the windows that hold no candidate."""
    if excluded is None:
        return item_CW == PAD
    row_P, column_P = excluded
    row_C = torch.arange(len(item_CW), device=item_CW.device)
    key_CW = row_C.unsqueeze(1) * items + item_CW - 1
    return (item_CW == PAD) | torch.isin(key_CW, row_P * items + column_P)


def _counts(others: Counts, best_CK: Tensor, new_CW: Tensor, target_CW: Tensor) -> SpanRanks:
    """Add the items of the windows to the counts of the other items.

    Args:
        others: Counts of the other items, for targets that are not in the window.
        best_CK: The best scores of the other items.
        new_CW: New scores of the items of the windows.
        target_CW: True at the position of the target.
    """
    repeated_C = target_CW.any(1)
    own_C = torch.where(repeated_C, new_CW.masked_fill(~target_CW, -torch.inf).amax(1), others.own_C)
    missed_C, own_C1 = torch.isneginf(own_C), own_C.unsqueeze(1)
    # of a target in the window, the list holds all better items if it holds a worse one too
    listed_C = repeated_C & (own_C > best_CK.amin(1))
    greater_C = torch.where(listed_C, (best_CK > own_C1).sum(1), others.greater_C.masked_fill(repeated_C, 0))
    equal_C = torch.where(listed_C, (best_CK == own_C1).sum(1), others.equal_C.masked_fill(repeated_C, 0))
    greater_C = greater_C + (new_CW > own_C1).sum(1)
    equal_C = equal_C + (new_CW == own_C1).sum(1) - repeated_C.long()
    counts = Counts(greater_C.masked_fill(missed_C, MISS), equal_C.masked_fill(missed_C, 0), own_C)
    return SpanRanks(counts, None, (repeated_C & ~listed_C & ~missed_C).nonzero()[:, 0])


def _merged(
    column_CK: Tensor, best_CK: Tensor, item_CW: Tensor, new_CW: Tensor, k: int
) -> tuple[Tensor, Tensor]:
    """Return (column_CK ascending, s_CK): the first `k` items of the other ones and those of the windows."""
    column_CM, s_CM = torch.cat([column_CK, (item_CW - 1).clamp(min=0)], 1), torch.cat([best_CK, new_CW], 1)
    column_CM, order_CM = column_CM.sort(1)
    s_CM = s_CM.gather(1, order_CM)
    first_CK = first_mask(s_CM, k).nonzero()[:, 1].view(len(s_CM), k)
    return column_CM.gather(1, first_CK), s_CM.gather(1, first_CK)
