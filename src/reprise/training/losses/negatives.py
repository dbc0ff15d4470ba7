"""Sampling of negatives: items that are drawn once per step and shared by all its targets.

Shape letters: N targets, K negatives, I items.
"""

from typing import Annotated, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from reprise.config import spec


class Sample(NamedTuple):
    """The negatives of one step."""

    item_K: Tensor
    """Indices of the drawn items, ascending, without duplicates."""
    log_q_K: Tensor
    """Logarithm of the probability that each item is among the draws, float32."""

    def column_of(self, target_N: Tensor) -> Tensor:
        """Return the position of each target in `item_K`, [N]; -1 if it was not drawn."""
        column_N = torch.searchsorted(self.item_K, target_N).clamp(max=len(self.item_K) - 1)
        return torch.where(self.item_K[column_N] == target_N, column_N, -1)


@spec
class Negatives:
    """Distribution of negatives: drawn with replacement, with probabilities proportional to count ** power."""

    count: Annotated[int, Field(ge=1)] = 2048
    """Number of draws per step. Items that are drawn twice count once."""
    power: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Exponent of the item counts of the training part: 0 is uniform, 1 is by popularity.

    Losses with the log-q correction have the same expected value for every power."""

    def sampler(self, count_I: Tensor) -> "NegativeSampler":
        """Return a sampler for items with these counts in the training part."""
        return NegativeSampler(self.count, count_I.double() ** self.power)


class NegativeSampler:
    """Draws negatives by inverse transform sampling in O(K log I) per step."""

    def __init__(self, count: int, weight_I: Tensor) -> None:
        self.count = count
        p_I = weight_I / weight_I.sum()
        self.cumulated_I = p_I.cumsum(0)
        # all draws miss an item with probability (1 - p)^count; expm1 and log1p keep small p exact
        self.log_q_I = (-torch.expm1(count * torch.log1p(-p_I))).log().float()

    def draw(self) -> Sample:
        """Draw the negatives of one step with torch's global generator, which the trainer seeds for each step."""
        random_K = torch.rand(self.count, dtype=torch.float64, device=self.cumulated_I.device)
        column_K = torch.searchsorted(self.cumulated_I, random_K * self.cumulated_I[-1])
        column_K = column_K.clamp(max=len(self.cumulated_I) - 1).unique()  # type: ignore[no-untyped-call]
        return Sample(column_K + 1, self.log_q_I[column_K])

    def to(self, device: torch.device) -> "NegativeSampler":
        """Move the sampler to a device and return it."""
        self.cumulated_I, self.log_q_I = self.cumulated_I.to(device), self.log_q_I.to(device)
        return self
