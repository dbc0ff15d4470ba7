import sys
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from reprise.nn.linear_scan import _has_kernel, scan


def loop_scan(a_BTD: Tensor, b_BTD: Tensor, h_BD: Tensor) -> Tensor:
    states = []
    for a, b in zip(a_BTD.unbind(1), b_BTD.unbind(1), strict=True):
        h_BD = a * h_BD + b
        states.append(h_BD)
    return torch.stack(states, 1)


def random_inputs(steps: int, rows: int, size: int, dtype: torch.dtype, seed: int = 0) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    a = torch.rand(rows, steps, size, generator=generator, dtype=dtype)
    b = torch.randn(rows, steps, size, generator=generator, dtype=dtype)
    h = torch.randn(rows, size, generator=generator, dtype=dtype)
    return a, b, h


@given(
    st.integers(1, 12), st.integers(0, 4), st.integers(1, 5), st.sampled_from([torch.float32, torch.float64])
)
@settings(max_examples=40, deadline=None)
def test_scan_matches_a_loop_over_steps(steps: int, rows: int, size: int, dtype: torch.dtype) -> None:
    a, b, h = random_inputs(steps, rows, size, dtype)
    torch.testing.assert_close(scan(a, b, h), loop_scan(a, b, h))


def test_manual_gradient_matches_numerical_gradient() -> None:
    inputs = [tensor.requires_grad_() for tensor in random_inputs(6, 2, 3, torch.float64)]
    assert torch.autograd.gradcheck(scan, inputs)


def test_resets_and_padding_are_exact() -> None:
    """With a = 0 the state is b; with a = 1 and b = 0 it is unchanged bit for bit."""
    a, b, h = random_inputs(5, 2, 3, torch.float32)
    a[:, 2], a[:, 3], b[:, 3] = 0.0, 1.0, 0.0
    states = scan(a, b, h)
    assert torch.equal(states[:, 2], b[:, 2])
    assert torch.equal(states[:, 3], states[:, 2])


def test_gradient_does_not_cross_a_reset() -> None:
    a, b, h = random_inputs(5, 2, 3, torch.float32)
    a[:, 2] = 0.0
    b.requires_grad_()
    scan(a, b, h)[:, -1].sum().backward()
    assert b.grad is not None
    assert torch.equal(b.grad[:, :2], torch.zeros_like(b.grad[:, :2]))
    assert b.grad[:, 2].abs().sum() > 0


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_extreme_values_stay_finite(scale: float) -> None:
    a, b, h = random_inputs(50, 2, 3, torch.float32)
    a[:, 10] = 0.0
    b = (b * scale).requires_grad_()
    a.requires_grad_()
    scan(a, b, h).sum().backward()
    assert b.grad is not None
    assert torch.isfinite(b.grad).all()
    assert a.grad is not None
    assert torch.isfinite(a.grad).all()


def test_scan_accepts_non_contiguous_inputs() -> None:
    """A transposed view gives the same result as a contiguous copy."""
    a, b, h = random_inputs(4, 3, 5, torch.float32)
    a_view = a.transpose(0, 1).contiguous().transpose(0, 1)
    torch.testing.assert_close(scan(a_view, b, h), scan(a, b, h), rtol=0, atol=0)


def test_a_cpu_and_a_device_without_triton_use_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """The devices have numbers that no machine has, because the answer is remembered."""
    kernels = SimpleNamespace(runs_on=lambda device: device.index == 101)
    monkeypatch.setitem(sys.modules, "reprise.nn.triton_scan", kernels)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert not _has_kernel(torch.device("cuda:100"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    assert _has_kernel(torch.device("cuda:101"))
    assert not _has_kernel(torch.device("cuda:102"))
    assert not _has_kernel(torch.device("cpu"))
