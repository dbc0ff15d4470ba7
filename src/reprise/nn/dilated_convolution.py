"""A causal dilated convolution as a cell: the state is what its filter still has to see.

Shape letters: B rows, T steps, D width, R = (kernel - 1) dilation events before.
"""

import math

import torch
from torch import Tensor, nn

from reprise.nn.attention import last_rows
from reprise.nn.cells import Cell, State


class DilatedConvolution(Cell):
    """h_t = W_o relu(b + sum_k W_k x_{t - k d}), k = 0 .. kernel - 1, over events d apart (Yuan et al. 2019, section 3.2).

    Before the first event there are zeros. One event costs as much as one step of a chunk.
    """

    def __init__(self, size: int, kernel: int, dilation: int) -> None:
        super().__init__(size)
        self.kernel, self.dilation = kernel, dilation
        self.taps = nn.Linear(kernel * size, size)
        self.output = nn.Linear(size, size, bias=False)
        nn.init.normal_(self.taps.weight, std=1 / math.sqrt(kernel * size))
        nn.init.normal_(self.output.weight, std=1 / math.sqrt(size))

    @property
    def reach(self) -> int:
        """R: how far back the filter sees."""
        return (self.kernel - 1) * self.dilation

    def initial_state(self, batch: int) -> State:
        return {"before": self.taps.weight.new_zeros(batch, self.reach, self.size)}

    def scan(
        self, x_BTD: Tensor, state: State, valid_BT: Tensor, keep_BTD: Tensor | None = None
    ) -> tuple[Tensor, State]:
        self.refuse(keep_BTD)
        rows_BSD = torch.cat([state["before"].to(x_BTD.dtype), x_BTD], dim=1)
        steps = x_BTD.shape[1]
        taps = [rows_BSD[:, k * self.dilation : k * self.dilation + steps] for k in range(self.kernel)]
        kept_BRD = last_rows(rows_BSD, valid_BT, self.reach)
        return self._filtered(torch.cat(taps, dim=-1)), {"before": kept_BRD.to(state["before"].dtype)}

    def step(self, x_BD: Tensor, state: State, keep_BD: Tensor | None = None) -> tuple[Tensor, State]:
        self.refuse(keep_BD)
        rows_BSD = torch.cat([state["before"], x_BD.unsqueeze(1)], dim=1)
        taps_BKD = rows_BSD[:, :: self.dilation]
        return self._filtered(taps_BKD.flatten(1)), {"before": rows_BSD[:, 1:]}

    def _filtered(self, taps: Tensor) -> Tensor:
        out: Tensor = self.output(torch.relu(self.taps(taps)))
        return out
