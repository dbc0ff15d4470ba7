"""What networks compute between matrix products, as few passes over memory: each function has a manual gradient.

Shape letters: B rows, T steps, D width. Automatic differentiation of the plain formulas would take two to three times as
many passes, and the products of a small network take less time than these. Without gradients, for evaluation and for the
export, the plain formulas are used; the tests compare the two.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, silu

SMALLEST_NORM = 1e-12
"""Lower bound of the norm that a vector is divided by, as in `torch.nn.functional.normalize`."""


class RootMeanSquareNorm(nn.RMSNorm):
    """RMS normalisation (Zhang and Sennrich 2019): w x / sqrt(mean(x^2) + epsilon).

    The weights may have an axis of rows, [B, 1, D], for the gradients of single users.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x [..., D]; the result has the same shape and the type of the weights."""
        if not torch.is_grad_enabled():
            return super().forward(x)
        epsilon = torch.finfo(self.weight.dtype).eps if self.eps is None else self.eps
        out: Tensor = _RMSNorm.apply(x, self.weight, epsilon)  # type: ignore[no-untyped-call]
        return out


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_D: Tensor, epsilon: float) -> Tensor:
        ctx.dtype = x.dtype
        x = x.to(weight_D.dtype)
        norm: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        inverse = norm.square_().div_(x.shape[-1]).add_(epsilon).rsqrt_()
        unit = x * inverse
        ctx.save_for_backward(unit, inverse, weight_D)
        return unit * weight_D

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        # y = w u with u = x / n and n^2 = mean(x^2) + epsilon, so dx = (w g - u mean(u w g)) / n
        unit, inverse, weight_D = ctx.saved_tensors
        size = unit.shape[-1]
        product = grads[0] * unit
        grad_weight_D = product.sum_to_size(weight_D.shape)
        if weight_D.dim() == 1:
            along = torch.mv(product.reshape(-1, size), weight_D).view(inverse.shape)
        else:
            along = product.mul_(weight_D).sum(-1, keepdim=True)
        mean = along.div_(-size)
        grad_x = (grads[0] * weight_D).addcmul_(unit, mean).mul_(inverse)
        return grad_x.to(ctx.dtype), grad_weight_D, None


def unit_vectors(x: Tensor) -> Tensor:
    """Return x / |x| for vectors x [..., D]; a zero vector stays zero."""
    if not torch.is_grad_enabled():
        return normalize(x, dim=-1)
    out: Tensor = _UnitVectors.apply(x)  # type: ignore[no-untyped-call]
    return out


class _UnitVectors(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        norm: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        inverse = norm.clamp_(min=SMALLEST_NORM).reciprocal_()
        unit = x * inverse
        ctx.save_for_backward(unit, inverse)
        return unit

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        # with u = x / |x|: dx = (g - u (u . g)) / |x|
        unit, inverse = ctx.saved_tensors
        product = grads[0] * unit
        along = product.sum(-1, keepdim=True)
        return torch.addcmul(grads[0], unit, along, value=-1, out=product).mul_(inverse)


def swiglu(both: Tensor) -> Tensor:
    """Return silu(g) v for the halves g and v of the last dimension, [..., 2 F] to [..., F] (Shazeer 2020)."""
    if not torch.is_grad_enabled():
        gate, value = both.chunk(2, dim=-1)
        return silu(gate) * value
    out: Tensor = _SwiGLU.apply(both)  # type: ignore[no-untyped-call]
    return out


class _SwiGLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, both: Tensor) -> Tensor:
        gate, value = both.chunk(2, dim=-1)
        active = silu(gate)
        ctx.save_for_backward(both, active)
        return active * value

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        both, active = ctx.saved_tensors
        gate, value = both.chunk(2, dim=-1)
        grad_both = torch.empty_like(both)
        grad_gate, grad_value = grad_both.chunk(2, dim=-1)
        torch.mul(grads[0], active, out=grad_value)
        _silu_gradient(grads[0] * value, gate, grad_gate)
        return grad_both


def gated(hidden: Tensor, gate: Tensor) -> Tensor:
    """Return hidden * silu(gate); both are [..., D], and the result has the type of `gate`."""
    if not torch.is_grad_enabled():
        return (hidden * silu(gate)).to(gate.dtype)
    out: Tensor = _Gated.apply(hidden, gate)  # type: ignore[no-untyped-call]
    return out


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, gate: Tensor) -> Tensor:
        active = silu(gate)
        ctx.save_for_backward(hidden, gate, active)
        return (hidden * active).to(gate.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        hidden, gate, active = ctx.saved_tensors
        grad = grads[0].to(hidden.dtype)
        grad_gate = torch.empty_like(gate, memory_format=torch.contiguous_format)
        _silu_gradient((grad * hidden).to(gate.dtype), gate, grad_gate)
        return grad * active, grad_gate


def _silu_gradient(grad: Tensor, gate: Tensor, out: Tensor) -> None:
    torch.ops.aten.silu_backward.grad_input(grad, gate, grad_input=out)


def shift_and_gate(both_BTE: Tensor, before_BD: Tensor, now_D: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
    """Return v_t = now u_t + last u_{t-1} and the gate, for the halves u and gate of the last dimension, E = 2 D.

    Args:
        both_BTE: The two halves.
        before_BD: u of the event before the chunk.
        now_D: Factor of the event, [D] or [B, 1, D].
        last: Factor of the event before it, [D], [B, 1, D] or [B, T, D].
    """
    v_BTD, gate_BTD = _ShiftAndGate.apply(both_BTE, before_BD, now_D, last)  # type: ignore[no-untyped-call]
    return v_BTD, gate_BTD


class _ShiftAndGate(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, both_BTE: Tensor, before_BD: Tensor, now_D: Tensor, last: Tensor
    ) -> tuple[Tensor, Tensor]:
        half_BTD, gate_BTD = both_BTE.chunk(2, dim=-1)
        u_BTD = half_BTD.to(now_D.dtype, memory_format=torch.contiguous_format)
        v_BTD = u_BTD * now_D
        first, rest = _first_and_rest(last)
        v_BTD[:, 1:].addcmul_(u_BTD[:, :-1], rest)
        v_BTD[:, 0].addcmul_(before_BD.to(now_D.dtype), first)
        ctx.save_for_backward(u_BTD, before_BD, now_D, last)
        ctx.dtype = both_BTE.dtype
        return v_BTD, gate_BTD

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, ...]:
        u_BTD, before_BD, now_D, last = ctx.saved_tensors
        grad_v_BTD, grad_gate_BTD = grads
        first, rest = _first_and_rest(last)
        grad_u_BTD = grad_v_BTD * now_D
        grad_u_BTD[:, :-1].addcmul_(grad_v_BTD[:, 1:], rest)
        grad_both_BTE = torch.cat([grad_u_BTD.to(ctx.dtype), grad_gate_BTD], dim=-1)
        grad_now_D = (grad_v_BTD * u_BTD).sum_to_size(now_D.shape)
        grad_last_BTD = torch.empty_like(grad_v_BTD)
        torch.mul(grad_v_BTD[:, 1:], u_BTD[:, :-1], out=grad_last_BTD[:, 1:])
        torch.mul(grad_v_BTD[:, 0], before_BD.to(now_D.dtype), out=grad_last_BTD[:, 0])
        grad_before_BD = (grad_v_BTD[:, 0] * first).to(before_BD.dtype)
        return grad_both_BTE, grad_before_BD, grad_now_D, grad_last_BTD.sum_to_size(last.shape)


def _first_and_rest(last: Tensor) -> tuple[Tensor, Tensor]:
    """Return the factor at the first step and at the others."""
    if last.dim() == 1:
        return last, last
    return last[:, 0], last if last.shape[1] == 1 else last[:, 1:]
