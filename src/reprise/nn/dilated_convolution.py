"""A causal dilated convolution as a cell: its state holds the past inputs that the filter still needs.

Shape letters: B rows, T steps, D width, K taps of the kernel, R = (kernel - 1) dilation past events, S = R + T.
"""

import math

import torch
from torch import Tensor, nn

from reprise.nn.attention import last_window
from reprise.nn.cells import Cell, State


class DilatedConvolution(Cell):
    """Dilated convolution: h_t = W_o relu(b + sum_k W_k x_{t - k d}), k = 0 .. kernel - 1, d the dilation.

    Yuan et al. 2019, section 3.2. Inputs before the first event are zero. One event costs as much as one step of a
    chunk.
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
        """R: number of past events that the filter needs."""
        return (self.kernel - 1) * self.dilation

    def initial_state(self, batch: int) -> State:
        return {"before": self.taps.weight.new_zeros(batch, self.reach, self.size)}

    def scan(
        self, x_BTD: Tensor, state: State, valid_BT: Tensor, decay_BTD: Tensor | None = None
    ) -> tuple[Tensor, State]:
        self.reject_decay(decay_BTD)
        rows_BSD = torch.cat([state["before"].to(x_BTD.dtype), x_BTD], dim=1)
        steps = x_BTD.shape[1]
        taps = [rows_BSD[:, k * self.dilation : k * self.dilation + steps] for k in range(self.kernel)]
        kept_BRD = last_window(rows_BSD, valid_BT, self.reach)
        return self._filter(torch.cat(taps, dim=-1)), {"before": kept_BRD.to(state["before"].dtype)}

    def step(self, x_BD: Tensor, state: State, decay_BD: Tensor | None = None) -> tuple[Tensor, State]:
        self.reject_decay(decay_BD)
        rows_BSD = torch.cat([state["before"], x_BD.unsqueeze(1)], dim=1)
        taps_BKD = rows_BSD[:, :: self.dilation]
        return self._filter(taps_BKD.flatten(1)), {"before": rows_BSD[:, 1:]}

    def _filter(self, taps: Tensor) -> Tensor:
        out: Tensor = self.output(torch.relu(self.taps(taps)))
        return out
