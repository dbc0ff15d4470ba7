"""The contract of a recurrent cell, and the textbook cells: Elman RNN, LSTM and GRU.

Shape letters: B rows, T steps, D width. `scan` runs a whole chunk in torch's own kernels (cuDNN on a GPU). `step` runs one
event with the equations of the papers. `reprise.testing.contracts` checks that both compute the same function.
"""

from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from reprise.errors import ConfigError

Activation = Literal["tanh", "sigmoid", "relu"]
"""Activation function of the Elman RNN."""

State = dict[str, Tensor]
"""The recurrent state of B users: named tensors whose first dimension is B."""


def decay_args(decay: Tensor | None) -> tuple[Tensor, ...]:
    """Return the optional last argument of `scan` and `step` as a tuple; empty if there is no decay factor.

    A cell whose state cannot decay may then define `scan` and `step` without that parameter.
    """
    return () if decay is None else (decay,)


class Cell(nn.Module, ABC):
    """A recurrent layer that maps input vectors of width D to hidden states of width D.

    A chunk is right-padded: the real events of each row come first, so a row of `valid_BT` is True, then False. Padding
    leaves the state unchanged, and the hidden states that `scan` returns at padded steps are undefined.

    A cell with `decays = True` also accepts a decay factor in [0, 1]. The state is multiplied by it before an event is
    read: 1 leaves the state unchanged, 0 resets it, and a value in between lets it decay, for example with the time since
    the last event. The last dimension of the factor is D, or 1 for one factor per row.
    """

    linear = False
    """Whether the cell is an elementwise linear recurrence; a residual stack wraps such a cell in a `GatedBranch`."""
    decays = False
    """Whether `scan` and `step` accept a decay factor; other cells raise `ConfigError` when they get one."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    @abstractmethod
    def initial_state(self, batch: int) -> State:
        """Return the state of `batch` users without events."""

    @abstractmethod
    def scan(
        self, x_BTD: Tensor, state: State, valid_BT: Tensor, decay_BTD: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Read a whole chunk; return hidden_BTD and the state after the last real event of each row."""

    @abstractmethod
    def step(self, x_BD: Tensor, state: State, decay_BD: Tensor | None = None) -> tuple[Tensor, State]:
        """Read one event of each row; return hidden_BD and the new state. Equals `scan` with T = 1."""

    def reject_decay(self, decay: Tensor | None) -> None:
        """Check that a cell without support for decay gets no decay factor.

        Raises:
            ConfigError: A decay factor was passed.
        """
        if decay is not None:
            raise ConfigError(
                f"the state of {type(self).__name__} does not accept a decay factor; "
                "use a linear cell (rglru, lru, mingru, minlstm), or omit the decay factor"
            )


def state_at_end(hidden_BTD: Tensor, before_BD: Tensor, valid_BT: Tensor) -> Tensor:
    """Return the hidden state after the last real event of each row, [B, D]; `before_BD` for rows without events.

    Padding comes after the events of a row, so values computed at padded steps cannot influence this result.
    """
    length_B = valid_BT.sum(1)
    row_B = torch.arange(len(length_B), device=length_B.device)
    last_BD = hidden_BTD[row_B, (length_B - 1).clamp(min=0)]
    return torch.where((length_B > 0).unsqueeze(1), last_BD, before_BD)


class _TorchCell(Cell):
    """A cell that runs a layer of `torch.nn` over chunks; a subclass implements `step`."""

    layer: nn.RNNBase

    def initial_state(self, batch: int) -> State:
        return {"h": self.layer.get_parameter("weight_hh_l0").new_zeros(batch, self.size)}

    def scan(
        self, x_BTD: Tensor, state: State, valid_BT: Tensor, decay_BTD: Tensor | None = None
    ) -> tuple[Tensor, State]:
        self.reject_decay(decay_BTD)
        hidden_BTD = self._run(x_BTD, state["h"])
        return hidden_BTD, {"h": state_at_end(hidden_BTD, state["h"], valid_BT)}

    def _run(self, x_BTD: Tensor, h_BD: Tensor) -> Tensor:
        hidden_BTD: Tensor = self.layer(x_BTD, h_BD.unsqueeze(0).contiguous())[0]
        return hidden_BTD

    def _projections(self, x_BD: Tensor, h_BD: Tensor) -> tuple[Tensor, Tensor]:
        """Return W_x x + b_x and W_h h + b_h, each with all gates concatenated."""
        get = self.layer.get_parameter
        from_x = linear(x_BD, get("weight_ih_l0"), get("bias_ih_l0"))
        return from_x, linear(h_BD, get("weight_hh_l0"), get("bias_hh_l0"))


