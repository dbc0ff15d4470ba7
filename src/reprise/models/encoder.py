"""The contract of everything that turns vectors of events into hidden states.

Shape letters: B rows, T steps, D width.
"""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from reprise.nn.cells import State


class Encoded(NamedTuple):
    """What an encoder made of a chunk."""

    hidden_BTD: Tensor
    """The hidden state after each step; after padding, the one before it."""
    state: State
    """The state after the last real event of each row."""
    penalty: Tensor
    """A scalar added to the loss (KL, adversarial, ...); usually 0."""


class Encoder(nn.Module, ABC):
    """Vectors of the events so far -> hidden state. A subclass is final.

    `keep`, which only a network that lets its state decay gives, is the factor in [0, 1] of the cells' contract.
    """

    @abstractmethod
    def initial_state(self, batch: int) -> State:
        """The state of `batch` users without events; every tensor starts with B."""

    @abstractmethod
    def forward(
        self, x_BTD: Tensor, state: State, valid_BT: Tensor, decay_BTD: Tensor | None = None
    ) -> Encoded:
        """A whole chunk at once. Where `valid_BT` is False the state stays as it is."""

    @abstractmethod
    def step(self, x_BD: Tensor, state: State, decay_BD: Tensor | None = None) -> tuple[Tensor, State]:
        """One event of each row: (hidden_BD, the new state). Equals `forward` with T = 1."""


def strip_prefix(state: State, prefix: str) -> State:
    """The part of a state whose names begin with `prefix`, without it: an encoder inside another has its own names."""
    return {name[len(prefix) :]: tensor for name, tensor in state.items() if name.startswith(prefix)}


def select_state(state: State, fresh: State, keep_B: Tensor) -> State:
    """Row by row `state` where `keep_B` is True, else `fresh`."""
    kept = {}
    for name, tensor in state.items():
        mask = keep_B.reshape(-1, *[1] * (tensor.dim() - 1))
        kept[name] = torch.where(mask, tensor, fresh[name])
    return kept
