"""Linear recurrences: layers whose state moves by an elementwise product, so that a chunk is one scan.

Shape letters: B rows, T steps, D width. Such a cell mixes nothing across its D numbers but in its gates; in a residual
stack `blocks.GatedBranch` gives it the projections that its papers put around it.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from reprise.nn.cells import Cell, State
from reprise.nn.scan import scan


class RGLRU(Cell):
    """The real-gated linear recurrent unit (De et al. 2024, "Griffin", equations 1 to 4).

    r, i = sigmoid(W x_t + b); a = exp(-c softplus(L) r); h_t = a h_{t-1} + sqrt(1 - a^2) (i x_t).
    """

    linear = True
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

    def initial_state(self, batch: int) -> State:
        return {"h": self.decay.new_zeros(batch, self.size)}

    def scan(self, x_BTD: Tensor, state: State, valid_BT: Tensor) -> tuple[Tensor, State]:
        a_BTD, b_BTD = self._recurrence(x_BTD)
        if not bool(valid_BT.all()):
            valid_BT1 = valid_BT.unsqueeze(-1)
            a_BTD = torch.where(valid_BT1, a_BTD, 1.0)
            b_BTD = torch.where(valid_BT1, b_BTD, 0.0)
        h_BTD = scan(a_BTD, b_BTD, state["h"])
        return h_BTD, {"h": h_BTD[:, -1]}

    def step(self, x_BD: Tensor, state: State) -> tuple[Tensor, State]:
        a_BD, b_BD = self._recurrence(x_BD)
        h_BD = a_BD * state["h"] + b_BD
        return h_BD, {"h": h_BD}

    def _recurrence(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """a and b of h = a h + b, for any leading shape; always in float32 or wider."""
        rate_D = self.SCALE * softplus(self.decay)
        return decay_and_input(self.gates(x).to(rate_D.dtype), x.to(rate_D.dtype), rate_D)


def decay_and_input(gates: Tensor, x: Tensor, rate_D: Tensor) -> tuple[Tensor, Tensor]:
    """r, i = sigmoid(gates); a = exp(-rate r); b = sqrt(1 - a^2) i x. `gates` is [..., 2 D], `x` and both results [..., D]."""
    if not torch.is_grad_enabled():
        # a plain function, so that an exported step consists of plain operators
        _, i, a, root = _gated(gates, rate_D)
        return a, root * i * x
    a, b = _DecayAndInput.apply(gates, x, rate_D)  # type: ignore[no-untyped-call]
    return a, b


def _gated(gates: Tensor, rate_D: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    r, i = torch.sigmoid(gates).chunk(2, dim=-1)
    a = torch.exp(-rate_D * r)
    # the floor keeps the gradient of the root finite where a is 1
    return r, i, a, torch.sqrt((1 - a * a).clamp(min=1e-6))


class _DecayAndInput(torch.autograd.Function):
    """By hand: a third of the passes over memory that autograd would make."""

    @staticmethod
    def forward(ctx: Any, gates: Tensor, x: Tensor, rate_D: Tensor) -> tuple[Tensor, Tensor]:
        r, i, a, root = _gated(gates, rate_D)
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
