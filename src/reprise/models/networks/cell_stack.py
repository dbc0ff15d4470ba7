"""Cells on each other as an encoder: recurrent ones, convolutions and causal attention are stacked alike.

Shape letters: B rows, T steps, D width.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from reprise.models.encoder import Encoded, Encoder, strip_prefix
from reprise.nn.cells import Cell, State, decay_args


class Stack(Encoder):
    """Cells on top of each other, and an output layer if given. The state of layer 0 is `0.h` and so on.

    Args:
        cells: From the first to the last.
        norm: Whether the last hidden state is normalised, as after residual blocks.
        dropout: Share of what each cell reads that is dropped while training. Residual blocks have their own.
        output: Called with the last hidden state and what the first cell read.
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
        self.norm = nn.RMSNorm(cells[0].size) if norm else nn.Identity()
        self.between = nn.Dropout(dropout)
        self.output = output

    def initial_state(self, batch: int) -> State:
        """The states of all layers, side by side."""
        return {
            f"{layer}.{name}": tensor
            for layer, cell in enumerate(self._layers())
            for name, tensor in cell.initial_state(batch).items()
        }

    def forward(
        self, x_BTD: Tensor, state: State, valid_BT: Tensor, decay_BTD: Tensor | None = None
    ) -> Encoded:
        """A whole chunk, layer by layer."""
        after, read_BTD = State(), x_BTD
        for layer, cell in enumerate(self._layers()):
            x_BTD, new = cell.scan(
                self.between(x_BTD), strip_prefix(state, f"{layer}."), valid_BT, *decay_args(decay_BTD)
            )
            after |= {f"{layer}.{name}": tensor for name, tensor in new.items()}
        return Encoded(self._out(x_BTD, read_BTD), after, x_BTD.new_zeros(()))

    def step(self, x_BD: Tensor, state: State, decay_BD: Tensor | None = None) -> tuple[Tensor, State]:
        """One event, layer by layer."""
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
