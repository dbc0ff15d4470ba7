"""A recurrent network over fixed item vectors: a decayed sum of the vectors of the past events, and recurrent blocks.

It is the network of training with differential privacy. Shape letters: B rows, T steps, D width.
"""

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from reprise.config import spec
from reprise.data.dataset import Sizes
from reprise.models.encoder import Encoded, Encoder, strip_prefix
from reprise.models.items.released_embeddings import ReleasedEmbeddings
from reprise.models.networks.cell_stack import Stack
from reprise.models.networks.event_inputs import EventInputs, InputFeatures, QueryHead
from reprise.models.networks.sequence_model import Components, SequenceModel
from reprise.nn.blocks import GatedBranch, ResidualBlock
from reprise.nn.cells import State
from reprise.nn.linear_cells import RGLRU
from reprise.nn.linear_scan import scan

FOLD, BLOCKS = "fold", "blocks."
"""Name of the decayed sum in the state, and prefix of the states of the recurrent blocks."""


@spec
class LinearFold:
    """A decayed sum of fixed item vectors, to which recurrent blocks add a learned vector. For private training."""

    size: Annotated[int, Field(ge=1)] = 64
    """D: width of the item vectors and of the hidden state."""
    decay: Annotated[float, Field(gt=0, le=1)] = 0.75
    """Factor of the weight of an event with each later event of an item that has a vector."""
    layers: Annotated[int, Field(ge=0)] | None = None
    """Number of recurrent blocks (RG-LRU); 0: the decayed sum only.
    Default: 1 if a part of the privacy budget is left for their training, else 0."""

    def __str__(self) -> str:
        return f"fold {self.size}" + (f" + rglru {self.layers} x {self.size}" if self.layers else "")

    def build(self, sizes: Sizes) -> SequenceModel:
        """Build a network whose item vectors are zero, and whose blocks have no effect yet."""
        size = self.size
        blocks = [ResidualBlock(GatedBranch(RGLRU(size)), 0.0) for _ in range(self.layers or 0)]
        head = QueryHead(size, time=False, temperature=0.0)
        head.with_bias = True
        components = Components(
            items=ReleasedEmbeddings(sizes.items, size),
            inputs=EventInputs(size, InputFeatures(), dropout=0.0, event_dropout=0.0),
            encoder=FoldEncoder(size, self.decay, Stack(blocks) if blocks else None),
            head=head,
        )
        return SequenceModel(self, sizes, components)


class FoldEncoder(Encoder):
    """The decayed sum f_t = decay f_{t-1} + v_t, plus the output of recurrent blocks, which is zero initially.

    An event without a vector (all zero) leaves the sum unchanged.

    Args:
        size: Width, D.
        decay: Factor of the sum with each event.
        blocks: Recurrent blocks; the weight of their last normalisation is set to zero.
    """

    def __init__(self, size: int, decay: float, blocks: Stack | None) -> None:
        super().__init__()
        self.size, self.decay, self.blocks = size, decay, blocks
        if blocks is not None:
            torch.nn.init.zeros_(blocks.norm.get_parameter("weight"))

    def initial_state(self, batch: int) -> State:
        # not on the device of a parameter, of which the sum alone has none
        if self.blocks is None:
            return {FOLD: torch.zeros(batch, self.size)}
        inner = self.blocks.initial_state(batch)
        fold_BD = next(iter(inner.values())).new_zeros(batch, self.size)
        return {FOLD: fold_BD, **{f"{BLOCKS}{name}": tensor for name, tensor in inner.items()}}

    def forward(
        self, x_BTD: Tensor, state: State, valid_BT: Tensor, decay_BTD: Tensor | None = None
    ) -> Encoded:
        """Encode a chunk."""
        vector_BTD = self._vectors(x_BTD) * valid_BT.unsqueeze(-1)
        fold_BTD = scan(self._factors(vector_BTD).expand_as(vector_BTD), vector_BTD, state[FOLD])
        after = {FOLD: fold_BTD[:, -1] if fold_BTD.shape[1] else state[FOLD]}
        if self.blocks is None:
            return Encoded(fold_BTD, after, x_BTD.new_zeros(()))
        inner = self.blocks(x_BTD, strip_prefix(state, BLOCKS), valid_BT)
        after |= {f"{BLOCKS}{name}": tensor for name, tensor in inner.state.items()}
        return Encoded(fold_BTD + inner.hidden_BTD, after, inner.penalty)

    def step(self, x_BD: Tensor, state: State, decay_BD: Tensor | None = None) -> tuple[Tensor, State]:
        """Read one event of each row."""
        vector_BD = self._vectors(x_BD)
        fold_BD = self._factors(vector_BD) * state[FOLD] + vector_BD
        if self.blocks is None:
            return fold_BD, {FOLD: fold_BD}
        added_BD, inner = self.blocks.step(x_BD, strip_prefix(state, BLOCKS))
        after = {f"{BLOCKS}{name}": tensor for name, tensor in inner.items()}
        return fold_BD + added_BD, {FOLD: fold_BD, **after}

    def _vectors(self, x: Tensor) -> Tensor:
        """Return the item vectors, which `EventInputs` has scaled to unit variance."""
        return x / math.sqrt(self.size)

    def _factors(self, vector: Tensor) -> Tensor:
        """Return the factor of the sum with each event, [..., 1]."""
        has_vector = vector.square().sum(-1, keepdim=True) > 0
        return torch.where(has_vector, self.decay, 1.0).to(vector.dtype)
