"""Scores of targets before which a user has no known event: the popularity of the items, as in the recommender.

Without them, such a target would get the scores of the network's initial state.
Shape letters: N targets, I scored items, C rows of a span, T columns of a tile, P rows without known events.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from reprise.data.popular_items import Moment, PopularItems
from reprise.evaluation.ranking.scores import Scores
from reprise.evaluation.ranking.tiles import Rows, Tile
from reprise.models.corrections.repeat_mixture import RepeatMixture


@dataclass(frozen=True, eq=False)
class PopularWithoutEvents:
    """Scores of a model, replaced by the popularity of the items in the rows without known events."""

    scores: Scores
    """Scores of the model."""
    popular: PopularItems
    """Popularity of the items at each moment."""
    moment_N: Sequence[Moment | None]
    """Moment of each row without known events; None: the row keeps the scores of the model."""

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
        moment_P = {row: moment for row, moment in enumerate(self.moment_N[first:last]) if moment is not None}
        if not moment_P:
            return rows
        share_PI = np.zeros((len(moment_P), self.items), dtype=np.float32)
        for place, moment in enumerate(moment_P.values()):
            share_I = self.popular.at(moment).share_I
            share_PI[place, : len(share_I)] = share_I
        replaced_P = torch.tensor(list(moment_P), device=self.device)
        return _ReplacedRows(rows, torch.from_numpy(share_PI).to(self.device), replaced_P)

    def take(self, row_N: Tensor) -> "PopularWithoutEvents":
        """Return the scores of some rows, with their replacements."""
        moments = [self.moment_N[row] for row in row_N.tolist()]
        return PopularWithoutEvents(self.scores.take(row_N), self.popular, moments)


@dataclass(frozen=True, eq=False)
class _ReplacedRows:
    rows: Rows
    share_PI: Tensor
    replaced_P: Tensor

    def empty(self, scores: int) -> Tensor:
        """Allocate memory of the type of the model's scores."""
        return self.rows.empty(scores)

    def own(self, target_C: Tensor) -> Tensor:
        """Compute the score of each row's target: the popularity of the item in a replaced row, else the model's score."""
        s_C = self.rows.own(target_C)
        column_P1 = target_C[self.replaced_P, None] - 1
        s_C[self.replaced_P] = self.share_PI.gather(1, column_P1)[:, 0].to(s_C.dtype)
        return s_C

    def write(self, tile: Tile, s_CT: Tensor) -> None:
        """Write the scores of a tile, with the popularity of the items in the replaced rows."""
        self.rows.write(tile, s_CT)
        s_CT[self.replaced_P] = self.share_PI[:, tile.begin : tile.end].to(s_CT.dtype)


def with_popular_items(scores: Scores, popular: PopularItems, moment_N: Sequence[Moment | None]) -> Scores:
    """Return scores in which the rows with a moment hold the popularity of the items at this moment."""
    if all(moment is None for moment in moment_N):
        return scores
    return PopularWithoutEvents(scores, popular, moment_N)
