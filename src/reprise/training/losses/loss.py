"""The contract of losses: sums over targets of how wrong the network was.

Shape letters: N targets, D width. A loss returns the SUM over its targets; the trainer divides once by how many
there are in all processes, so that the number is the same on one and on eight.
"""

from typing import Protocol

import torch
from torch import Tensor

from reprise.models.networks.item_embeddings import ItemEmbeddings
from reprise.training.losses.negatives import Negatives, Sample


class Loss(Protocol):
    """What every loss is: a frozen dataclass of its settings that can be called."""

    @property
    def negatives(self) -> Negatives | None:
        """What is drawn for each step; None: the loss looks at all items."""
        ...

    def __call__(
        self,
        query_ND: Tensor,
        items: ItemEmbeddings,
        target_N: Tensor,
        sample: Sample | None = None,
    ) -> Tensor:
        """The sum over targets.

        Args:
            query_ND: Logits are its inner products with the scoring vectors of `items`.
            items: The item vectors.
            target_N: Item indices in 1..I.
            sample: What was drawn, for a loss with `negatives`.
        """
        ...


def product_type(device: torch.device, otherwise: torch.dtype) -> torch.dtype:
    """The type of matrix products: that of autocast where it is on."""
    kind = device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else otherwise
