"""Adversarial training: a network proposes next items, and a discriminator separates them from real ones.

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
"""Maximum number of pairs of a history and a next item that the discriminator sees per step."""
MAX_CANDIDATES = 256
"""Maximum number of items per step among which the generator chooses."""


@spec
class Adversarial:
    """A network trained with a discriminator in addition to its loss.

    Goodfellow et al. 2014; for next items Bharadhwaj et al. 2018, "RecGAN". After training only the generator is used.
    """

    generator: Any = Recurrent()
    """Spec of the network that proposes items."""
    weight: Annotated[float, Field(gt=0)] = 0.1
    """Weight of the adversarial loss relative to the loss of the items."""
    temperature: Annotated[float, Field(gt=0)] = 0.1
    """Temperature of the cosine similarities by which the generator chooses among the items of a step."""

    def __str__(self) -> str:
        return f"adversarial {self.generator}"

    @property
    def size(self) -> int:
        """D: width of the generator."""
        width: int = self.generator.size
        return width

    def build(self, sizes: Sizes) -> SequenceModel:
        """Build a network with initial weights for a dataset of these sizes.

        Raises:
            ConfigError: `generator` is not the spec of one `SequenceModel`.
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
    """Logit of an item being real after a history: a(c_t) . v / sqrt(D) + u(c_t, v), with c_t its own recurrent state.

    v is the normalised item vector. Its length would reveal too easily whether the generator chose the item.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.reader = MinGRU(size)
        self.like = nn.Linear(size, size)
        self.both = nn.Sequential(nn.Linear(2 * size, size), nn.SiLU(), nn.Linear(size, 1))

    def histories(self, x_BTD: Tensor, valid_BT: Tensor) -> Tensor:
        """Return c_t of every step, [B, T, D]."""
        history_BTD: Tensor = self.reader.scan(x_BTD, self.reader.initial_state(len(x_BTD)), valid_BT)[0]
        return history_BTD

    def forward(self, history_ND: Tensor, item_ND: Tensor) -> Tensor:
        """Return the logits of being real, [N]."""
        item_ND = normalize(item_ND, dim=-1) * math.sqrt(item_ND.shape[1])
        alike_N: Tensor = (self.like(history_ND) * item_ND).sum(-1) / math.sqrt(item_ND.shape[1])
        both_N: Tensor = self.both(torch.cat([history_ND, item_ND], dim=1)).squeeze(1)
        return alike_N + both_N


class AdversarialEncoder(Encoder):
    """An encoder with an adversarial loss as its penalty during training.

    At step t the generator chooses an item g among those of the batch, by its hidden state h_t (straight-through
    Gumbel softmax, Jang et al. 2017). The discriminator D learns to separate the real next item x_{t+1} from g. The
    gradient for the generator is reversed (Ganin and Lempitsky 2015), so it learns to choose items that the
    discriminator takes for real. The loss is softplus(-D(x)) + softplus(D(g)).
    """

    def __init__(
        self, encoder: Encoder, discriminator: Discriminator, *, weight: float, temperature: float
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.discriminator = discriminator
        self.weight, self.temperature = weight, temperature

    def initial_state(self, batch: int) -> State:
        """Return the state of the generator; the discriminator is not used outside training."""
        return self.encoder.initial_state(batch)

    def forward(
        self, x_BTD: Tensor, state: State, valid_BT: Tensor, decay_BTD: Tensor | None = None
    ) -> Encoded:
        """Encode a chunk with the generator; during training the penalty includes the adversarial loss."""
        encoded: Encoded = self.encoder(x_BTD, state, valid_BT, *decay_args(decay_BTD))
        if not self.training:
            return encoded
        loss = self.adversarial_loss(x_BTD.detach(), encoded.hidden_BTD, valid_BT)
        return encoded._replace(penalty=encoded.penalty + self.weight * loss)

    def step(self, x_BD: Tensor, state: State, decay_BD: Tensor | None = None) -> tuple[Tensor, State]:
        """Read one event with the generator."""
        return self.encoder.step(x_BD, state, *decay_args(decay_BD))

    def adversarial_loss(self, x_BTD: Tensor, hidden_BTD: Tensor, valid_BT: Tensor) -> Tensor:
        """Return the loss of the discriminator over a sample of the steps, a scalar."""
        has_next_BT = valid_BT[:, :-1] & valid_BT[:, 1:]
        row_N, step_N = has_next_BT.nonzero(as_tuple=True)
        if not len(row_N):
            return hidden_BTD.new_zeros(())
        sample_N = torch.randperm(len(row_N), device=row_N.device)[:MAX_PAIRS]
        row_N, step_N = row_N[sample_N], step_N[sample_N]
        history_ND = self.discriminator.histories(x_BTD, valid_BT)[row_N, step_N]
        real_ND = x_BTD[row_N, step_N + 1]
        fake_ND = self._propose(hidden_BTD[row_N, step_N], real_ND[:MAX_CANDIDATES])
        real_N = self.discriminator(history_ND, real_ND)
        fake_N = self.discriminator(history_ND, _GradientReversal.apply(fake_ND))  # type: ignore[no-untyped-call]
        return softplus(-real_N).mean() + softplus(fake_N).mean()

    def _propose(self, hidden_ND: Tensor, candidate_CD: Tensor) -> Tensor:
        """Return the vectors of the items that the generator chooses, [N, D]."""
        cosine_NC = normalize(hidden_ND, dim=-1) @ normalize(candidate_CD, dim=-1).to(hidden_ND.dtype).t()
        chosen_NC = gumbel_softmax(cosine_NC.float() / self.temperature, hard=True)
        return chosen_NC.to(candidate_CD.dtype) @ candidate_CD


class _GradientReversal(torch.autograd.Function):
    """The identity, with the sign of the gradient reversed."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0].neg()
