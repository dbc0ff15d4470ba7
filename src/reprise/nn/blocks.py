"""What stands around a cell: normalisation, residual, gated feed-forward, dropout.

Shape letters: B rows, T steps, D width. A block is itself a cell, so that blocks stack like cells.
"""

import math

from torch import Tensor, nn
from torch.nn.functional import silu

from reprise.nn.cells import Cell, State


class GatedFeedForward(nn.Module):
    """SwiGLU (Shazeer 2020): W_2 (silu(W_g x) * W_1 x), with an inner width of `factor` times D."""

    def __init__(self, size: int, factor: int = 2) -> None:
        super().__init__()
        self.input = nn.Linear(size, 2 * factor * size, bias=False)
        self.output = nn.Linear(factor * size, size, bias=False)
        nn.init.normal_(self.input.weight, std=1 / math.sqrt(size))
        nn.init.normal_(self.output.weight, std=1 / math.sqrt(factor * size))

    def forward(self, x: Tensor) -> Tensor:
        """x of any leading shape, last dimension D; the same shape back."""
        gate, value = self.input(x).chunk(2, dim=-1)
        out: Tensor = self.output(silu(gate) * value)
        return out


class ResidualBlock(Cell):
    """x + dropout(cell(norm(x))), then x + dropout(feed-forward(norm(x))).

    Of what stands around a recurrence this is what paid most in published ablations: without the residual, the norm or the
    feed-forward the network loses between a tenth and two thirds of its accuracy.
    """

    def __init__(self, cell: Cell, dropout: float) -> None:
        super().__init__(cell.size)
        self.cell_norm = nn.RMSNorm(cell.size)
        self.cell = cell
        self.forward_norm = nn.RMSNorm(cell.size)
        self.feed_forward = GatedFeedForward(cell.size)
        self.dropout = nn.Dropout(dropout)

    def initial_state(self, batch: int) -> State:
        return self.cell.initial_state(batch)

    def scan(self, x_BTD: Tensor, state: State, valid_BT: Tensor) -> tuple[Tensor, State]:
        mixed_BTD, after = self.cell.scan(self.cell_norm(x_BTD), state, valid_BT)
        return self._combine(x_BTD, mixed_BTD), after

    def step(self, x_BD: Tensor, state: State) -> tuple[Tensor, State]:
        mixed_BD, after = self.cell.step(self.cell_norm(x_BD), state)
        return self._combine(x_BD, mixed_BD), after

    def _combine(self, x: Tensor, mixed: Tensor) -> Tensor:
        x = x + self.dropout(mixed)
        out: Tensor = x + self.dropout(self.feed_forward(self.forward_norm(x)))
        return out
