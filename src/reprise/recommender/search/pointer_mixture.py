"""Mixture of the softmax over the catalogue with a pointer over recent items, for the scores of a search.

Shape letters: B queries, W places of a window of recent items, I items, K best items, N new scores.
"""

from typing import NamedTuple

import numpy as np

from reprise.arrays import AnyArray, BoolArray, Float32Array, Float64Array, Int64Array
from reprise.data.vocabulary import PAD

NORMALISER_ITEMS = 20
"""K: number of highest scores in the normaliser, in place of all scores of the catalogue."""
NO_ITEM = -1e300
"""Pointer logit of a place without an item: its weight is 0 next to any other, and no difference of two is NaN."""


class PointerMixture(NamedTuple):
    """The terms of a repeat head that do not depend on the scores; see `RepeatHead` for the equations.

    Each different item of a window has one place; the other places hold `PAD`.
    """

    item_BW: Int64Array
    """Item indices."""
    pointer_BW: Float64Array
    """Pointer logits without the term of the item's own score; `NO_ITEM` at `PAD`."""
    gate_B: Float64Array
    """Log odds of a repeat, y."""
    own_weight: float
    """Weight of the item's own score in its pointer logit."""
    scale: float
    """Factor s of all scores."""
    shift: float
    """Number u <= 0 that is added to the scaled scores of the window before the mixture."""

    def rows(self, first: int, last: int) -> "PointerMixture":
        """Return the terms of the queries `first` to `last - 1`."""
        return self.take(slice(first, last))

    def take(self, row_B: AnyArray | slice) -> "PointerMixture":
        """Return the terms of some queries."""
        return self._replace(
            item_BW=self.item_BW[row_B], pointer_BW=self.pointer_BW[row_B], gate_B=self.gate_B[row_B]
        )

    def mixed(self, own_BW: Float32Array, best_BK: Float32Array) -> Float32Array:
        """Return the new scores of the items of the windows, [B, W]; undefined at `PAD`.

        Args:
            own_BW: The scores of the items before the mixture.
            best_BK: The K best scores of all items of the catalogue before the mixture.
        """
        with np.errstate(all="ignore"):  # scores that are not finite give new scores that are not
            scaled_BW = np.multiply(own_BW, self.scale, dtype=np.float64)
            pointer_BW = self.pointer_BW + self.own_weight * scaled_BW
            log_total_B = np.logaddexp.reduce(np.multiply(best_BK, self.scale, dtype=np.float64), axis=1)
            pointer_total_B = np.logaddexp.reduce(pointer_BW, axis=1)
            repeat_BW = pointer_BW + (log_total_B + self.gate_B - pointer_total_B)[:, None]
            mixed_BW: Float32Array = (np.logaddexp(scaled_BW + self.shift, repeat_BW) / self.scale).astype(
                np.float32
            )
        return mixed_BW

    def apply(self, score_BI: Float32Array, best_BK: Float32Array) -> None:
        """Replace the scores of the items of the windows in complete rows of scores, in place."""
        column_BW = np.maximum(self.item_BW, 1) - 1
        mixed_BW = self.mixed(np.take_along_axis(score_BI, column_BW, axis=1), best_BK)
        row_N, place_N = np.nonzero(self.item_BW != PAD)
        score_BI[row_N, column_BW[row_N, place_N]] = mixed_BW[row_N, place_N]


def allowed_places(item_BW: AnyArray, allowed: BoolArray | None) -> BoolArray:
    """Return at which places of windows there is an item that a mask, [I] or [B, I], allows; not at `PAD`."""
    item_here_BW: BoolArray = item_BW != PAD
    if allowed is None:
        return item_here_BW
    column_BW = np.maximum(item_BW, 1) - 1
    allowed_BW = allowed[column_BW] if allowed.ndim == 1 else np.take_along_axis(allowed, column_BW, axis=1)
    return item_here_BW & allowed_BW
