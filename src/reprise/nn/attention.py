"""Causal attention over a sliding window of the last W events, as a recurrent cell.

Shape letters: B rows, T steps, W events of the window, S = W + T positions (the window before the chunk, then the
chunk), D width, H heads. Because the window is bounded, one event costs O(W) and the window is carried as the state.
"""

import math

import torch
from torch import Tensor, nn

from reprise.nn.cells import Cell, State

QUERY_BLOCK = 64
"""Number of steps that attend in one block; the score matrix [B, H, T, S] is built for one block at a time."""


def sliding_window(steps: int, window: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the position of each key in the window of each step, and which keys are inside it: two [T, S] tensors.

    Key s of S = W + T is visible to step t if t + 1 <= s <= t + W; the last of these is the event of step t itself. In
    the first tensor 0 is the oldest event of the window; entries outside the window are clamped. For W = 2 and T = 3
    the second tensor is [[0, 1, 1, 0, 0], [0, 0, 1, 1, 0], [0, 0, 0, 1, 1]].
    """
    position_TS = torch.arange(steps + window, device=device) - torch.arange(
        1, steps + 1, device=device
    ).unsqueeze(1)
    inside_TS = (position_TS >= 0) & (position_TS < window)
    return position_TS.clamp(0, window - 1), inside_TS


def last_window(rows_BSD: Tensor, valid_BT: Tensor, window: int) -> Tensor:
    """Return the last W events of each row, [B, W, ...].

    `rows_BSD` holds the window before the chunk, followed by the chunk, or only the chunk if that window is empty; then
    rows of fewer than W events begin with zeros. Padding at the end of a chunk is skipped.
    """
    rows, steps = valid_BT.shape
    length_B1 = valid_BT.sum(1, keepdim=True)
    if rows_BSD.shape[1] == steps:
        place_BT = window - length_B1 + torch.arange(steps, device=rows_BSD.device)
        row, step = (valid_BT & (place_BT >= 0)).nonzero(as_tuple=True)
        last_BWD = rows_BSD.new_zeros(rows, window, *rows_BSD.shape[2:])
        last_BWD[row, place_BT[row, step]] = rows_BSD[row, step]
        return last_BWD
    index_BW = length_B1 + torch.arange(window, device=rows_BSD.device)
    # whole vectors by `index_select`: `gather` would look up every number of them
    start_B1 = torch.arange(rows, device=rows_BSD.device).unsqueeze(1) * rows_BSD.shape[1]
    last = rows_BSD.flatten(0, 1).index_select(0, (start_B1 + index_BW).flatten())
    return last.view(*index_BW.shape, *rows_BSD.shape[2:])


def split_heads(x: Tensor, heads: int) -> Tensor:
    """Split the last dimension into heads: [..., D] becomes [..., H, D / H]."""
    return x.reshape(*x.shape[:-1], heads, x.shape[-1] // heads)


class WindowAttention(Cell):
    """Causal multi-head attention over the last W events (Vaswani et al. 2017), with a learned bias for each distance.

    o_i = W_o [softmax_j(q_i . k_j / sqrt(D / H) + d_{i-j}) v_j], i - W < j <= i, in each head. Positions enter only as
    distances (Raffel et al. 2020), so a key does not change when the window moves: the state is the last W keys and
    values, and one event costs O(W). Initially d decreases linearly with the distance, with a different slope in each
    head (Press et al. 2022), and W_v = W_o = 1, so the output is a weighted mean of the inputs.
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
        self, x_BTD: Tensor, state: State, valid_BT: Tensor, decay_BTD: Tensor | None = None
    ) -> tuple[Tensor, State]:
        self.reject_decay(decay_BTD)
        query_BTD, key_BTD, value_BTD = self.input(x_BTD).chunk(3, dim=-1)
        key_BSD = torch.cat([state["key"].to(key_BTD.dtype), key_BTD], dim=1)
        value_BSD = torch.cat([state["value"].to(value_BTD.dtype), value_BTD], dim=1)
        filled_BS = torch.cat([state["filled"], valid_BT.to(state["filled"].dtype)], dim=1)
        outputs = [
            self._attend(
                query_BTD[:, t : t + QUERY_BLOCK], key_BSD[:, t:], value_BSD[:, t:], filled_BS[:, t:]
            )
            for t in range(0, query_BTD.shape[1], QUERY_BLOCK)
        ]
        rows = {"key": key_BSD, "value": value_BSD, "filled": filled_BS}
        after = {
            name: last_window(rows[name], valid_BT, self.window).to(tensor.dtype)
            for name, tensor in state.items()
            if name in rows
        }
        return self.output(torch.cat(outputs, dim=1)), after

    def step(self, x_BD: Tensor, state: State, decay_BD: Tensor | None = None) -> tuple[Tensor, State]:
        self.reject_decay(decay_BD)
        query_BD, key_BD, value_BD = self.input(x_BD).chunk(3, dim=-1)
        filled_B1 = torch.ones_like(state["filled"][:, :1])
        after = {
            "key": torch.cat([state["key"][:, 1:], key_BD.unsqueeze(1)], dim=1),
            "value": torch.cat([state["value"][:, 1:], value_BD.unsqueeze(1)], dim=1),
            "filled": torch.cat([state["filled"][:, 1:], filled_B1], dim=1),
        }
        score_BHW = torch.einsum("bhd,bwhd->bhw", self._split(query_BD), self._split(after["key"]))
        score_BHW = score_BHW * self.scale + self.distance
        score_BHW = score_BHW.masked_fill(after["filled"].unsqueeze(1) <= 0, -torch.inf)
        mixed_BHD = torch.einsum("bhw,bwhd->bhd", score_BHW.softmax(-1), self._split(after["value"]))
        return self.output(mixed_BHD.flatten(1)), after

    def _split(self, x: Tensor) -> Tensor:
        return split_heads(x, self.heads)

    def _attend(self, query_BTD: Tensor, key_BSD: Tensor, value_BSD: Tensor, filled_BS: Tensor) -> Tensor:
        """Return the attention output for a block of steps; step t sees the keys t + 1 .. t + W of those passed in."""
        steps = query_BTD.shape[1]
        length = steps + self.window
        position_TS, inside_TS = sliding_window(steps, self.window, query_BTD.device)
        query_BHTD = self._split(query_BTD).transpose(1, 2)
        key_BHSD, value_BHSD = (
            self._split(rows_BSD[:, :length]).transpose(1, 2) for rows_BSD in (key_BSD, value_BSD)
        )
        score_BHTS = (query_BHTD @ key_BHSD.transpose(-1, -2)).to(self.distance.dtype) * self.scale
        # A padded step has no filled key. It sees its own position, so that the softmax is not taken over an
        # empty set; its output is undefined and not used.
        visible_BTS = inside_TS & ((filled_BS[:, None, :length] > 0) | (position_TS == self.window - 1))
        score_BHTS = score_BHTS + self.distance[:, position_TS]
        weight_BHTS = score_BHTS.masked_fill(~visible_BTS.unsqueeze(1), -torch.inf).softmax(-1)
        mixed_BHTD = weight_BHTS.to(value_BHSD.dtype) @ value_BHSD
        return mixed_BHTD.transpose(1, 2).flatten(2)
