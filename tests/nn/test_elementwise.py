"""Each function equals its plain formula, and its manual gradient equals the numerical one in float64."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize, rms_norm, silu

from reprise.nn.elementwise import RootMeanSquareNorm, gated, shift_and_gate, swiglu, unit_vectors

B, T, D = 2, 3, 4


def _shifted(both_BTE: Tensor, before_BD: Tensor, now_D: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
    u_BTD, gate_BTD = both_BTE.chunk(2, dim=-1)
    previous_BTD = torch.cat([before_BD.unsqueeze(1), u_BTD[:, :-1]], dim=1)
    return now_D * u_BTD + last * previous_BTD, gate_BTD


def _normed(x: Tensor, weight: Tensor) -> Tensor:
    norm = RootMeanSquareNorm(D).double()
    return torch.func.functional_call(norm, {"weight": weight}, (x,))


Outputs = Tensor | tuple[Tensor, ...]
CASES: dict[str, tuple[Callable[..., Outputs], Callable[..., Outputs], list[tuple[int, ...]]]] = {
    "RMS normalisation": (_normed, lambda x, w: rms_norm(x, (D,), w), [(B, T, D), (D,)]),
    "unit vectors": (unit_vectors, lambda x: normalize(x, dim=-1), [(B, T, D)]),
    "SwiGLU": (swiglu, lambda x: silu(x[..., :D]) * x[..., D:], [(B, T, 2 * D)]),
    "gate": (gated, lambda h, g: h * silu(g), [(B, T, D), (B, T, D)]),
    "shift": (shift_and_gate, _shifted, [(B, T, 2 * D), (B, D), (D,), (D,)]),
    "shift with decay": (shift_and_gate, _shifted, [(B, T, 2 * D), (B, D), (D,), (B, T, D)]),
    "shift of one step": (shift_and_gate, _shifted, [(B, 1, 2 * D), (B, D), (D,), (D,)]),
    "shift with factors of each row": (
        shift_and_gate,
        _shifted,
        [(B, T, 2 * D), (B, D), (B, 1, D), (B, 1, D)],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_gradient_equals_that_of_the_plain_formula(case: str) -> None:
    fused, plain, shapes = CASES[case]
    torch.manual_seed(0)
    inputs = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    assert torch.autograd.gradcheck(fused, inputs)
    # a layer that reads steps first returns rows whose numbers are not in the order of memory
    first, *others = inputs
    turned = first.detach().transpose(0, 1).contiguous().transpose(0, 1).requires_grad_()
    assert torch.autograd.gradcheck(fused, (turned, *others))
    torch.testing.assert_close(fused(*inputs), plain(*inputs))
    gradients = [
        torch.autograd.grad([tensor.square().sum() for tensor in _tuple(function(*inputs))], inputs)
        for function in (fused, plain)
    ]
    torch.testing.assert_close(gradients[0], gradients[1])


def test_normalisation_accepts_weights_of_each_row() -> None:
    torch.manual_seed(3)
    x = torch.randn(B, T, D, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(B, 1, D, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(_normed, (x, weight))
    torch.testing.assert_close(_normed(x, weight), rms_norm(x, (D,)) * weight)


@pytest.mark.parametrize("case", CASES)
def test_values_are_the_same_with_and_without_gradients(case: str) -> None:
    fused, _, shapes = CASES[case]
    torch.manual_seed(1)
    inputs = [torch.randn(shape) for shape in shapes]
    with torch.no_grad():
        expected = fused(*inputs)
    torch.testing.assert_close(fused(*inputs), expected)


def test_functions_accept_products_in_bfloat16() -> None:
    """The type of each gradient is that of its input, and the values differ by the rounding of bfloat16 only."""
    torch.manual_seed(2)
    both = torch.randn(B, T, 2 * D).bfloat16().requires_grad_()
    hidden = torch.randn(B, T, D, requires_grad=True)
    shifted, gate = shift_and_gate(both, torch.zeros(B, D), torch.ones(D), torch.ones(D))
    out = gated(hidden + shifted, gate) + swiglu(both)
    assert (shifted.dtype, out.dtype) == (torch.float32, torch.bfloat16)
    exact = both.detach().float().requires_grad_()
    v, gate = _shifted(exact, torch.zeros(B, D), torch.ones(D), torch.ones(D))
    value = (hidden + v) * silu(gate) + silu(exact[..., :D]) * exact[..., D:]
    torch.testing.assert_close(out.float(), value, atol=0.05, rtol=0.05)
    gradients = torch.autograd.grad(out.float().sum(), (both, hidden))
    expected = torch.autograd.grad(value.sum(), (exact, hidden))
    for gradient, other in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient.float(), other, atol=0.05, rtol=0.05)


def test_a_zero_vector_has_no_direction() -> None:
    x = torch.zeros(1, D, requires_grad=True)
    assert torch.equal(unit_vectors(x), torch.zeros(1, D))
    unit_vectors(x).sum().backward()
    assert x.grad is not None and bool(torch.isfinite(x.grad).all())


def _tuple(outputs: Outputs) -> tuple[Tensor, ...]:
    return outputs if isinstance(outputs, tuple) else (outputs,)
