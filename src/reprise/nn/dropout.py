"""Dropout whose masks come from random words: a processor draws one word for four numbers instead of one for each.

The masks depend on torch's generator only, so a step that is seeded again draws the same.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout

LEVELS = 2**16
"""Number of values that 16 random bits can have; the rate is rounded to a multiple of 1 / LEVELS."""
BITS_PER_WORD = 4
"""Number of masks in a random word of 64 bits."""


class Dropout(nn.Module):
    """Dropout (Srivastava et al. 2014): in training, each number is 0 with probability `rate`, or scaled by 1 / (1 - rate).

    On a processor, torch draws each Bernoulli variable separately, which takes ten times as long as here.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def extra_repr(self) -> str:
        """Return the rate, which torch prints with the name of the layer."""
        return f"rate={self.rate}"

    def forward(self, x: Tensor) -> Tensor:
        """Return x with dropout."""
        if not self._active:
            return x
        if x.device.type != "cpu":
            return dropout(x, self.rate)
        mask, scale = keep_mask(x, self.rate)
        return x * mask.mul_(scale)

    def add(self, x: Tensor, branch: Tensor) -> Tensor:
        """Return x + dropout(branch), of the type of x."""
        if not self._active:
            return x + branch
        if x.device.type != "cpu":
            return x + dropout(branch, self.rate)
        out: Tensor = _AddMasked.apply(x, branch, *keep_mask(branch, self.rate))  # type: ignore[no-untyped-call]
        return out

    @property
    def _active(self) -> bool:
        return self.training and _kept_levels(self.rate) < LEVELS


def keep_mask(x: Tensor, rate: float) -> tuple[Tensor, float]:
    """Return a mask of the shape and type of x, 1 for a number that is kept and else 0, and the scale of kept numbers.

    The scale is the inverse of the exact probability to be kept, so the expected value is x.
    """
    kept = _kept_levels(rate)
    words = torch.empty(-(-x.numel() // BITS_PER_WORD), dtype=torch.int64, device=x.device)
    # all 64 bits: without bounds torch draws numbers of 63 bits
    bits = words.random_(-(2**63), None).view(torch.int16)[: x.numel()].view(x.shape)
    return bits.lt_(kept - LEVELS // 2).to(x.dtype), LEVELS / kept


def _kept_levels(rate: float) -> int:
    return max(1, round((1 - rate) * LEVELS))


class _AddMasked(torch.autograd.Function):
    """x + scale * mask * branch with a manual gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, branch: Tensor, mask: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(mask)
        ctx.scale = scale
        return torch.add(x, branch * mask, alpha=scale)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (mask,) = ctx.saved_tensors
        return grads[0], (grads[0] * ctx.scale).to(mask.dtype).mul_(mask), None, None
