"""Scores of targets before which a user has no known event: the popularity of the items, as in the recommender.

Without them, such a target would get the scores of the network's initial state.
Shape letters: N targets, I scored items, C rows of a span, T columns of a tile, P rows without known events.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from reprise.arrays import BoolArray
from reprise.data.dataset import SequenceDataset
from reprise.data.popular_items import popular_shares
from reprise.evaluation.ranking.scores import Scores
from reprise.evaluation.ranking.tiles import Rows, Tile
from reprise.models.corrections.repeat_mixture import RepeatMixture


@dataclass(frozen=True, eq=False)
class PopularWithoutEvents:
    """Scores of a model, replaced by the popularity of the items in the rows without known events."""

    scores: Scores
    """Scores of the model."""
    popular_I: Tensor
    """Popularity of each item."""
    without_N: Tensor
    """Mask of the rows without known events."""

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def items(self) -> int:
        """Number of columns of a row."""
        return self.scores.items

    @property
    def device(self) -> torch.device:
        """Device of the scores."""
        return self.scores.device

    @property
    def repeats(self) -> RepeatMixture | None:
        """Mixture of the model. Rows without known events have no recent items."""
        return self.scores.repeats

    def rows(self, first: int, last: int, tiles: list[Tile]) -> Rows:
        """Return some rows of the model's scores with these replacements."""
        rows = self.scores.rows(first, last, tiles)
        (replaced_P,) = self.without_N[first:last].nonzero(as_tuple=True)
        return rows if not len(replaced_P) else _ReplacedRows(rows, self.popular_I, replaced_P)

    def take(self, row_N: Tensor) -> "PopularWithoutEvents":
        """Return the scores of some rows, with their replacements."""
        return PopularWithoutEvents(self.scores.take(row_N), self.popular_I, self.without_N[row_N])


@dataclass(frozen=True, eq=False)
class _ReplacedRows:
    rows: Rows
    popular_I: Tensor
    replaced_P: Tensor

    def empty(self, scores: int) -> Tensor:
        """Allocate memory of the type of the model's scores."""
        return self.rows.empty(scores)

    def own(self, target_C: Tensor) -> Tensor:
        """Compute the score of each row's target: the popularity of the item in a replaced row, else the model's score."""
        s_C = self.rows.own(target_C)
        s_C[self.replaced_P] = self.popular_I[target_C[self.replaced_P] - 1].to(s_C.dtype)
        return s_C

    def write(self, tile: Tile, s_CT: Tensor) -> None:
        """Write the scores of a tile, with the popularity of the items in the replaced rows."""
        self.rows.write(tile, s_CT)
        s_CT[self.replaced_P] = self.popular_I[tile.begin : tile.end].to(s_CT.dtype)


def with_popular_items(
    scores: Scores, dataset: SequenceDataset, without_N: BoolArray, device: torch.device
) -> Scores:
    """Return scores in which the rows without known events hold the popularity of the items."""
    if not without_N.any():
        return scores
    popular_I = torch.from_numpy(popular_shares(dataset.table, dataset.items.scored)).to(device)
    return PopularWithoutEvents(scores, popular_I, torch.from_numpy(without_N).to(device))
