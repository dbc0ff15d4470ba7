"""The recurrent family: a stack of cells, residual or bare.

Shape letters: B rows, T steps, D width.
"""

import math
from typing import Annotated, Literal, TypeVar

import torch
from pydantic import Field
from torch import Tensor, nn

from reprise.config import resolve, spec
from reprise.data.dataset import Sizes
from reprise.errors import ConfigError, did_you_mean
from reprise.models.attentive import Alignment, AttentiveEncoder
from reprise.models.encoder import Encoded, Encoder, under
from reprise.models.inputs import Decay, EventInputs, QueryHead, Read
from reprise.models.items import ItemVectors
from reprise.models.sequence_model import Parts, SequenceModel
from reprise.models.transitions import TransitionResidual
from reprise.nn.blocks import GatedBranch, ResidualBlock
from reprise.nn.cells import GRU, LSTM, RNN, Activation, Cell, State, given
from reprise.nn.linear_cells import RGLRU, MinGRU, MinLSTM
from reprise.nn.lru import LRU

CELLS: dict[str, type[Cell]] = {
    "rnn": RNN, "lstm": LSTM, "gru": GRU, "rglru": RGLRU, "lru": LRU, "mingru": MinGRU, "minlstm": MinLSTM,
}  # fmt: skip
Number = TypeVar("Number", int, float)
Output = Literal["none", "identity", "tanh", "relu", "sigmoid"]


@spec
class Recurrent:
    """A recurrent network over the item vectors of the events so far."""

    cell: str = "rglru"
    """`rnn`, `lstm`, `gru`, `rglru`, `lru`, `mingru`, `minlstm`, or your own class as `module:Class`."""
    size: Annotated[int, Field(ge=1)] = 256
    """D: width of the item vectors and of the hidden state."""
    layers: Annotated[int, Field(ge=1)] = 2
    """How many cells lie on each other."""
    residual: bool = True
    """Pre-norm residual blocks with a gated feed-forward; False: the bare textbook network."""
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Share of each layer's output that is dropped while training. Left out: by the size of the log, see `dropout_for`."""
    item_dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Share of each item vector that is dropped as it is read while training. Left out: likewise."""
    activation: Activation = "tanh"
    """f of the `rnn` cell, h = f(W_h h + W_x x + b); the other cells have their own."""
    output: Output = "none"
    """g of an output layer o = g(W_o h + b) between the hidden state and the item vectors; `none`: h itself is compared."""
    skip: bool = False
    """Whether the output layer sees the input too, o = g(W_o h + W_x x + b)."""
    event_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the events whose item is hidden from the network while training."""
    temperature: Annotated[float, Field(ge=0)] | None = None
    """Above 0: hidden states and item vectors are compared by their angle, cos / temperature; 0: by inner product. Left out:
    0.07 in residual networks, 0 in bare ones."""
    sparse: bool = False
    """Whether only the item vectors a step reads are updated, at a cost that does not grow with the catalogue. It wants a loss
    with negatives."""
    attention: Annotated[int, Field(ge=0)] | None = None
    """Events that a hidden state looks back at, W; 0: none. Left out: 20 in residual networks, 0 in bare ones."""
    alignment: Alignment = "dot"
    """How a hidden state is compared with those before it: `additive` or `dot`."""
    transitions: Annotated[int, Field(ge=0)] | None = None
    """Last events whose counted neighbours are added to the logits once the network has learned; 0: none. Left out: 20 in
    residual networks, 0 in bare ones."""
    neighbours: Annotated[int, Field(ge=1)] = 128
    """Items counted near each item, at most."""
    decay: bool = False
    """Whether the state fades with the time since the event before; for linear cells."""
    gaps: bool = False
    """Whether the time since the event before is read."""
    query_time: bool = False
    """Whether the time from the last event to the moment of asking is used."""
    kinds: bool = False
    """Whether the kind of each event is read."""
    values: bool = False
    """Whether the value of each event is read."""

    def __str__(self) -> str:
        parts = [self.cell, *([self.activation] if self.activation != "tanh" else [])]
        parts += [f"{self.layers} x {self.size}", *([] if self.residual else ["bare"])]
        parts += [f"output {self.output}"] if self.output != "none" else []
        return " ".join([*parts, *(["skip"] if self.skip else [])])

    def build(self, sizes: Sizes) -> SequenceModel:
        """A network with fresh weights for data of these sizes.

        Raises:
            ConfigError: the cell is unknown, or fields contradict each other.
        """
        if self.skip and self.output == "none":
            raise ConfigError(
                "skip=True leads the input into the output layer, and output='none' has none; "
                "choose output='identity', 'tanh', 'relu' or 'sigmoid', or leave skip out"
            )
        usual = dropout_for(sizes.events)
        dropout = usual if self.dropout is None else self.dropout
        item_dropout = usual if self.item_dropout is None else self.item_dropout
        cells = self._cells()
        if self.decay and not cells[0].decays:
            raise ConfigError(
                f"decay=True multiplies the state by a factor, and the state of {self.cell} takes none; choose a linear cell "
                f"({', '.join(name for name, cell in CELLS.items() if cell.decays)}), or leave decay out"
            )
        if self.residual:
            cells = [ResidualBlock(GatedBranch(cell) if cell.linear else cell, dropout) for cell in cells]
        output = None if self.output == "none" else OutputLayer(self.size, self.output, skip=self.skip)
        encoder: Encoder = RecurrentEncoder(cells, norm=self.residual, dropout=dropout, output=output)
        temperature = self._or_bare(self.temperature, 0.07)
        attention, transitions = self._or_bare(self.attention, 20), self._or_bare(self.transitions, 20)
        if attention:
            encoder = AttentiveEncoder(encoder, self.size, attention, self.alignment)
        read = Read(self.gaps, sizes.kinds if self.kinds else 0, self.values)
        parts = Parts(
            items=ItemVectors(sizes.items, self.size, unit=temperature > 0, sparse=self.sparse),
            inputs=EventInputs(self.size, read, dropout=item_dropout, event_dropout=self.event_dropout),
            encoder=encoder,
            head=QueryHead(self.size, time=self.query_time, temperature=temperature),
            decay=Decay(self.size) if self.decay else None,
            transitions=TransitionResidual(sizes.items, transitions, self.neighbours)
            if transitions
            else None,
        )
        return SequenceModel(self, sizes, parts)

    def _or_bare(self, value: Number | None, residual: Number) -> Number:
        """A field that was left out: on in residual networks, off in bare ones."""
        if value is not None:
            return value
        return residual if self.residual else type(residual)(0)

    def _cells(self) -> list[Cell]:
        make = _cell_class(self.cell)
        if make is RNN:
            return [RNN(self.size, self.activation) for _ in range(self.layers)]
        if self.activation != "tanh":
            raise ConfigError(
                f"activation={self.activation!r} is a choice of the rnn cell, and {self.cell} has its own; "
                "choose cell='rnn', or leave activation out"
            )
        return [make(self.size) for _ in range(self.layers)]


