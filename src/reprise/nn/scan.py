"""The elementwise linear recurrence h_t = a_t h_{t-1} + b_t, and its gradient by hand.

Shape letters: B rows, T steps, D width. A loop over T with in-place products is many times faster on a CPU than
autograd's doubling or a scan in log space, and a reset (a = 0) is exact, not a NaN.
"""

from typing import Any

import torch
from torch import Tensor


class _Scan(torch.autograd.Function):
    """Time-major inside: each step then reads and writes one contiguous block."""

    @staticmethod
    def forward(ctx: Any, a_TBD: Tensor, b_TBD: Tensor, h0_BD: Tensor) -> Tensor:
        h_TBD = torch.empty_like(b_TBD)
        before = h0_BD
        for a, b, h in zip(a_TBD.unbind(0), b_TBD.unbind(0), h_TBD.unbind(0), strict=True):
            torch.addcmul(b, a, before, out=h)
            before = h
        ctx.save_for_backward(a_TBD, h_TBD, h0_BD)
        return h_TBD

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        # dL/db_t = g_t + a_{t+1} dL/db_{t+1}: the same recurrence, from the end
        a_TBD, h_TBD, h0_BD = ctx.saved_tensors
        grad_b_TBD = grads[0].clone(memory_format=torch.contiguous_format)
        a, grad_b = a_TBD.unbind(0), grad_b_TBD.unbind(0)
        for t in range(len(a) - 2, -1, -1):
            grad_b[t].addcmul_(a[t + 1], grad_b[t + 1])
        grad_a_TBD = torch.empty_like(grad_b_TBD)
        torch.mul(grad_b_TBD[1:], h_TBD[:-1], out=grad_a_TBD[1:])
        torch.mul(grad_b_TBD[0], h0_BD, out=grad_a_TBD[0])
        return grad_a_TBD, grad_b_TBD, grad_b_TBD[0] * a_TBD[0]


def scan(a_TBD: Tensor, b_TBD: Tensor, h0_BD: Tensor) -> Tensor:
    """All states of h_t = a_t * h_{t-1} + b_t, for t = 0..T-1 with h_{-1} = `h0_BD`.

    Time comes first: the loop then walks over contiguous memory. Where a = 1 and b = 0 the state is kept
    (padding), where a = 0 it is forgotten (a reset). All three are of one floating type, T is at least 1.
    """
    h_TBD: Tensor = _Scan.apply(a_TBD.contiguous(), b_TBD.contiguous(), h0_BD.contiguous())  # type: ignore[no-untyped-call]
    return h_TBD
