"""The contract of a recurrent layer, and the textbook ones: Elman RNN, LSTM, GRU.

Shape letters: B rows, T steps, D width. The whole chunk runs in torch's own kernels (cuDNN on a GPU), one event in the
equations as the papers write them; the contract suite says that both are the same function.
"""

from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from reprise.errors import ConfigError

Activation = Literal["tanh", "sigmoid", "relu"]
"""What Elman's network may put around its sum."""

State = dict[str, Tensor]
"""What is remembered of B users: named tensors, each starting with B. Nothing else is."""


def given(keep: Tensor | None) -> tuple[Tensor, ...]:
    """The last argument of a scan or a step, left out where there is none: what cannot decay need not know of it."""
    return () if keep is None else (keep,)


class Cell(nn.Module, ABC):
    """One recurrent layer: vectors of width D in, hidden states of width D out.

    In a chunk, each row's real events come first and padding after them: `valid_BT` is True, then False. Padding keeps
    the old state; what `scan` returns as hidden at padded steps has no meaning.

    `keep`, for cells that take it, is a factor in [0, 1] by which the state is multiplied before an event is read: 1
    changes nothing, 0 is a reset, between them the state decays, say by the time that has passed. Its last dimension
    is D, or 1 for one factor a row.
    """

    linear = False
    """Whether the state moves by an elementwise product, so that a stack should put a gated branch around it."""
    decays = False
    """Whether `scan` and `step` take `keep`; a cell that does not raises `ConfigError` where it is given."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    @abstractmethod
    def initial_state(self, batch: int) -> State:
        """The state of `batch` users without events."""

    @abstractmethod
    def scan(
        self, x_BTD: Tensor, state: State, valid_BT: Tensor, keep_BTD: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """A whole chunk: (hidden_BTD, the state after each row's last real event)."""

    @abstractmethod
    def step(self, x_BD: Tensor, state: State, keep_BD: Tensor | None = None) -> tuple[Tensor, State]:
        """One event of each row: (hidden_BD, the new state). Equals `scan` with T = 1."""

    def refuse(self, keep: Tensor | None) -> None:
        """Say that this cell takes no `keep`, if one is given.

        Raises:
            ConfigError: it is given.
        """
        if keep is not None:
            raise ConfigError(
                f"the state of {type(self).__name__} cannot decay by a factor from outside; "
                "take a linear cell (rglru, lru, mingru, minlstm), or leave `keep` out"
            )


def state_at_end(hidden_BTD: Tensor, before_BD: Tensor, valid_BT: Tensor) -> Tensor:
    """The hidden state after each row's last real event, or `before_BD` where a row has none: [B, D].

    Padding comes after a row's events, so whatever was computed there cannot have reached them.
    """
    length_B = valid_BT.sum(1)
    row_B = torch.arange(len(length_B), device=length_B.device)
    last_BD = hidden_BTD[row_B, (length_B - 1).clamp(min=0)]
    return torch.where((length_B > 0).unsqueeze(1), last_BD, before_BD)


class _TorchCell(Cell):
    """A layer of `torch.nn` run over chunks; a subclass writes one step of it."""

    layer: nn.RNNBase

    def initial_state(self, batch: int) -> State:
        return {"h": self.layer.get_parameter("weight_hh_l0").new_zeros(batch, self.size)}

    def scan(
        self, x_BTD: Tensor, state: State, valid_BT: Tensor, keep_BTD: Tensor | None = None
    ) -> tuple[Tensor, State]:
        self.refuse(keep_BTD)
        hidden_BTD = self._run(x_BTD, state["h"])
        return hidden_BTD, {"h": state_at_end(hidden_BTD, state["h"], valid_BT)}

    def _run(self, x_BTD: Tensor, h_BD: Tensor) -> Tensor:
        hidden_BTD: Tensor = self.layer(x_BTD, h_BD.unsqueeze(0).contiguous())[0]
        return hidden_BTD

    def _projections(self, x_BD: Tensor, h_BD: Tensor) -> tuple[Tensor, Tensor]:
        """W_x x + b_x and W_h h + b_h, all gates side by side."""
        get = self.layer.get_parameter
        from_x = linear(x_BD, get("weight_ih_l0"), get("bias_ih_l0"))
        return from_x, linear(h_BD, get("weight_hh_l0"), get("bias_hh_l0"))


class RNN(_TorchCell):
    """Elman's network (1990): h_t = f(W_h h_{t-1} + W_x x_t + b), with f one of tanh, sigmoid and relu."""

    def __init__(self, size: int, activation: Activation = "tanh") -> None:
        super().__init__(size)
        self.activation = activation
        # torch has no layer with a sigmoid; its weights are used here, its loop is not
        nonlinearity = "tanh" if activation == "sigmoid" else activation
        self.layer = nn.RNN(size, size, nonlinearity=nonlinearity, batch_first=True)

    def step(self, x_BD: Tensor, state: State, keep_BD: Tensor | None = None) -> tuple[Tensor, State]:
        self.refuse(keep_BD)
        from_x, from_h = self._projections(x_BD, state["h"])
        h_BD: Tensor = getattr(torch, self.activation)(from_x + from_h)
        return h_BD, {"h": h_BD}

    def _run(self, x_BTD: Tensor, h_BD: Tensor) -> Tensor:
        if self.activation != "sigmoid":
            return super()._run(x_BTD, h_BD)
        get = self.layer.get_parameter
        # one product for the whole chunk; only W_h h has to wait for the step before
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
        self, x_BTD: Tensor, state: State, valid_BT: Tensor, keep_BTD: Tensor | None = None
    ) -> tuple[Tensor, State]:
        self.refuse(keep_BTD)
        length_B = valid_BT.sum(1)
        # packed, because torch gives c at a row's end only; it wants at least one step of each row
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

    def step(self, x_BD: Tensor, state: State, keep_BD: Tensor | None = None) -> tuple[Tensor, State]:
        self.refuse(keep_BD)
        from_x, from_h = self._projections(x_BD, state["h"])
        i_BD, f_BD, g_BD, o_BD = (from_x + from_h).chunk(4, dim=-1)
        c_BD = torch.sigmoid(f_BD) * state["c"] + torch.sigmoid(i_BD) * torch.tanh(g_BD)
        h_BD = torch.sigmoid(o_BD) * torch.tanh(c_BD)
        return h_BD, {"h": h_BD, "c": c_BD}


class GRU(_TorchCell):
    """Gated recurrent unit (Cho et al. 2014), with the reset gate after the product, as cuDNN has it.

    r, z = sigmoid(W x_t + U h_{t-1} + b); n = tanh(W_n x_t + b_n + r (U_n h_{t-1} + c_n)); h_t = (1 - z) n + z h_{t-1}.
    """

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.layer = nn.GRU(size, size, batch_first=True)

    def step(self, x_BD: Tensor, state: State, keep_BD: Tensor | None = None) -> tuple[Tensor, State]:
        self.refuse(keep_BD)
        from_x, from_h = self._projections(x_BD, state["h"])
        r_x, z_x, n_x = from_x.chunk(3, dim=-1)
        r_h, z_h, n_h = from_h.chunk(3, dim=-1)
        z_BD = torch.sigmoid(z_x + z_h)
        n_BD = torch.tanh(n_x + torch.sigmoid(r_x + r_h) * n_h)
        h_BD = (1 - z_BD) * n_BD + z_BD * state["h"]
        return h_BD, {"h": h_BD}
