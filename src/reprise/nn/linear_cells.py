"""Linear recurrences: layers whose state moves by an elementwise product, so that a chunk is one scan.

Shape letters: B rows, T steps, D width.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, silu, softplus

from reprise.nn.cells import Cell, State
from reprise.nn.scan import scan


class RGLRU(Cell):
    """The real-gated linear recurrent unit in its gated branch (De et al. 2024, "Griffin", equations 1 to 6).

    u, g = W_in x; v_t = k_0 u_t + k_1 u_{t-1}; r, i = sigmoid(W v + b);
    a = exp(-c softplus(L) r); h_t = a h_{t-1} + sqrt(1 - a^2) (i v_t); out = W_out (h_t silu(g)).
    The state is h and the u of the event before: 2 D numbers.
    """

    SCALE = 0.8
    """c. The paper's 8 with L near the other end; this pairs with the initial range of L below."""
    DECAY = (-4.0, 2.0)
    """Initial L from slow to fast: half-lives from about a hundred events to less than one."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.input = nn.Linear(size, 2 * size, bias=False)
        self.shift = nn.Parameter(torch.tensor([[1.0], [0.0]]).repeat(1, size))
        self.gates = nn.Linear(size, 2 * size)
        self.decay = nn.Parameter(torch.linspace(*self.DECAY, size))
        self.output = nn.Linear(size, size, bias=False)
        for layer in (self.input, self.gates, self.output):
            nn.init.normal_(layer.weight, std=1 / math.sqrt(size))
        nn.init.zeros_(self.gates.bias)

    def initial_state(self, batch: int) -> State:
        zeros = self.shift.new_zeros(batch, self.size)
        return {"h": zeros, "u": zeros.clone()}

    def scan(self, x_BTD: Tensor, state: State, valid_BT: Tensor) -> tuple[Tensor, State]:
        length_B = valid_BT.sum(1)
        # time first from here on: the scan walks over contiguous memory
        u_TBD, gate_TBD = self.input(x_BTD.transpose(0, 1).contiguous()).chunk(2, dim=-1)
        before_TBD = torch.cat([state["u"].to(u_TBD.dtype).unsqueeze(0), u_TBD[:-1]])
        a_TBD, b_TBD = self._recurrence(u_TBD, before_TBD)
        if not bool((length_B == len(u_TBD)).all()):
            valid_TB1 = valid_BT.t().unsqueeze(-1)
            a_TBD = torch.where(valid_TB1, a_TBD, 1.0)
            b_TBD = torch.where(valid_TB1, b_TBD, 0.0)
        h_TBD = scan(a_TBD, b_TBD, state["h"])
        out_TBD = self.output(h_TBD * silu(gate_TBD))
        last_u = torch.cat([state["u"].to(u_TBD.dtype).unsqueeze(0), u_TBD])[
            length_B, torch.arange(len(length_B))
        ]
        return out_TBD.transpose(0, 1), {"h": h_TBD[-1], "u": last_u.to(state["u"].dtype)}

    def step(self, x_BD: Tensor, state: State) -> tuple[Tensor, State]:
        u_BD, gate_BD = self.input(x_BD).chunk(2, dim=-1)
        a_BD, b_BD = self._recurrence(u_BD, state["u"])
        h_BD = a_BD * state["h"] + b_BD
        return self.output(h_BD * silu(gate_BD)), {"h": h_BD, "u": u_BD}

    def _recurrence(self, u: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
        """a and b of h = a h + b, for any leading shape; always in float32 or wider."""
        v = self.shift[0] * u + self.shift[1] * before
        gates = linear(v, self.gates.weight, self.gates.bias)
        r, i = torch.sigmoid(gates.to(self.decay.dtype)).chunk(2, dim=-1)
        log_a = -self.SCALE * softplus(self.decay) * r
        # expm1 keeps 1 - a^2 exact where a is near 1; the floor keeps the root's gradient finite
        b = torch.sqrt((-torch.expm1(2 * log_a)).clamp(min=1e-6)) * (i * v)
        return torch.exp(log_a), b
