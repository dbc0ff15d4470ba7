"""Recurrent networks: a stack of cells in residual blocks, or bare.

Shape letters: B rows, T steps, D width.
"""

from typing import Annotated, Any, Literal

import torch
from pydantic import BeforeValidator, Field
from torch import Tensor, nn

from reprise.class_names import NAMES_CLASS, class_name, resolve
from reprise.config import spec
from reprise.data.dataset import Sizes
from reprise.errors import ConfigError, did_you_mean
from reprise.models.encoder import Encoder
from reprise.models.networks.cell_stack import Stack
from reprise.models.networks.network import DEFAULT_WINDOW, Network
from reprise.models.networks.sequence_model import SequenceModel
from reprise.models.networks.state_attention import Alignment, AttentiveEncoder
from reprise.nn.blocks import GatedBranch, ResidualBlock
from reprise.nn.cells import GRU, LSTM, RNN, Activation, Cell
from reprise.nn.linear_cells import LRU, RGLRU, MinGRU, MinLSTM

CELLS: dict[str, type[Cell]] = {
    "rnn": RNN, "lstm": LSTM, "gru": GRU, "rglru": RGLRU, "lru": LRU, "mingru": MinGRU, "minlstm": MinLSTM,
}  # fmt: skip


def _cell_name(cell: Any) -> Any:
    """Return the name of a class; other values unchanged."""
    return class_name(cell) if isinstance(cell, type) and issubclass(cell, Cell) else cell


Output = Literal["none", "identity", "tanh", "relu", "sigmoid"]


@spec
class Recurrent(Network):
    """A recurrent network over the item vectors of the past events."""

    cell: Annotated[str, BeforeValidator(_cell_name), NAMES_CLASS] = "rglru"
    """`rnn`, `lstm`, `gru`, `rglru`, `lru`, `mingru`, `minlstm`, or your own class: the class, or its name `module:Class`."""
    layers: Annotated[int, Field(ge=1)] = 2
    """Number of stacked cells."""
    residual: bool = True
    """Whether each cell is in a pre-norm residual block with a gated feed-forward layer.
    False: the bare textbook network."""
    activation: Activation = "tanh"
    """Activation f of the `rnn` cell, h = f(W_h h + W_x x + b); the other cells have fixed ones."""
    output: Output = "none"
    """Activation g of an output layer o = g(W_o h + b) between the hidden state and the item vectors.
    `none`: no output layer."""
    skip: bool = False
    """Whether the output layer also reads the input, o = g(W_o h + W_x x + b)."""
    attention: Annotated[int, Field(ge=0)] | None = None
    """W: number of past events that a hidden state attends to; 0: no attention.
    Default: 20 in residual networks, 0 in bare ones."""
    alignment: Alignment = "dot"
    """Energy function of the attention: `additive` or `dot`."""
    decay: bool = False
    """Whether the state decays with the time since the previous event; for linear cells only."""

    def __str__(self) -> str:
        parts = [self.cell, *([self.activation] if self.activation != "tanh" else [])]
        parts += [f"{self.layers} x {self.size}", *([] if self.residual else ["bare"])]
        parts += [f"output {self.output}"] if self.output != "none" else []
        return " ".join([*parts, *(["skip"] if self.skip else [])])

    def build(self, sizes: Sizes) -> SequenceModel:
        """Build a network with initial weights for a dataset of these sizes.

        Raises:
            ConfigError: The cell is unknown, or fields contradict each other.
        """
        if self.skip and self.output == "none":
            raise ConfigError(
                "skip=True connects the input to the output layer, but output='none' has no output layer; "
                "choose output='identity', 'tanh', 'relu' or 'sigmoid', or omit skip"
            )
        dropout = self.dropout_of(sizes)
        cells = self._cells()
        if self.decay and not cells[0].decays:
            raise ConfigError(
                f"decay=True needs a cell with a decay factor, and {self.cell} does not have one; choose a linear cell "
                f"({', '.join(name for name, cell in CELLS.items() if cell.decays)}), or omit decay"
            )
        if self.residual:
            cells = [ResidualBlock(GatedBranch(cell) if cell.linear else cell, dropout) for cell in cells]
        output = None if self.output == "none" else OutputLayer(self.size, self.output, skip=self.skip)
        # residual blocks have their own dropout
        between = 0.0 if self.residual else dropout
        encoder: Encoder = Stack(cells, norm=self.residual, dropout=between, output=output)
        attention = self.attention if self.attention is not None else DEFAULT_WINDOW if self.residual else 0
        if attention:
            encoder = AttentiveEncoder(encoder, self.size, attention, self.alignment)
        return self.build_model(encoder, sizes, decay=self.decay, bare=not self.residual)

    def _cells(self) -> list[Cell]:
        make = _cell_class(self.cell)
        if make is RNN:
            return [RNN(self.size, self.activation) for _ in range(self.layers)]
        if self.activation != "tanh":
            raise ConfigError(
                f"activation={self.activation!r} applies to the rnn cell only, and cell is {self.cell!r}; "
                "choose cell='rnn', or omit activation"
            )
        return [make(self.size) for _ in range(self.layers)]


def _cell_class(name: str) -> type[Cell]:
    if ":" not in name:
        if name not in CELLS:
            raise ConfigError(
                f"unknown cell {name!r} (write your own as `module:Class`){did_you_mean(name, CELLS)}"
            )
        return CELLS[name]
    found = resolve(name, trusted=True)
    if not (isinstance(found, type) and issubclass(found, Cell)):
        raise ConfigError(f"{name} is not a cell; pass a subclass of reprise.nn.cells.Cell")
    return found


class OutputLayer(nn.Module):
    """The output layer of the textbook network: o = g(W_o h + b), with `skip` o = g(W_o h + W_x x + b).

    `activation` is g: `identity`, `tanh`, `relu` or `sigmoid`. x is the input of the first cell.
    """

    def __init__(self, size: int, activation: Output, *, skip: bool) -> None:
        super().__init__()
        self.activation = activation
        self.hidden = nn.Linear(size, size)
        self.input = nn.Linear(size, size, bias=False) if skip else None

    def forward(self, hidden: Tensor, x: Tensor) -> Tensor:
        """Return the output for hidden states and inputs [..., D]; it has the same shape."""
        out: Tensor = self.hidden(hidden)
        if self.input is not None:
            out = out + self.input(x)
        return out if self.activation == "identity" else getattr(torch, self.activation)(out)
