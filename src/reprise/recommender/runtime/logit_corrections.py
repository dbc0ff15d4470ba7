"""What counted transitions add to the scores: the items that came near the last ones before.

Shape letters: B users, W events of the window (newest last), I items, P pairs of an item and one near it, M additions.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from reprise.arrays import AnyArray
from reprise.recommender.search.exact_index import LogitCorrections

RECENT = "recent"
"""The part of a state that holds the last W items, [B, W]."""


@dataclass(frozen=True)
class CooccurrenceCorrection:
    """Scores of counted pairs, as compressed sparse rows over item indices.

    An item j that came near some of the last items grows by g log(1 + sum over w of v_w s(i_w, j) / e), with s the score of
    a pair, v_w the weight of a distance, e the floor and g the gain.
    """

    start: AnyArray
    """[I + 2]: the pairs of item i are at `start[i]`..`start[i + 1]`; item 0 (`PAD`) has none."""
    neighbour: AnyArray
    """Item indices of what came after them or before them, [P]."""
    score: AnyArray
    """[P], float32."""
    weight: AnyArray
    """v_w, [W], float32."""
    floor: AnyArray
    """log e, [1]."""
    gain: AnyArray
    """g, [1]."""

    @classmethod
    def of(cls, tensors: Mapping[str, AnyArray]) -> "CooccurrenceCorrection | None":
        """The transitions of an artefact; None where it has none."""
        return cls(**tensors) if tensors else None

    def after(self, recent_BW: AnyArray) -> LogitCorrections:
        """What is added to the scores of users with these last items."""
        items = len(self.start) - 1
        place_P, pair_P = self._entries(recent_BW.ravel())
        row_P, column_P = np.divmod(place_P, recent_BW.shape[1])
        key_P = row_P * items + self.neighbour[pair_P]
        score_P = self.score[pair_P] * self.weight[column_P]
        # an item near several of the last ones is added once, with the sum inside the logarithm
        key_M, back_P = np.unique(key_P, return_inverse=True)
        sum_M = np.bincount(back_P, weights=score_P, minlength=len(key_M))
        row_M, item_M = np.divmod(key_M, items)
        value_M = self.gain * np.log1p(sum_M * np.exp(-self.floor.astype(np.float64)))
        return LogitCorrections(row_M, item_M, value_M.astype(np.float32))

    def _entries(self, item_N: AnyArray) -> tuple[AnyArray, AnyArray]:
        """For all pairs of these items: which of them a pair begins with, and which pair it is."""
        first_N = self.start[item_N]
        length_N = self.start[item_N + 1] - first_N
        place_P = np.repeat(np.arange(len(item_N)), length_N)
        offset_N = first_N - (length_N.cumsum() - length_N)
        return place_P, np.arange(len(place_P)) + offset_N[place_P]
