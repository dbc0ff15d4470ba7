"""A stack of cells as an encoder; recurrent cells, convolutions and causal attention are all cells.

Shape letters: B rows, T steps, D width.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from reprise.models.encoder import Encoded, Encoder, strip_prefix
from reprise.nn.cells import Cell, State, decay_args
from reprise.nn.dropout import Dropout
from reprise.nn.elementwise import RootMeanSquareNorm


class Stack(Encoder):
    """A stack of cells with an optional output layer. The state of layer 0 is `0.h` and so on.

    Args:
        cells: The cells, first layer first.
        norm: Whether to normalise the last hidden state, as is usual after residual blocks.
        dropout: Dropout rate of the input of each cell. Residual blocks have their own dropout.
        output: Output layer; it is called with the last hidden state and the input of the first cell.
    """

    def __init__(
        self,
        cells: Sequence[Cell],
        *,
        norm: bool = True,
        dropout: float = 0.0,
        output: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.cells = nn.ModuleList(cells)
        self.norm = RootMeanSquareNorm(cells[0].size) if norm else nn.Identity()
        self.between = Dropout(dropout)
        self.output = output

    def initial_state(self, batch: int) -> State:
        """Return the states of all layers."""
        return {
            f"{layer}.{name}": tensor
            for layer, cell in enumerate(self._layers())
            for name, tensor in cell.initial_state(batch).items()
        }

    def forward(
        self, x_BTD: Tensor, state: State, valid_BT: Tensor, decay_BTD: Tensor | None = None
    ) -> Encoded:
        """Encode a chunk, one layer after the other."""
        after, read_BTD = State(), x_BTD
        for layer, cell in enumerate(self._layers()):
            x_BTD, new = cell.scan(
                self.between(x_BTD), strip_prefix(state, f"{layer}."), valid_BT, *decay_args(decay_BTD)
            )
            after |= {f"{layer}.{name}": tensor for name, tensor in new.items()}
        return Encoded(self._out(x_BTD, read_BTD), after, x_BTD.new_zeros(()))

    def step(self, x_BD: Tensor, state: State, decay_BD: Tensor | None = None) -> tuple[Tensor, State]:
        """Read one event, one layer after the other."""
        after, read_BD = State(), x_BD
        for layer, cell in enumerate(self._layers()):
            x_BD, new = cell.step(self.between(x_BD), strip_prefix(state, f"{layer}."), *decay_args(decay_BD))
            after |= {f"{layer}.{name}": tensor for name, tensor in new.items()}
        return self._out(x_BD, read_BD), after

    def _out(self, x: Tensor, read: Tensor) -> Tensor:
        hidden: Tensor = self.norm(x)
        return hidden if self.output is None else self.output(hidden, read)

    def _layers(self) -> list[Cell]:
        return [cell for cell in self.cells if isinstance(cell, Cell)]
