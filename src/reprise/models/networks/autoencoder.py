"""The autoencoders: a history as a bag of items, pressed through a few numbers.

Shape letters: B rows, T steps, D width, Z latent numbers.
"""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from reprise.config import spec
from reprise.data.dataset import Sizes
from reprise.models.encoder import Encoded, Encoder
from reprise.models.networks.network import Network
from reprise.models.networks.sequence_model import SequenceModel
from reprise.nn.cells import State


@spec
class Autoencoder(Network):
    """A denoising or variational autoencoder over the bag of events so far (Liang et al. 2018, "Mult-DAE", "Mult-VAE").

    It knows what a user had and how often, not in which order. Trained to give back the bag itself with
    `training.objective = Reconstruction()`, or what comes next with the usual one.
    """

    event_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.3
    """Share of the events that are hidden while training: the noise that a denoising autoencoder takes away."""
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = 0.2
    """Share of each layer's output that is dropped while training."""
    item_dropout: Annotated[float, Field(ge=0, lt=1)] | None = 0.0
    """Share of each item vector that is dropped as it is read while training; hidden events are noise enough."""
    latent: Annotated[int, Field(ge=1)] = 128
    """Z: numbers that a history is pressed through."""
    variational: bool = True
    """Whether they are drawn from a normal distribution that is held near the standard one; False: denoising only."""
    beta: Annotated[float, Field(ge=0)] = 0.002
    """Weight of the distance to the standard normal distribution, beside the loss of one target. The paper's 0.2 stands beside
    the sum over a user's items, of which there are about a hundred."""

    def __str__(self) -> str:
        return f"autoencoder {'variational' if self.variational else 'denoising'} {self.size}-{self.latent}"

    def build(self, sizes: Sizes) -> SequenceModel:
        """A network with fresh weights for data of these sizes."""
        beta = self.beta if self.variational else None
        encoder = AutoencoderEncoder(self.size, self.latent, beta, dropout=self.dropout_of(sizes))
        return self.build_model(encoder, sizes)


class AutoencoderEncoder(Encoder):
    """b_t = (x_1 + ... + x_t) / sqrt(t); m, log s = W tanh(U b_t); z ~ N(m, s^2), at rest m; h = W' tanh(U' z).

    The penalty is beta KL(N(m, s^2) | N(0, 1)), the mean over events. The first layer of the paper, from items, is the item
    vectors: a bag is their sum, so the state is a sum and a count, and an event costs the same after any number of them.

    Args:
        size: D.
        latent: Z.
        beta: Weight of the penalty; None: z = m always.
        dropout: Share of the hidden numbers that is dropped while training.
    """

    def __init__(self, size: int, latent: int, beta: float | None, *, dropout: float) -> None:
        super().__init__()
        self.size, self.beta = size, beta
        self.input = nn.Linear(size, size)
        self.latent = nn.Linear(size, latent if beta is None else 2 * latent)
        self.hidden = nn.Linear(latent, size)
        self.output = nn.Linear(size, size)
        self.dropout = nn.Dropout(dropout)
        # it begins as a bag that is pressed through Z of its own numbers, and gives back what is like it
        nn.init.zeros_(self.latent.weight)
        for weight in (
            self.input.weight,
            self.latent.weight[:latent],
            self.hidden.weight,
            self.output.weight,
        ):
            nn.init.eye_(weight)
        for layer in (self.input, self.latent, self.hidden, self.output):
            nn.init.zeros_(layer.bias)
        nn.init.constant_(self.latent.bias[latent:], -1.0)  # log s: noise that leaves most of them to be seen

    def initial_state(self, batch: int) -> State:
        """An empty bag."""
        bag_BD = self.input.weight.new_zeros(batch, self.size)
        return {"bag": bag_BD, "events": bag_BD[:, :1].clone()}

    def forward(
        self, x_BTD: Tensor, state: State, valid_BT: Tensor, decay_BTD: Tensor | None = None
    ) -> Encoded:
        """A whole chunk: the sums of all its beginnings."""
        assert decay_BTD is None, "a bag does not fade"
        real_BT1 = valid_BT.unsqueeze(-1)
        bag_BTD = state["bag"].unsqueeze(1) + (x_BTD * real_BT1).cumsum(1, dtype=state["bag"].dtype)
        events_BT1 = state["events"].unsqueeze(1) + real_BT1.to(state["events"].dtype).cumsum(1)
        hidden_BTD, apart_BT = self._through(bag_BTD, events_BT1)
        penalty = x_BTD.new_zeros(())
        if self.beta is not None:
            penalty = self.beta * (apart_BT * valid_BT).sum() / valid_BT.sum().clamp(min=1)
        return Encoded(hidden_BTD, {"bag": bag_BTD[:, -1], "events": events_BT1[:, -1]}, penalty)

    def step(self, x_BD: Tensor, state: State, decay_BD: Tensor | None = None) -> tuple[Tensor, State]:
        """One event more in the bag."""
        assert decay_BD is None, "a bag does not fade"
        after = {"bag": state["bag"] + x_BD, "events": state["events"] + 1}
        return self._through(after["bag"], after["events"])[0], after

    def _through(self, bag: Tensor, events: Tensor) -> tuple[Tensor, Tensor]:
        """From sums [..., D] and counts [..., 1] to hidden states [..., D] and distances to the standard normal [...]."""
        inner = self.latent(self.dropout(torch.tanh(self.input(bag / events.clamp(min=1).sqrt()))))
        if self.beta is None:
            latent, apart = inner, inner[..., 0] * 0
        else:
            mean, log_scale = inner.float().chunk(2, dim=-1)
            log_scale = log_scale.clamp(-10, 10)
            variance = (2 * log_scale).exp()
            apart = 0.5 * (mean.square() + variance - 1 - 2 * log_scale).sum(-1)
            latent = mean + torch.randn_like(mean) * log_scale.exp() if self.training else mean
        hidden: Tensor = self.output(self.dropout(torch.tanh(self.hidden(latent.to(inner.dtype)))))
        return hidden, apart
