"""The elementwise linear recurrence h_t = a_t h_{t-1} + b_t, with a manual gradient.

Shape letters: B rows, T steps, D width.
"""

import importlib.util
from functools import cache
from typing import Any

import torch
from torch import Tensor


class _Scan(torch.autograd.Function):
    """Autograd function of the scan. Its backward pass runs the same recurrence from the last step to the first."""

    @staticmethod
    def forward(ctx: Any, a_BTD: Tensor, b_BTD: Tensor, h0_BD: Tensor) -> Tensor:
        # One in-place multiply-add per step. On a CPU this loop is many times faster than a parallel scan by
        # doubling in autograd or a scan in log space, and a reset (a = 0) is exact, where a logarithm would
        # give NaN.
        h_BTD = torch.empty_like(b_BTD)
        before_BD = h0_BD
        for a_BD, b_BD, h_BD in zip(a_BTD.unbind(1), b_BTD.unbind(1), h_BTD.unbind(1), strict=True):
            torch.addcmul(b_BD, a_BD, before_BD, out=h_BD)
            before_BD = h_BD
        ctx.save_for_backward(a_BTD, h_BTD, h0_BD)
        return h_BTD

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        # b_t reaches the loss through h_t and, times a_{t+1}, through h_{t+1}:
        # dL/db_t = g_t + a_{t+1} dL/db_{t+1}, the same recurrence from the end. Then dL/da_t = h_{t-1} dL/db_t.
        # Example: T = 2, a = (1/2, 1/2), g = (1, 1) gives dL/db = (1 + 1/2, 1).
        a_BTD, h_BTD, h0_BD = ctx.saved_tensors
        grad_b_BTD = grads[0].clone(memory_format=torch.contiguous_format)
        a, grad_b = a_BTD.unbind(1), grad_b_BTD.unbind(1)
        for t in range(len(a) - 2, -1, -1):
            grad_b[t].addcmul_(a[t + 1], grad_b[t + 1])
        grad_a_BTD = torch.empty_like(grad_b_BTD)
        torch.mul(grad_b_BTD[:, 1:], h_BTD[:, :-1], out=grad_a_BTD[:, 1:])
        torch.mul(grad_b[0], h0_BD, out=grad_a_BTD[:, 0])
        return grad_a_BTD, grad_b_BTD, grad_b[0] * a[0]


def _has_kernel(device: torch.device) -> bool:
    """Return whether the Triton kernels compute the scan on a device."""
    return device.type == "cuda" and _runs_triton(device)


@cache
def _runs_triton(device: torch.device) -> bool:
    if importlib.util.find_spec("triton") is None:
        return False
    from reprise.nn.triton_scan import runs_on

    return runs_on(device)


def scan(a_BTD: Tensor, b_BTD: Tensor, h0_BD: Tensor) -> Tensor:
    """Return all states of h_t = a_t * h_{t-1} + b_t for t = 0..T-1, with h_{-1} = `h0_BD`.

    At a step with a = 1 and b = 0 the state is unchanged (padding). At a step with a = 0 it is reset. All three inputs
    have the same floating type, and T is at least 1. On a CUDA device that runs Triton, a kernel computes the scan,
    with sums in float32 or wider; elsewhere a loop over steps, with sums in the type of the inputs.
    """
    if _has_kernel(b_BTD.device):
        from reprise.nn.triton_scan import triton_scan

        return triton_scan(a_BTD, b_BTD, h0_BD)
    h_BTD: Tensor = _Scan.apply(a_BTD, b_BTD.contiguous(), h0_BD)  # type: ignore[no-untyped-call]
    return h_BTD