def dropout_for(events: int) -> float:
    """The dropout of a training part of so many events: 0.5 up to 150 thousand, 0.1 less for each doubling, never under 0.1.

    Where the size is not known, 0.3. What was measured on validation parts stands in docs/log.md.
    """
    return min(0.5, max(0.1, 0.5 - 0.1 * math.log2(events / 150_000))) if events else 0.3


def _cell_class(name: str) -> type[Cell]:
    if ":" not in name:
        if name not in CELLS:
            raise ConfigError(
                f"unknown cell {name!r}{did_you_mean(name, CELLS)}; a cell of your own is `module:Class`"
            )
        return CELLS[name]
    found = resolve(name, trusted=True)
    if not (isinstance(found, type) and issubclass(found, Cell)):
        raise ConfigError(f"{name} is not a cell; a cell is a subclass of reprise.nn.cells.Cell")
    return found


class OutputLayer(nn.Module):
    """The output of the textbook network: o = g(W_o h + b), with `skip` o = g(W_o h + W_x x + b).

    `activation` is g: `identity`, `tanh`, `relu` or `sigmoid`; x is what the network read, before its first cell.
    """

    def __init__(self, size: int, activation: Output, *, skip: bool) -> None:
        super().__init__()
        self.activation = activation
        self.hidden = nn.Linear(size, size)
        self.input = nn.Linear(size, size, bias=False) if skip else None

    def forward(self, hidden: Tensor, x: Tensor) -> Tensor:
        """Both of one shape, last dimension D; the same shape back."""
        out: Tensor = self.hidden(hidden)
        if self.input is not None:
            out = out + self.input(x)
        return out if self.activation == "identity" else getattr(torch, self.activation)(out)


class RecurrentEncoder(Encoder):
    """Cells on top of each other, and an output layer if given. The state of layer 0 is `0.h` and so on."""

    def __init__(
        self, cells: list[Cell], *, norm: bool, dropout: float, output: OutputLayer | None = None
    ) -> None:
        super().__init__()
        self.cells = nn.ModuleList(cells)
        self.norm = nn.RMSNorm(cells[0].size) if norm else nn.Identity()
        # residual blocks have their own dropout
        self.between = nn.Dropout(0.0 if norm else dropout)
        self.output = output

    def initial_state(self, batch: int) -> State:
        """The states of all layers, side by side."""
        return {
            f"{layer}.{name}": tensor
            for layer, cell in enumerate(self._layers())
            for name, tensor in cell.initial_state(batch).items()
        }

    def forward(
        self, x_BTD: Tensor, state: State, valid_BT: Tensor, keep_BTD: Tensor | None = None
    ) -> Encoded:
        """A whole chunk, layer by layer."""
        after, read_BTD = State(), x_BTD
        for layer, cell in enumerate(self._layers()):
            x_BTD, new = cell.scan(self.between(x_BTD), under(state, f"{layer}."), valid_BT, *given(keep_BTD))
            after |= {f"{layer}.{name}": tensor for name, tensor in new.items()}
        return Encoded(self._out(x_BTD, read_BTD), after, x_BTD.new_zeros(()))

    def step(self, x_BD: Tensor, state: State, keep_BD: Tensor | None = None) -> tuple[Tensor, State]:
        """One event, layer by layer."""
        after, read_BD = State(), x_BD
        for layer, cell in enumerate(self._layers()):
            x_BD, new = cell.step(self.between(x_BD), under(state, f"{layer}."), *given(keep_BD))
            after |= {f"{layer}.{name}": tensor for name, tensor in new.items()}
        return self._out(x_BD, read_BD), after

    def _out(self, x: Tensor, read: Tensor) -> Tensor:
        hidden: Tensor = self.norm(x)
        return hidden if self.output is None else self.output(hidden, read)

    def _layers(self) -> list[Cell]:
        return [cell for cell in self.cells if isinstance(cell, Cell)]
