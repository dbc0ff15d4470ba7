"""Autoencoders: a history as a bag of items, compressed into a few latent numbers.

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
from reprise.nn.dropout import Dropout


@spec
class Autoencoder(Network):
    """A denoising or variational autoencoder over the bag of past items (Liang et al. 2018, "Mult-DAE", "Mult-VAE").

    It uses which items a user had and how often, but not their order. With `training.objective = Reconstruction()` it
    is trained to reconstruct the bag; with the default objective, to predict the next item.
    """

    event_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.3
    """Share of the events that are dropped during training; the noise of a denoising autoencoder."""
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = 0.2
    """Dropout rate of each layer's output."""
    item_dropout: Annotated[float, Field(ge=0, lt=1)] | None = 0.0
    """Dropout rate of the input item vectors; by default 0, because dropped events are enough noise."""
    latent: Annotated[int, Field(ge=1)] = 128
    """Z: number of latent variables."""
    variational: bool = True
    """Whether the latent variables are sampled and regularised towards a standard normal (VAE); False: denoising only.
    """
    beta: Annotated[float, Field(ge=0)] = 0.002
    """Weight of the KL divergence from the standard normal, relative to the loss of one target.
    The paper's 0.2 is relative to the sum over a user's items, which is about a hundred times larger."""

    def __str__(self) -> str:
        return f"autoencoder {'variational' if self.variational else 'denoising'} {self.size}-{self.latent}"

    def build(self, sizes: Sizes) -> SequenceModel:
        """Build a network with initial weights for a dataset of these sizes."""
        beta = self.beta if self.variational else None
        encoder = AutoencoderEncoder(self.size, self.latent, beta, dropout=self.dropout_of(sizes))
        return self.build_model(encoder, sizes)


class AutoencoderEncoder(Encoder):
    """b_t = (x_1 + ... + x_t) / sqrt(t); m, log s = W tanh(U b_t); z ~ N(m, s^2), in evaluation m; h = W' tanh(U' z).

    The penalty is beta KL(N(m, s^2) | N(0, 1)), averaged over events. The first layer of the paper, which reads items,
    is the table of item vectors here: a bag is their sum. So the state is a sum and a count, and the cost of an event
    does not depend on the length of the history.

    Args:
        size: D.
        latent: Z.
        beta: Weight of the penalty; None: always z = m.
        dropout: Dropout rate of the hidden layers.
    """

    def __init__(self, size: int, latent: int, beta: float | None, *, dropout: float) -> None:
        super().__init__()
        self.size, self.beta = size, beta
        self.input = nn.Linear(size, size)
        self.latent = nn.Linear(size, latent if beta is None else 2 * latent)
        self.hidden = nn.Linear(latent, size)
        self.output = nn.Linear(size, size)
        self.dropout = Dropout(dropout)
        # Initially all layers are the identity, cut to Z numbers: the output is close to the bag itself, and
        # ranks first items similar to those in the bag.
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
        nn.init.constant_(self.latent.bias[latent:], -1.0)  # log s: small initial noise

    def initial_state(self, batch: int) -> State:
        """Return an empty bag."""
        bag_BD = self.input.weight.new_zeros(batch, self.size)
        return {"bag": bag_BD, "events": bag_BD[:, :1].clone()}

    def forward(
        self, x_BTD: Tensor, state: State, valid_BT: Tensor, decay_BTD: Tensor | None = None
    ) -> Encoded:
        """Encode a chunk from the cumulative sums of its item vectors."""
        assert decay_BTD is None, "a bag has no decay"
        real_BT1 = valid_BT.unsqueeze(-1)
        bag_BTD = state["bag"].unsqueeze(1) + (x_BTD * real_BT1).cumsum(1, dtype=state["bag"].dtype)
        events_BT1 = state["events"].unsqueeze(1) + real_BT1.to(state["events"].dtype).cumsum(1)
        hidden_BTD, divergence_BT = self._through(bag_BTD, events_BT1)
        penalty = x_BTD.new_zeros(())
        if self.beta is not None:
            penalty = self.beta * (divergence_BT * valid_BT).sum() / valid_BT.sum().clamp(min=1)
        return Encoded(hidden_BTD, {"bag": bag_BTD[:, -1], "events": events_BT1[:, -1]}, penalty)

    def step(self, x_BD: Tensor, state: State, decay_BD: Tensor | None = None) -> tuple[Tensor, State]:
        """Add one event to the bag."""
        assert decay_BD is None, "a bag has no decay"
        after = {"bag": state["bag"] + x_BD, "events": state["events"] + 1}
        return self._through(after["bag"], after["events"])[0], after

    def _through(self, bag: Tensor, events: Tensor) -> tuple[Tensor, Tensor]:
        """Map sums [..., D] and counts [..., 1] to hidden states [..., D] and KL divergences [...]."""
        inner = self.latent(self.dropout(torch.tanh(self.input(bag / events.clamp(min=1).sqrt()))))
        if self.beta is None:
            latent, divergence = inner, inner[..., 0] * 0
        else:
            mean, log_scale = inner.float().chunk(2, dim=-1)
            log_scale = log_scale.clamp(-10, 10)
            variance = (2 * log_scale).exp()
            divergence = 0.5 * (mean.square() + variance - 1 - 2 * log_scale).sum(-1)
            latent = mean + torch.randn_like(mean) * log_scale.exp() if self.training else mean
        hidden: Tensor = self.output(self.dropout(torch.tanh(self.hidden(latent.to(inner.dtype)))))
        return hidden, divergence
