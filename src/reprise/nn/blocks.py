"""Blocks around a cell: normalisation, residual connection, gated feed-forward layer and dropout.

Shape letters: B rows, T steps, D width. A block is itself a cell, so blocks stack like cells.
"""

import math

import torch
from torch import Tensor, nn

from reprise.nn.cells import Cell, State, decay_args, state_at_end
from reprise.nn.dropout import Dropout
from reprise.nn.elementwise import RootMeanSquareNorm, gated, shift_and_gate, swiglu


class GatedFeedForward(nn.Module):
    """SwiGLU feed-forward layer (Shazeer 2020): W_2 (silu(W_g x) * W_1 x), with an inner width of `factor` times D."""

    def __init__(self, size: int, factor: int = 2) -> None:
        super().__init__()
        self.input = nn.Linear(size, 2 * factor * size, bias=False)
        self.output = nn.Linear(factor * size, size, bias=False)
        nn.init.normal_(self.input.weight, std=1 / math.sqrt(size))
        nn.init.normal_(self.output.weight, std=1 / math.sqrt(factor * size))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer to x [..., D]; the result has the same shape."""
        out: Tensor = self.output(swiglu(self.input(x)))
        return out


class GatedBranch(Cell):
    """The gated branch of Griffin around a linear recurrence (De et al. 2024, section 2.4).

    u, g = W_in x; v_t = k_0 u_t + k_1 u_{t-1}, a convolution over two events; out = W_out (cell(v) * silu(g)). The
    state is that of the cell and the last u. A decay factor multiplies both.
    """

    def __init__(self, cell: Cell) -> None:
        super().__init__(cell.size)
        self.input = nn.Linear(cell.size, 2 * cell.size, bias=False)
        self.shift = nn.Parameter(torch.tensor([[1.0], [0.0]]).repeat(1, cell.size))
        self.cell = cell
        self.decays = cell.decays
        self.output = nn.Linear(cell.size, cell.size, bias=False)
        nn.init.normal_(self.input.weight, std=1 / math.sqrt(cell.size))
        nn.init.normal_(self.output.weight, std=1 / math.sqrt(cell.size))

    def initial_state(self, batch: int) -> State:
        return {**self.cell.initial_state(batch), "u": self.shift.new_zeros(batch, self.size)}

    def scan(
        self, x_BTD: Tensor, state: State, valid_BT: Tensor, decay_BTD: Tensor | None = None
    ) -> tuple[Tensor, State]:
        both_BTE = self.input(x_BTD)
        now_D, last_D = self.shift.unbind()
        last = last_D if decay_BTD is None else last_D * decay_BTD
        v_BTD, gate_BTD = shift_and_gate(both_BTE, state["u"], now_D, last)
        hidden_BTD, after = self.cell.scan(v_BTD, state, valid_BT, *_decay_args(self.cell, decay_BTD))
        u_BD = state_at_end(both_BTE[..., : self.size], state["u"], valid_BT)
        return self.output(gated(hidden_BTD, gate_BTD)), {**after, "u": u_BD}

    def step(self, x_BD: Tensor, state: State, decay_BD: Tensor | None = None) -> tuple[Tensor, State]:
        u_BD, gate_BD = self.input(x_BD).chunk(2, dim=-1)
        before_BD = state["u"] if decay_BD is None else decay_BD * state["u"]
        v_BD = self.shift[0] * u_BD + self.shift[1] * before_BD
        hidden_BD, after = self.cell.step(v_BD, state, *_decay_args(self.cell, decay_BD))
        return self.output(gated(hidden_BD, gate_BD)), {**after, "u": u_BD}


class ResidualBlock(Cell):
    """Pre-norm residual block: x + dropout(cell(norm(x))), then x + dropout(feed-forward(norm(x))).

    The layout of pre-norm transformers (Xiong et al. 2020) with a cell in place of the attention.
    """

    def __init__(self, cell: Cell, dropout: float) -> None:
        super().__init__(cell.size)
        self.cell_norm = RootMeanSquareNorm(cell.size)
        self.cell = cell
        self.decays = cell.decays
        self.forward_norm = RootMeanSquareNorm(cell.size)
        self.feed_forward = GatedFeedForward(cell.size)
        self.dropout = Dropout(dropout)

    def initial_state(self, batch: int) -> State:
        return self.cell.initial_state(batch)

    def scan(
        self, x_BTD: Tensor, state: State, valid_BT: Tensor, decay_BTD: Tensor | None = None
    ) -> tuple[Tensor, State]:
        mixed_BTD, after = self.cell.scan(
            self.cell_norm(x_BTD), state, valid_BT, *_decay_args(self.cell, decay_BTD)
        )
        return self._combine(x_BTD, mixed_BTD), after

    def step(self, x_BD: Tensor, state: State, decay_BD: Tensor | None = None) -> tuple[Tensor, State]:
        mixed_BD, after = self.cell.step(self.cell_norm(x_BD), state, *_decay_args(self.cell, decay_BD))
        return self._combine(x_BD, mixed_BD), after

    def _combine(self, x: Tensor, mixed: Tensor) -> Tensor:
        x = self.dropout.add(x, mixed)
        return self.dropout.add(x, self.feed_forward(self.forward_norm(x)))


def _decay_args(cell: Cell, decay: Tensor | None) -> tuple[Tensor, ...]:
    """Return the optional decay argument for a cell; reject a decay factor if the cell does not support it."""
    if not cell.decays:
        cell.reject_decay(decay)
    return decay_args(decay)
