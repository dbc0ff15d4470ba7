import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from reprise.nn.lru import LRU, turning_scan


def as_complex(pair: Tensor) -> Tensor:
    return torch.complex(pair[..., ::2], pair[..., 1::2])


def inputs(rows: int, steps: int, size: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    a_BTE = torch.rand(rows, steps, size, generator=generator, dtype=torch.float64).repeat_interleave(
        2, dim=-1
    )
    angle_D = 7 * torch.rand(size, generator=generator, dtype=torch.float64)
    b_BTE = torch.randn(rows, steps, 2 * size, generator=generator, dtype=torch.float64)
    return a_BTE, angle_D, b_BTE, torch.randn(rows, 2 * size, generator=generator, dtype=torch.float64)


@given(st.integers(1, 12), st.integers(0, 4), st.integers(1, 5))
@settings(max_examples=40, deadline=None)
def test_the_turning_scan_is_the_complex_recurrence(steps: int, rows: int, size: int) -> None:
    a_BTE, angle_D, b_BTE, s_BE = inputs(rows, steps, size)
    states = as_complex(turning_scan(a_BTE, angle_D, b_BTE, s_BE))
    state = as_complex(s_BE)
    for t in range(steps):
        turn_D = torch.polar(torch.ones_like(angle_D), angle_D)
        state = a_BTE[:, t, ::2] * turn_D * state + as_complex(b_BTE[:, t])
        torch.testing.assert_close(states[:, t], state)


def test_its_gradient_is_right() -> None:
    a_BTE, angle_D, b_BTE, s_BE = inputs(2, 4, 3)
    a_BTD = a_BTE[..., ::2].clone()

    def scanned(a_BTD: Tensor, *others: Tensor) -> Tensor:
        return turning_scan(a_BTD.repeat_interleave(2, dim=-1), *others)

    tensors = tuple(tensor.requires_grad_() for tensor in (a_BTD, angle_D, b_BTE, s_BE))
    assert torch.autograd.gradcheck(scanned, tensors)


def test_a_reset_is_exact() -> None:
    """a = 0 leaves the input of that step, but for the rounding of a turn there and back."""
    a_BTE, angle_D, b_BTE, s_BE = inputs(2, 5, 3)
    a_BTE[:, 3] = 0.0
    states = turning_scan(a_BTE, angle_D, b_BTE, s_BE)
    torch.testing.assert_close(states[:, 3], b_BTE[:, 3])
    assert torch.equal(states[:, 3:], turning_scan(a_BTE, angle_D, b_BTE, 1e6 * s_BE)[:, 3:])


def test_a_long_chunk_turns_as_far_as_its_steps() -> None:
    """Over 5,000 events in float32 the chunk and the steps stay together, at a radius that forgets little."""
    torch.manual_seed(0)
    cell = LRU(4)
    with torch.no_grad():
        cell.nu.fill_(math.log(1e-4))
        x_BTD = torch.randn(1, 5000, 4)
        whole, _ = cell.scan(x_BTD, cell.initial_state(1), torch.ones(1, 5000, dtype=torch.bool))
        state = cell.initial_state(1)
        for x_BD in x_BTD.unbind(1):
            stepped, state = cell.step(x_BD, state)
    torch.testing.assert_close(stepped, whole[:, -1], rtol=0, atol=2e-3)


def test_one_step_by_hand() -> None:
    """Width 1, l = 0.5 i, B = 2 + i, C = 1 - 3 i, d = 0.25, from s = 1 + 2 i with x = 2, the state decaying by a half."""
    cell = LRU(1)
    with torch.no_grad():
        cell.nu.fill_(math.log(math.log(2)))
        cell.theta.fill_(math.log(math.pi / 2))
        cell.input.weight.copy_(torch.tensor([[2.0], [1.0]]))
        # Re(C s) = 1 re + 3 im
        cell.output.weight.copy_(torch.tensor([[1.0, 3.0]]))
        cell.skip.fill_(0.25)
    before = {"re": torch.tensor([[1.0]]), "im": torch.tensor([[2.0]])}
    hidden, after = cell.step(torch.tensor([[2.0]]), before, torch.tensor([[0.5]]))
    s = 0.5j * 0.5 * (1 + 2j) + math.sqrt(1 - 0.25) * (2 + 1j) * 2
    torch.testing.assert_close(after["re"], torch.tensor([[s.real]]))
    torch.testing.assert_close(after["im"], torch.tensor([[s.imag]]))
    torch.testing.assert_close(hidden, torch.tensor([[((1 - 3j) * s).real + 0.25 * 2]]))


def test_it_begins_on_its_ring() -> None:
    torch.manual_seed(0)
    cell = LRU(4000)
    radius_D = torch.exp(-cell.nu.detach().exp())
    inner, outer = cell.RING
    assert inner - 1e-6 < radius_D.min() < inner + 0.01
    assert outer - 0.01 < radius_D.max() < outer + 1e-6
    # uniform over the area: half of the numbers lie outside of the radius that halves it
    middle = math.sqrt((inner**2 + outer**2) / 2)
    assert abs((radius_D > middle).double().mean() - 0.5) < 0.05
    assert 0 < cell.theta.detach().exp().min() < cell.theta.detach().exp().max() <= cell.ANGLE + 1e-5


def test_the_state_keeps_the_scale_of_white_noise() -> None:
    """sqrt(1 - |l|^2) makes E|s|^2 = 1 for inputs of unit variance, whatever the radius."""
    torch.manual_seed(0)
    cell = LRU(64)
    with torch.no_grad():
        _, state = cell.scan(torch.randn(200, 400, 64), cell.initial_state(200), torch.ones(200, 400).bool())
    power_D = (state["re"].square() + state["im"].square()).mean(0)
    assert 0.8 < power_D.mean() < 1.2