class RNN(_TorchCell):
    """The RNN of Elman (1990): h_t = f(W_h h_{t-1} + W_x x_t + b), with f one of tanh, sigmoid and relu."""

    def __init__(self, size: int, activation: Activation = "tanh") -> None:
        super().__init__(size)
        self.activation = activation
        # torch.nn.RNN has no sigmoid: it only holds the weights, and `_run` has its own loop over time
        nonlinearity = "tanh" if activation == "sigmoid" else activation
        self.layer = nn.RNN(size, size, nonlinearity=nonlinearity, batch_first=True)

    def step(self, x_BD: Tensor, state: State, decay_BD: Tensor | None = None) -> tuple[Tensor, State]:
        self.reject_decay(decay_BD)
        from_x, from_h = self._projections(x_BD, state["h"])
        h_BD: Tensor = getattr(torch, self.activation)(from_x + from_h)
        return h_BD, {"h": h_BD}

    def _run(self, x_BTD: Tensor, h_BD: Tensor) -> Tensor:
        if self.activation != "sigmoid":
            return super()._run(x_BTD, h_BD)
        get = self.layer.get_parameter
        # W_x x is one matrix product for the whole chunk; only W_h h depends on the previous step
        from_x_BTD = linear(x_BTD, get("weight_ih_l0"), get("bias_ih_l0") + get("bias_hh_l0"))
        steps = []
        for from_x_BD in from_x_BTD.unbind(1):
            h_BD = torch.sigmoid(from_x_BD + linear(h_BD, get("weight_hh_l0")))
            steps.append(h_BD)
        return torch.stack(steps, dim=1)


class LSTM(_TorchCell):
    """Long short-term memory (Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000).

    i, f, o = sigmoid(W x_t + U h_{t-1} + b); c_t = f c_{t-1} + i tanh(W_c x_t + U_c h_{t-1} + b_c); h_t = o tanh(c_t).
    """

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.layer = nn.LSTM(size, size, batch_first=True)

    def initial_state(self, batch: int) -> State:
        return {**super().initial_state(batch), "c": super().initial_state(batch)["h"]}

    def scan(
        self, x_BTD: Tensor, state: State, valid_BT: Tensor, decay_BTD: Tensor | None = None
    ) -> tuple[Tensor, State]:
        self.reject_decay(decay_BTD)
        length_B = valid_BT.sum(1)
        # torch returns c only at the end of a row, so the rows are packed to end at their last event. RNN and
        # GRU read padded rows instead, which is twice as fast for a GRU. Packing needs at least
        # one step per row.
        packed = pack_padded_sequence(
            x_BTD, length_B.clamp(min=1).cpu(), batch_first=True, enforce_sorted=False
        )
        before = tuple(state[name].unsqueeze(0).contiguous() for name in ("h", "c"))
        out, after = self.layer(packed, before)
        hidden_BTD, _ = pad_packed_sequence(out, batch_first=True, total_length=x_BTD.shape[1])
        some_B1 = (length_B > 0).unsqueeze(1)
        return hidden_BTD, {
            name: torch.where(some_B1, last[0], state[name])
            for name, last in zip(("h", "c"), after, strict=True)
        }

    def step(self, x_BD: Tensor, state: State, decay_BD: Tensor | None = None) -> tuple[Tensor, State]:
        self.reject_decay(decay_BD)
        from_x, from_h = self._projections(x_BD, state["h"])
        i_BD, f_BD, g_BD, o_BD = (from_x + from_h).chunk(4, dim=-1)
        c_BD = torch.sigmoid(f_BD) * state["c"] + torch.sigmoid(i_BD) * torch.tanh(g_BD)
        h_BD = torch.sigmoid(o_BD) * torch.tanh(c_BD)
        return h_BD, {"h": h_BD, "c": c_BD}


class GRU(_TorchCell):
    """Gated recurrent unit (Cho et al. 2014), with the reset gate applied after the matrix product, as in cuDNN.

    r, z = sigmoid(W x_t + U h_{t-1} + b); n = tanh(W_n x_t + b_n + r (U_n h_{t-1} + c_n)); h_t = (1 - z) n + z h_{t-1}.
    """

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.layer = nn.GRU(size, size, batch_first=True)

    def step(self, x_BD: Tensor, state: State, decay_BD: Tensor | None = None) -> tuple[Tensor, State]:
        self.reject_decay(decay_BD)
        from_x, from_h = self._projections(x_BD, state["h"])
        r_x, z_x, n_x = from_x.chunk(3, dim=-1)
        r_h, z_h, n_h = from_h.chunk(3, dim=-1)
        z_BD = torch.sigmoid(z_x + z_h)
        n_BD = torch.tanh(n_x + torch.sigmoid(r_x + r_h) * n_h)
        h_BD = (1 - z_BD) * n_BD + z_BD * state["h"]
        return h_BD, {"h": h_BD}
