"""The loss of each user that DP-SGD clips: the mean cross-entropy of some of the next items, among the items with vectors.

Shape letters: B users, T steps, N targets of a user, K items with vectors, D width.
"""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from reprise.arrays import Int64Array
from reprise.models.networks.sequence_model import SequenceModel
from reprise.training.private.secret_noise import SecretNoise
from reprise.training.private.user_events import UserEvents

TARGETS = 32
"""Largest number of targets of a user in a step, drawn at random."""


class UserLoss:
    """The losses of users as a function of their numbers and of the number of the step.

    Args:
        model: The network.
        events: Events of all users.
        kept_K: Positions in the catalogue of the items with vectors.
        noise: Source of the choice of the targets.
    """

    def __init__(
        self, model: SequenceModel, events: UserEvents, kept_K: Int64Array, noise: SecretNoise
    ) -> None:
        self.model, self.noise = model, noise
        self.users = len(events)
        self.start = torch.from_numpy(events.start)
        self.item_E = torch.from_numpy(events.item_E)
        self.output_KD = model.item_vectors()[torch.from_numpy(kept_K)]
        self.class_I = torch.full((model.sizes.items + 1,), -1)
        self.class_I[torch.from_numpy(kept_K) + 1] = torch.arange(len(kept_K))

    def __call__(self, row_B: Tensor, step: int) -> Tensor:
        """Return the loss of each user, loss_B; 0 for a user without a target."""
        item_BT, valid_BT = self._items(row_B)
        target_BT = torch.where(valid_BT[:, 1:], self.class_I[item_BT[:, 1:]], -1)
        weight_BN, position_BN = self._draw(target_BT, f"step {step} targets from {int(row_B[0])}")
        read_BT = item_BT[:, :-1]
        nothing_BT = torch.full(read_BT.shape, torch.nan)
        x_BTD = self.model.inputs(self.model.items(read_BT), nothing_BT, nothing_BT, read_BT, nothing_BT)
        start = self.model.encoder.initial_state(len(row_B))
        hidden_BTD = self.model.encoder(x_BTD, start, valid_BT[:, :-1]).hidden_BTD
        place_BND = position_BN.unsqueeze(-1).expand(-1, -1, hidden_BTD.shape[-1])
        unknown_BN = hidden_BTD.new_full(position_BN.shape, torch.nan)
        query_BND = self.model.head(hidden_BTD.gather(1, place_BND), unknown_BN, unknown_BN)
        logits_BNK = query_BND @ self.output_KD.t()
        class_BN = target_BT.gather(1, position_BN).clamp(min=0)
        loss_BN = cross_entropy(logits_BNK.transpose(1, 2), class_BN, reduction="none")
        return (loss_BN * weight_BN).sum(1) / weight_BN.sum(1).clamp(min=1)

    def _items(self, row_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return the items of users, padded on the right, and whether each step has one, [B, T] with T of 2 or more."""
        first_B, length_B = self.start[row_B], self.start[row_B + 1] - self.start[row_B]
        step_T = torch.arange(max(2, int(length_B.max())))
        valid_BT = step_T < length_B.unsqueeze(1)
        place_BT = torch.where(valid_BT, first_B.unsqueeze(1) + step_T, 0)
        return torch.where(valid_BT, self.item_E[place_BT], 0), valid_BT

    def _draw(self, target_BT: Tensor, stream: str) -> tuple[Tensor, Tensor]:
        """Draw targets of each user; return their weights, 1 or 0, and their steps, [B, N]."""
        order_BT = torch.from_numpy(self.noise.uniform(stream, tuple(target_BT.shape)))
        order_BT = torch.where(target_BT >= 0, order_BT, -1.0)
        chosen = order_BT.topk(min(TARGETS, target_BT.shape[1]), dim=1)
        return (chosen.values >= 0).float(), chosen.indices
