"""Mixture of the softmax over the catalogue with a pointer over the items of the window, as terms for each target.

Shape letters: N targets, C rows of a chunk, W events of a window (newest last), I items, K best items.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from reprise.data.vocabulary import PAD

NORMALISER_ITEMS = 20
"""K: number of highest logits in the normaliser, in place of all logits of the catalogue."""
NO_ITEM = -1e4
"""Pointer logit of a position without an item: its weight is 0 next to any other, and no gradient is NaN."""


class RepeatMixture(NamedTuple):
    """The terms of the repeat head that do not depend on the logits; see `RepeatHead` for the equations.

    Each different item of a window is represented at its latest position; the other positions hold `PAD`.
    """

    item_NW: Tensor
    """Item indices, int64."""
    pointer_NW: Tensor
    """Pointer logits without the term of the item's own logit, float32; `NO_ITEM` at `PAD`."""
    gate_N: Tensor
    """Log odds of a repeat, y, float32."""
    own_weight: Tensor
    """Weight of the item's own logit in its pointer logit, w_l, a scalar."""
    scale: Tensor
    """Factor s of all logits, a scalar."""
    shift: Tensor
    """Number u <= 0 that is added to the scaled logits of the window before the mixture, a scalar."""

    def rows(self, first: int, last: int) -> "RepeatMixture":
        """Return the terms of the rows `first` to `last - 1`."""
        return self.take(slice(first, last))

    def take(self, row_N: Tensor | slice) -> "RepeatMixture":
        """Return the terms of some rows."""
        return self._replace(
            item_NW=self.item_NW[row_N], pointer_NW=self.pointer_NW[row_N], gate_N=self.gate_N[row_N]
        )

    def finite(self) -> Tensor:
        """Return a mask of the rows whose terms are finite, [N]."""
        scalars = torch.stack([self.own_weight, self.scale, self.shift])
        finite_N: Tensor = torch.isfinite(self.gate_N) & torch.isfinite(self.pointer_NW).all(1)
        return finite_N & torch.isfinite(scalars).all()

    def log_total(self, best_NK: Tensor) -> Tensor:
        """Return L: the log of the sum of the exponentials of the K best logits of the catalogue, scaled, [N]."""
        total_N: Tensor = torch.logsumexp(best_NK * self.scale, dim=1)
        return total_N

    def mixed(self, own_NW: Tensor, log_total_N: Tensor) -> Tensor:
        """Return the new logits of the items of the windows, [N, W]; undefined at `PAD`.

        Args:
            own_NW: The logits of the items before the mixture.
            log_total_N: L, from `log_total`.
        """
        scaled_NW = own_NW * self.scale
        empty_NW = self.item_NW == PAD
        pointer_NW = (self.pointer_NW + self.own_weight * scaled_NW).masked_fill(empty_NW, NO_ITEM)
        share_NW = torch.log_softmax(pointer_NW, dim=1)
        repeat_NW = (log_total_N + self.gate_N).unsqueeze(1) + share_NW
        return torch.logaddexp(scaled_NW + self.shift, repeat_NW) / self.scale

    def apply(self, s_NI: Tensor) -> Tensor:
        """Replace the logits of the windows in complete rows, in place, and return the rows.

        Column j of the rows belongs to item j + 1.
        """
        best_NK = s_NI.topk(min(NORMALISER_ITEMS, s_NI.shape[1]), dim=1).values
        row_N1 = torch.arange(len(s_NI), device=s_NI.device).unsqueeze(1)
        column_NW = (self.item_NW - 1).clamp(min=0)
        # an index, because the backward pass of `gather` refuses that its input is changed afterwards
        mixed_NW = self.mixed(s_NI[row_N1, column_NW], self.log_total(best_NK)).to(s_NI.dtype)
        row_P, place_P = (self.item_NW != PAD).nonzero(as_tuple=True)
        return s_NI.index_put_((row_P, column_NW[row_P, place_P]), mixed_NW[row_P, place_P])
