"""Negatives: items drawn once a step and shared by all its targets.

Shape letters: N targets, K drawn items, I items.
"""

from typing import Annotated, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from reprise.config import spec


class Sample(NamedTuple):
    """The negatives of one step."""

    item_K: Tensor
    """Item indices, ascending, each once."""
    log_q_K: Tensor
    """The logarithm of how likely each was to be among them, float32."""

    def place(self, target_N: Tensor) -> Tensor:
        """Where each target stands among the negatives, [N]; -1 where it was not drawn."""
        place_N = torch.searchsorted(self.item_K, target_N).clamp(max=len(self.item_K) - 1)
        return torch.where(self.item_K[place_N] == target_N, place_N, -1)


@spec
class Negatives:
    """How negatives are drawn: with replacement, an item by its count in the training part to the `power`."""

    count: Annotated[int, Field(ge=1)] = 2048
    """Draws a step; items that are drawn twice count once."""
    power: Annotated[float, Field(ge=0, le=1)] = 0.5
    """0: all items alike; 1: by popularity. The losses that correct for it (log-q) mean the same whatever it is."""

    def sampler(self, count_I: Tensor) -> "NegativeSampler":
        """For items of these counts."""
        return NegativeSampler(self.count, count_I.double() ** self.power)


class NegativeSampler:
    """Draws negatives. A draw costs K log I: what it searches is made once."""

    def __init__(self, count: int, weight_I: Tensor) -> None:
        self.count = count
        share_I = weight_I / weight_I.sum()
        self.cumulated_I = share_I.cumsum(0)
        # an item is missed by all draws with (1 - p)^count
        self.log_q_I = (-torch.expm1(count * torch.log1p(-share_I))).log().float()

    def draw(self) -> Sample:
        """Negatives from torch's global generator, so that a step's seed decides them."""
        chance_K = torch.rand(self.count, dtype=torch.float64, device=self.cumulated_I.device)
        column_K = torch.searchsorted(self.cumulated_I, chance_K * self.cumulated_I[-1])
        column_K = column_K.clamp(max=len(self.cumulated_I) - 1).unique()  # type: ignore[no-untyped-call]
        return Sample(column_K + 1, self.log_q_I[column_K])

    def to(self, device: torch.device) -> "NegativeSampler":
        """The same on another device."""
        self.cumulated_I, self.log_q_I = self.cumulated_I.to(device), self.log_q_I.to(device)
        return self
