"""Encoders of the last L events; these events are their state.

Shape letters: B rows, T steps, S = L + T positions (the window before the chunk, then the chunk), L events of a window
(newest last), N windows, C windows encoded together, D width.
"""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor

from reprise.models.encoder import Encoded, Encoder
from reprise.nn.attention import last_window
from reprise.nn.cells import State

ELEMENTS_PER_CHUNK = 1 << 24
"""Number of elements in the windows that are encoded together: 64 MiB in float32."""


class Windows(NamedTuple):
    """The last events at some steps."""

    vector_NLD: Tensor
    """Input vectors, newest last; 0 if there are fewer events."""
    filled_NL: Tensor
    """Whether there is an event, bool."""


class WindowEncoder(Encoder, ABC):
    """Base class of encoders that are a function of the last L vectors. A subclass implements `encode`.

    Args:
        size: D.
        window: L.
    """

    def __init__(self, size: int, window: int) -> None:
        super().__init__()
        self.size, self.window = size, window

    @abstractmethod
    def encode(self, windows: Windows) -> Tensor:
        """Return the hidden state of each window, [N, D]."""

    def initial_state(self, batch: int) -> State:
        """Return an empty window."""
        empty_BLD = next(self.parameters()).new_zeros(batch, self.window, self.size)
        return {"vectors": empty_BLD, "filled": empty_BLD[..., 0].clone()}

    def forward(
        self,
        x_BTD: Tensor,
        state: State,
        valid_BT: Tensor,
        decay_BTD: Tensor | None = None,
        wanted_BT: Tensor | None = None,
    ) -> Encoded:
        """Encode a chunk. With `wanted_BT` only those steps are encoded, and the other hidden states are 0."""
        assert decay_BTD is None, "a window encoder has no decay"
        rows_BSD = torch.cat([state["vectors"].to(x_BTD.dtype), x_BTD], dim=1)
        filled_BS = torch.cat([state["filled"], valid_BT.to(state["filled"].dtype)], dim=1)
        wanted_BT = valid_BT if wanted_BT is None else wanted_BT & valid_BT
        row_N, step_N = wanted_BT.nonzero(as_tuple=True)
        # the window of step t of a row consists of the positions t + 1 .. t + L
        position_L = torch.arange(1, self.window + 1, device=x_BTD.device)
        windows_per_chunk = max(1, ELEMENTS_PER_CHUNK // (self.window * self.size))
        hidden = [
            self.encode(
                Windows(rows_BSD[row_C[:, None], position_CL], filled_BS[row_C[:, None], position_CL] > 0)
            )
            for row_C, position_CL in zip(
                torch.split(row_N, windows_per_chunk),
                torch.split(step_N[:, None] + position_L, windows_per_chunk),
                strict=True,
            )
        ]
        hidden_ND = torch.cat(hidden)
        hidden_BTD = hidden_ND.new_zeros(*wanted_BT.shape, self.size).index_put((row_N, step_N), hidden_ND)
        after = {
            "vectors": last_window(rows_BSD, valid_BT, self.window).to(state["vectors"].dtype),
            "filled": last_window(filled_BS, valid_BT, self.window),
        }
        return Encoded(hidden_BTD, after, x_BTD.new_zeros(()))

    def step(self, x_BD: Tensor, state: State, decay_BD: Tensor | None = None) -> tuple[Tensor, State]:
        """Read one event: it enters the window, and the oldest one leaves it."""
        assert decay_BD is None, "a window encoder has no decay"
        after = {
            "vectors": torch.cat([state["vectors"][:, 1:], x_BD.unsqueeze(1)], dim=1),
            "filled": torch.cat([state["filled"][:, 1:], torch.ones_like(state["filled"][:, :1])], dim=1),
        }
        return self.encode(Windows(after["vectors"], after["filled"] > 0)), after
