"""Linear recurrences: layers whose state moves by an elementwise product, so that a chunk is one scan.

Shape letters: B rows, T steps, D width. Such a cell mixes nothing across its D numbers but in its gates; in a residual
stack `blocks.GatedBranch` gives it the projections that its papers put around it.
"""

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from reprise.nn.cells import Cell, State, state_at_end
from reprise.nn.linear_scan import scan

FLOOR = 1e-6
"""Least 1 - a^2: it keeps the gradient of its root finite where a is 1."""


class LinearCell(Cell):
    """h_t = a_t h_{t-1} + b_t, where a and b come from the event alone; with `keep`, h_t = a_t keep_t h_{t-1} + b_t."""

    linear = True
    decays = True

    @abstractmethod
    def recurrence(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """a in [0, 1] and b, both of the shape of x: [..., D] with any leading shape; always in float32 or wider."""

    def initial_state(self, batch: int) -> State:
        return {"h": next(self.parameters()).new_zeros(batch, self.size)}

    def scan(
        self, x_BTD: Tensor, state: State, valid_BT: Tensor, keep_BTD: Tensor | None = None
    ) -> tuple[Tensor, State]:
        a_BTD, b_BTD = self.recurrence(x_BTD)
        h_BTD = scan(a_BTD if keep_BTD is None else a_BTD * keep_BTD, b_BTD, state["h"])
        return h_BTD, {"h": state_at_end(h_BTD, state["h"], valid_BT)}

    def step(self, x_BD: Tensor, state: State, keep_BD: Tensor | None = None) -> tuple[Tensor, State]:
        a_BD, b_BD = self.recurrence(x_BD)
        h_BD = (a_BD if keep_BD is None else a_BD * keep_BD) * state["h"] + b_BD
        return h_BD, {"h": h_BD}


class RGLRU(LinearCell):
    """The real-gated linear recurrent unit (De et al. 2024, "Griffin", equations 1 to 4).

    r, i = sigmoid(W x_t + b); a = exp(-c softplus(L) r); h_t = a h_{t-1} + sqrt(1 - a^2) (i x_t).
    """

    SCALE = 0.8
    """c. The paper's 8 with L near the other end; this pairs with the initial range of L below."""
    DECAY = (-4.0, 2.0)
    """Initial L from slow to fast: half-lives from about a hundred events to less than one."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.gates = nn.Linear(size, 2 * size)
        self.decay = nn.Parameter(torch.linspace(*self.DECAY, size))
        nn.init.normal_(self.gates.weight, std=size**-0.5)
        nn.init.zeros_(self.gates.bias)

    def recurrence(self, x: Tensor) -> tuple[Tensor, Tensor]:
        rate_D = self.SCALE * softplus(self.decay)
        return decay_and_input(self.gates(x).to(rate_D.dtype), x.to(rate_D.dtype), rate_D)


class MinGRU(LinearCell):
    """The minimal GRU (Feng et al. 2024, "Were RNNs all we needed?", section 3.1).

    z = sigmoid(W_z x_t + b_z); h_t = (1 - z) h_{t-1} + z (W x_t + b).
    """

    GATE = (-4.0, 0.0)
    """Initial b_z from slow to fast: half-lives from about forty events to one (as Tallec and Ollivier 2018 spread them)."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.gates = _projection(size, 2)
        with torch.no_grad():
            self.gates.bias[:size] = torch.linspace(*self.GATE, size)

    def recurrence(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z, candidate = self.gates(x).to(self.gates.weight.dtype).chunk(2, dim=-1)
        return torch.sigmoid(-z), torch.sigmoid(z) * candidate


class MinLSTM(LinearCell):
    """The minimal LSTM (Feng et al. 2024, section 3.2), its two gates normalised to sum to 1.

    f, i = sigmoid(W x_t + b); h_t = f / (f + i) h_{t-1} + i / (f + i) (W_h x_t + b_h).
    """

    GATE = (4.0, 0.0)
    """Initial b_f from slow to fast, b_i being its negative, so that half-lives are those of `MinGRU`."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.gates = _projection(size, 3)
        with torch.no_grad():
            self.gates.bias[:size] = torch.linspace(*self.GATE, size)
            self.gates.bias[size : 2 * size] = -self.gates.bias[:size]

    def recurrence(self, x: Tensor) -> tuple[Tensor, Tensor]:
        f, i, candidate = self.gates(x).to(self.gates.weight.dtype).chunk(3, dim=-1)
        # f' / (f' + i') = sigmoid(log f' - log i'): no 0 / 0 where both gates are shut
        odds = softplus(-i) - softplus(-f)
        return torch.sigmoid(odds), torch.sigmoid(-odds) * candidate


def _projection(size: int, gates: int) -> nn.Linear:
    """All gates side by side, for inputs of unit variance."""
    layer = nn.Linear(size, gates * size)
    nn.init.normal_(layer.weight, std=size**-0.5)
    nn.init.zeros_(layer.bias)
    return layer


def decay_and_input(gates: Tensor, x: Tensor, rate_D: Tensor) -> tuple[Tensor, Tensor]:
    """r, i = sigmoid(gates); a = exp(-rate r); b = sqrt(1 - a^2) i x. `gates` is [..., 2 D], `x` and both results [..., D].

    1 - a^2 is never taken from a: near a = 1 it would be mostly rounding, and two libraries whose exp differs in the last
    bit would come to other states.
    """
    if not torch.is_grad_enabled():
        # a plain function, so that an exported step consists of plain operators; ONNX has no expm1, but it has tanh
        r, i = torch.sigmoid(gates).chunk(2, dim=-1)
        t = torch.tanh(rate_D * r)
        return torch.exp(-rate_D * r), torch.sqrt((2 * t / (1 + t)).clamp(min=FLOOR)) * i * x
    a, b = _DecayAndInput.apply(gates, x, rate_D)  # type: ignore[no-untyped-call]
    return a, b


class _DecayAndInput(torch.autograd.Function):
    """By hand: a third of the passes over memory that autograd would make."""

    @staticmethod
    def forward(ctx: Any, gates: Tensor, x: Tensor, rate_D: Tensor) -> tuple[Tensor, Tensor]:
        r, i = torch.sigmoid(gates).chunk(2, dim=-1)
        exponent = rate_D * r
        root = (-2 * exponent).expm1_().neg_().clamp_(min=FLOOR).sqrt_()
        a = exponent.neg_().exp_()
        ctx.save_for_backward(r, i, a, root, x, rate_D)
        return a, (root * i).mul_(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        grad_a, grad_b = grads
        r, i, a, root, x, rate_D = ctx.saved_tensors
        grad_x = grad_b * root
        grad_i = grad_x * x
        grad_x *= i
        # d root / d a = -a / root, and b = root i x; the exponent's gradient is a times that of a
        exponent = (grad_b * i).mul_(x).mul_(a).div_(root).neg_().add_(grad_a).mul_(a)
        grad_rate_D = -(exponent * r).flatten(0, -2).sum(0)
        grad_gates = torch.cat(
            [exponent.mul_(-rate_D).mul_(r).mul_(1 - r), grad_i.mul_(i).mul_(1 - i)], dim=-1
        )
        return grad_gates, grad_x, grad_rate_D
