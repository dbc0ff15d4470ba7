"""Attention over the last W events: a band of places that each step may look at, and a layer of it that is a cell.

Shape letters: B rows, T steps, W events of the window, S = W + T places (the window before the chunk, then the chunk), D width,
H heads. What is looked at is bounded, so a step costs O(W) and the window is a state like any other.
"""

import math

import torch
from torch import Tensor, nn

from reprise.nn.cells import Cell, State

STEPS = 64
"""Steps that attend at once: a table of steps times places exists for so many only."""


def band(steps: int, window: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Which of steps + window places each step sees: (place in its window [T, S], 0 the oldest; whether it is inside).

    Step t sees the places t + 1 .. t + W; the last of them is its own.
    """
    place_TS = torch.arange(steps + window, device=device) - torch.arange(
        1, steps + 1, device=device
    ).unsqueeze(1)
    inside_TS = (place_TS >= 0) & (place_TS < window)
    return place_TS.clamp(0, window - 1), inside_TS


def last_rows(rows_BSD: Tensor, valid_BT: Tensor, window: int) -> Tensor:
    """What of the window before a chunk and the chunk are the last W events of each row, [B, W, ...]."""
    place_BW = valid_BT.sum(1, keepdim=True) + torch.arange(window, device=rows_BSD.device)
    if rows_BSD.dim() == 2:
        return rows_BSD.gather(1, place_BW)
    return rows_BSD.gather(1, place_BW.unsqueeze(-1).expand(-1, -1, rows_BSD.shape[-1]))


def split_heads(x: Tensor, heads: int) -> Tensor:
    """The heads side by side: [..., D] as [..., H, D / H]."""
    return x.reshape(*x.shape[:-1], heads, x.shape[-1] // heads)


class WindowAttention(Cell):
    """Causal attention of several heads over the last W events (Vaswani et al. 2017, with a learned bias of each distance).

    o_i = W_o [softmax_j(q_i . k_j / sqrt(D / H) + d_{i-j}) v_j], i - W < j <= i, in each head. Positions are distances (Raffel
    et al. 2020), so that a key stays what it is when the window moves: the state is the last W keys and values, and one event
    costs O(W). At the start d falls with the distance, in each head at its own pace (Press et al. 2022), and what is read is
    what was written: W_v = W_o = 1.
    """

    def __init__(self, size: int, heads: int, window: int) -> None:
        super().__init__(size)
        self.heads, self.window = heads, window
        self.scale = 1 / math.sqrt(size // heads)
        self.input = nn.Linear(size, 3 * size, bias=False)
        self.output = nn.Linear(size, size, bias=False)
        slope_H = 2.0 ** (-8.0 * torch.arange(1, heads + 1) / heads)
        self.distance = nn.Parameter(-slope_H[:, None] * torch.arange(window - 1, -1, -1.0))
        nn.init.normal_(self.input.weight[: 2 * size], std=1 / math.sqrt(size))
        nn.init.eye_(self.input.weight[2 * size :])
        nn.init.eye_(self.output.weight)

    def initial_state(self, batch: int) -> State:
        empty_BWD = self.distance.new_zeros(batch, self.window, self.size)
        return {"key": empty_BWD, "value": empty_BWD.clone(), "filled": empty_BWD[..., 0].clone()}

    def scan(
        self, x_BTD: Tensor, state: State, valid_BT: Tensor, keep_BTD: Tensor | None = None
    ) -> tuple[Tensor, State]:
        self.refuse(keep_BTD)
        query_BTD, key_BTD, value_BTD = self.input(x_BTD).chunk(3, dim=-1)
        key_BSD = torch.cat([state["key"].to(key_BTD.dtype), key_BTD], dim=1)
        value_BSD = torch.cat([state["value"].to(value_BTD.dtype), value_BTD], dim=1)
        filled_BS = torch.cat([state["filled"], valid_BT.to(state["filled"].dtype)], dim=1)
        parts = [
            self._look(query_BTD[:, at : at + STEPS], key_BSD[:, at:], value_BSD[:, at:], filled_BS[:, at:])
            for at in range(0, query_BTD.shape[1], STEPS)
        ]
        rows = {"key": key_BSD, "value": value_BSD, "filled": filled_BS}
        after = {
            name: last_rows(rows[name], valid_BT, self.window).to(tensor.dtype)
            for name, tensor in state.items()
            if name in rows
        }
        return self.output(torch.cat(parts, dim=1)), after

    def step(self, x_BD: Tensor, state: State, keep_BD: Tensor | None = None) -> tuple[Tensor, State]:
        self.refuse(keep_BD)
        query_BD, key_BD, value_BD = self.input(x_BD).chunk(3, dim=-1)
        filled_B1 = torch.ones_like(state["filled"][:, :1])
        after = {
            "key": torch.cat([state["key"][:, 1:], key_BD.unsqueeze(1)], dim=1),
            "value": torch.cat([state["value"][:, 1:], value_BD.unsqueeze(1)], dim=1),
            "filled": torch.cat([state["filled"][:, 1:], filled_B1], dim=1),
        }
        energy_BHW = torch.einsum("bhd,bwhd->bhw", self._split(query_BD), self._split(after["key"]))
        energy_BHW = energy_BHW * self.scale + self.distance
        energy_BHW = energy_BHW.masked_fill(after["filled"].unsqueeze(1) <= 0, -torch.inf)
        mixed_BHD = torch.einsum("bhw,bwhd->bhd", energy_BHW.softmax(-1), self._split(after["value"]))
        return self.output(mixed_BHD.flatten(1)), after

    def _split(self, x: Tensor) -> Tensor:
        return split_heads(x, self.heads)

    def _look(self, query_BTD: Tensor, key_BSD: Tensor, value_BSD: Tensor, filled_BS: Tensor) -> Tensor:
        """What some steps read; step t sees places t + 1 .. t + W of what is given."""
        steps = query_BTD.shape[1]
        places = steps + self.window
        place_TS, inside_TS = band(steps, self.window, query_BTD.device)
        query_BHTD = self._split(query_BTD).transpose(1, 2)
        key_BHSD, value_BHSD = (
            self._split(rows_BSD[:, :places]).transpose(1, 2) for rows_BSD in (key_BSD, value_BSD)
        )
        energy_BHTS = (query_BHTD @ key_BHSD.transpose(-1, -2)).to(self.distance.dtype) * self.scale
        # a padded step sees its own place, so that the softmax stays finite; what it gives has no meaning
        seen_BTS = inside_TS & ((filled_BS[:, None, :places] > 0) | (place_TS == self.window - 1))
        energy_BHTS = energy_BHTS + self.distance[:, place_TS]
        weight_BHTS = energy_BHTS.masked_fill(~seen_BTS.unsqueeze(1), -torch.inf).softmax(-1)
        mixed_BHTD = weight_BHTS.to(value_BHSD.dtype) @ value_BHSD
        return mixed_BHTD.transpose(1, 2).flatten(2)
