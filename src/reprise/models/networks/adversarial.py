"""Adversarial training: a network that proposes next items against a discriminator of continuations.

Shape letters: B rows, T steps, N pairs of a history and a next item, C candidates, D width.
"""

import math
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import gumbel_softmax, normalize, softplus

from reprise.config import spec
from reprise.data.dataset import Sizes
from reprise.errors import ConfigError
from reprise.models.encoder import Encoded, Encoder
from reprise.models.networks.recurrent import Recurrent
from reprise.models.networks.sequence_model import SequenceModel
from reprise.nn.cells import State, decay_args
from reprise.nn.linear_cells import MinGRU

MAX_PAIRS = 1024
"""Continuations that are judged in a step, at most."""
MAX_CANDIDATES = 256
"""Items of a step among which the generator chooses, at most."""


@spec
class Adversarial:
    """A network that learns from a discriminator besides its loss.

    Goodfellow et al. 2014; for next items Bharadhwaj et al. 2018, "RecGAN". After training it is the generator alone.
    """

    generator: Any = Recurrent()
    """The spec of the network that proposes items."""
    weight: Annotated[float, Field(gt=0)] = 0.1
    """Of the adversarial_loss beside the loss of the items."""
    temperature: Annotated[float, Field(gt=0)] = 0.1
    """Of the angles by which the generator chooses among the items of a step."""

    def __str__(self) -> str:
        return f"adversarial {self.generator}"

    @property
    def size(self) -> int:
        """D: width of the generator."""
        width: int = self.generator.size
        return width

    def build(self, sizes: Sizes) -> SequenceModel:
        """A network with fresh weights for data of these sizes.

        Raises:
            ConfigError: `generator` is no network.
        """
        if isinstance(self.generator, type | Adversarial) or not hasattr(self.generator, "build"):
            raise ConfigError(
                f"generator must be the spec of one network, such as Recurrent(), got {self.generator!r}"
            )
        model = self.generator.build(sizes)
        if not isinstance(model, SequenceModel):
            raise ConfigError(
                f"generator must build a SequenceModel; {self.generator!r} builds a {type(model).__name__}"
            )
        model.encoder = AdversarialEncoder(
            model.encoder, Discriminator(model.size), weight=self.weight, temperature=self.temperature
        )
        model.spec = self
        return model


class Discriminator(nn.Module):
    """How real an item looks after a history: a(c_t) . v / sqrt(D) + u(c_t, v), c_t a recurrent state of its own.

    v is the direction of the item's vector: how long it is would tell too easily who chose it.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.reader = MinGRU(size)
        self.like = nn.Linear(size, size)
        self.both = nn.Sequential(nn.Linear(2 * size, size), nn.SiLU(), nn.Linear(size, 1))

    def histories(self, x_BTD: Tensor, valid_BT: Tensor) -> Tensor:
        """c_t of every step, [B, T, D]."""
        history_BTD: Tensor = self.reader.scan(x_BTD, self.reader.initial_state(len(x_BTD)), valid_BT)[0]
        return history_BTD

    def forward(self, history_ND: Tensor, item_ND: Tensor) -> Tensor:
        """The logits of being real, [N]."""
        item_ND = normalize(item_ND, dim=-1) * math.sqrt(item_ND.shape[1])
        alike_N: Tensor = (self.like(history_ND) * item_ND).sum(-1) / math.sqrt(item_ND.shape[1])
        both_N: Tensor = self.both(torch.cat([history_ND, item_ND], dim=1)).squeeze(1)
        return alike_N + both_N


class AdversarialEncoder(Encoder):
    """An encoder, and while it trains a adversarial_loss as its penalty.

    At step t the generator chooses an item g among those of the batch by its hidden state h_t (straight-through Gumbel
    softmax, Jang et al. 2017). The discriminator learns to tell the item that came, x_{t+1}, from g; through a reversed
    gradient (Ganin and Lempitsky 2015) the generator learns to be taken for it. Minimised is softplus(-D(x)) + softplus(D(g)).
    """

    def __init__(
        self, encoder: Encoder, discriminator: Discriminator, *, weight: float, temperature: float
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.discriminator = discriminator
        self.weight, self.temperature = weight, temperature

    def initial_state(self, batch: int) -> State:
        """The generator's: the discriminator is not asked when it serves."""
        return self.encoder.initial_state(batch)

    def forward(
        self, x_BTD: Tensor, state: State, valid_BT: Tensor, decay_BTD: Tensor | None = None
    ) -> Encoded:
        """A whole chunk of the generator; while training, the adversarial_loss as its penalty."""
        encoded: Encoded = self.encoder(x_BTD, state, valid_BT, *decay_args(decay_BTD))
        if not self.training:
            return encoded
        adversarial_loss = self.adversarial_loss(x_BTD.detach(), encoded.hidden_BTD, valid_BT)
        return encoded._replace(penalty=encoded.penalty + self.weight * adversarial_loss)

    def step(self, x_BD: Tensor, state: State, decay_BD: Tensor | None = None) -> tuple[Tensor, State]:
        """One event of the generator."""
        return self.encoder.step(x_BD, state, *decay_args(decay_BD))

    def adversarial_loss(self, x_BTD: Tensor, hidden_BTD: Tensor, valid_BT: Tensor) -> Tensor:
        """How well the discriminator tells what came from what was proposed, a scalar: less is better for it."""
        followed_BT = valid_BT[:, :-1] & valid_BT[:, 1:]
        row_N, step_N = followed_BT.nonzero(as_tuple=True)
        if not len(row_N):
            return hidden_BTD.new_zeros(())
        drawn_N = torch.randperm(len(row_N), device=row_N.device)[:MAX_PAIRS]
        row_N, step_N = row_N[drawn_N], step_N[drawn_N]
        history_ND = self.discriminator.histories(x_BTD, valid_BT)[row_N, step_N]
        came_ND = x_BTD[row_N, step_N + 1]
        proposed_ND = self._propose(hidden_BTD[row_N, step_N], came_ND[:MAX_CANDIDATES])
        real_N = self.discriminator(history_ND, came_ND)
        false_N = self.discriminator(history_ND, _GradientReversal.apply(proposed_ND))  # type: ignore[no-untyped-call]
        return softplus(-real_N).mean() + softplus(false_N).mean()

    def _propose(self, hidden_ND: Tensor, candidate_CD: Tensor) -> Tensor:
        """The vectors of the items that the generator chooses, [N, D]."""
        angle_NC = normalize(hidden_ND, dim=-1) @ normalize(candidate_CD, dim=-1).to(hidden_ND.dtype).t()
        chosen_NC = gumbel_softmax(angle_NC.float() / self.temperature, hard=True)
        return chosen_NC.to(candidate_CD.dtype) @ candidate_CD


class _GradientReversal(torch.autograd.Function):
    """What is given, with the gradient of the opposite."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0].neg()
