"""Co-occurrence logits without torch: a correction for items that often occurred near the user's last items.

Shape letters: B users, W events of the window (newest last), I items, N looked-up items, P pairs of an item and a neighbour,
M corrections.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from reprise.arrays import AnyArray
from reprise.recommender.search.logit_corrections import LogitCorrections

RECENT = "recent"
"""Name of the array of a state that holds the last W items, [B, W]."""


@dataclass(frozen=True)
class CooccurrenceTables:
    """Co-occurrence scores of item pairs, as compressed sparse rows over item indices.

    The logit of an item j grows by g log(1 + sum over w of v_w s(i_w, j) / e), with s the score of a pair, i_w the item at
    position w of the window, v_w the weight of that position, e the floor and g the gain. A second sum of the same form has
    the cosine similarities of the pairs; without it the arrays `cosine` and `cosine_...` are None.
    """

    start: AnyArray
    """Offsets of the rows, [I + 2]: the pairs of item i are at `start[i]` to `start[i + 1] - 1`; item 0 (`PAD`) has none."""
    neighbour: AnyArray
    """Item index of the neighbour of each pair, [P]."""
    score: AnyArray
    """Score s of each pair, [P], float32."""
    weight: AnyArray
    """Weight v_w of each position of the window, [W], float32."""
    floor: AnyArray
    """Logarithm of the floor e, [1]."""
    gain: AnyArray
    """Gain g, [1]."""
    cosine: AnyArray | None = None
    """Cosine similarity of each pair, [P], float32."""
    cosine_weight: AnyArray | None = None
    """Weight of each position of the window in the second sum, [W], float32."""
    cosine_floor: AnyArray | None = None
    """Logarithm of the floor of the second sum, [1]."""
    cosine_gain: AnyArray | None = None
    """Gain of the second sum, [1]."""

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, AnyArray]) -> "CooccurrenceTables | None":
        """Return the tables of an artefact, or None if it has none."""
        return cls(**tensors) if tensors else None

    def corrections(self, recent_BW: AnyArray) -> LogitCorrections:
        """Return the corrections of the scores for users with these last items; only the last W columns are used."""
        recent_BW = recent_BW[:, -len(self.weight) :]
        items = len(self.start) - 1
        position_P, pair_P = self._pairs(recent_BW.ravel())
        row_P, column_P = np.divmod(position_P, recent_BW.shape[1])
        # an item near several of the last items gets one correction, with the sums inside the logarithms
        key_M, back_P = np.unique(row_P * items + self.neighbour[pair_P], return_inverse=True)
        row_M, item_M = np.divmod(key_M, items)
        sum_M = np.bincount(back_P, self.score[pair_P] * self.weight[column_P], len(key_M))
        value_M = self.gain * np.log1p(sum_M * np.exp(-self.floor.astype(np.float64)))
        if self.cosine is not None:
            assert self.cosine_weight is not None and self.cosine_floor is not None
            assert self.cosine_gain is not None
            sum_M = np.bincount(back_P, self.cosine[pair_P] * self.cosine_weight[column_P], len(key_M))
            value_M += self.cosine_gain * np.log1p(sum_M * np.exp(-self.cosine_floor.astype(np.float64)))
        return LogitCorrections(row_M, item_M, value_M.astype(np.float32))

    def _pairs(self, item_N: AnyArray) -> tuple[AnyArray, AnyArray]:
        """Return all pairs of these items: the position of the first item in `item_N`, and the index of the pair."""
        first_N = self.start[item_N]
        length_N = self.start[item_N + 1] - first_N
        position_P = np.repeat(np.arange(len(item_N)), length_N)
        offset_N = first_N - (length_N.cumsum() - length_N)
        return position_P, np.arange(len(position_P)) + offset_N[position_P]
