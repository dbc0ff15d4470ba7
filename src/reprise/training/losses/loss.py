"""The interface of losses.

Shape letters: N targets, D width. A loss returns the SUM over its targets. The trainer divides it by the number of targets
in all processes, so the gradient is the same with one process and with eight.
"""

from typing import Protocol

import torch
from torch import Tensor

from reprise.models.items.item_embeddings import ItemEmbeddings
from reprise.training.losses.negatives import Negatives, Sample


class Loss(Protocol):
    """Interface of a loss: a frozen dataclass of its settings that can be called."""

    @property
    def negatives(self) -> Negatives | None:
        """How negatives are sampled for each step, or None if the loss is over all items."""
        ...

    def __call__(
        self,
        query_ND: Tensor,
        items: ItemEmbeddings,
        target_N: Tensor,
        sample: Sample | None = None,
    ) -> Tensor:
        """Return the sum of the losses of all targets.

        Args:
            query_ND: Query vectors. A logit is the inner product of a query and a scoring vector of `items`.
            items: The item vectors.
            target_N: Index of the target item of each query, 1..I.
            sample: The sampled negatives, for a loss with `negatives`.
        """
        ...


def product_dtype(device: torch.device, default: torch.dtype) -> torch.dtype:
    """Return the type of matrix products: that of autocast if it is enabled, else `default`."""
    kind = device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else default
