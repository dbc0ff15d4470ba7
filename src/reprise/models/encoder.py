"""The contract of an encoder, which maps the input vectors of events to hidden states.

Shape letters: B rows, T steps, D width.
"""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from reprise.nn.cells import State


class Encoded(NamedTuple):
    """The result of encoding a chunk."""

    hidden_BTD: Tensor
    """Hidden state after each step. At a padded step it is that of the step before."""
    state: State
    """State after the last real event of each row."""
    penalty: Tensor
    """Scalar that is added to the loss, such as a KL divergence; usually 0."""


class Encoder(nn.Module, ABC):
    """Encoder of a sequence of event vectors into hidden states. It is causal: h_t depends on the events up to t only.

    To write one, subclass it and implement `initial_state`, `forward` and `step`; `forward` must equal calling `step`
    event by event, which `reprise.testing.contracts.check_encoder` verifies. The optional decay factor in [0, 1] has
    the meaning described in `reprise.nn.Cell`; only a network with `decay=True` passes it.
    """

    @abstractmethod
    def initial_state(self, batch: int) -> State:
        """Return the state of `batch` users without events; the first dimension of every tensor is B."""

    @abstractmethod
    def forward(
        self, x_BTD: Tensor, state: State, valid_BT: Tensor, decay_BTD: Tensor | None = None
    ) -> Encoded:
        """Encode a whole chunk. Steps at which `valid_BT` is False leave the state unchanged."""

    @abstractmethod
    def step(self, x_BD: Tensor, state: State, decay_BD: Tensor | None = None) -> tuple[Tensor, State]:
        """Read one event of each row; return hidden_BD and the new state. Equals `forward` with T = 1."""


def strip_prefix(state: State, prefix: str) -> State:
    """Return the entries of a state whose names begin with `prefix`, without the prefix.

    An encoder that contains another one stores the state of the inner encoder under such a prefix.
    """
    return {name[len(prefix) :]: tensor for name, tensor in state.items() if name.startswith(prefix)}


def select_state(state: State, other: State, mask_B: Tensor) -> State:
    """Return, row by row, `state` where `mask_B` is True and `other` elsewhere."""
    selected = {}
    for name, tensor in state.items():
        mask = mask_B.reshape(-1, *[1] * (tensor.dim() - 1))
        selected[name] = torch.where(mask, tensor, other[name])
    return selected
