import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import softplus

from reprise.nn.linear_cells import LRU, RGLRU, LinearCell, MinGRU, MinLSTM, complex_scan, decay_and_input


def test_one_rglru_step_matches_the_equations() -> None:
    """Width 1, every weight 1, gate biases and L 0, from h = 2."""
    cell = RGLRU(1)
    with torch.no_grad():
        cell.gates.weight.fill_(1.0)
        cell.decay.fill_(0.0)
    hidden, after = cell.step(torch.tensor([[0.5]]), {"h": torch.tensor([[2.0]])})
    gate = 1 / (1 + math.exp(-0.5))
    a = math.exp(-0.8 * math.log(2) * gate)
    torch.testing.assert_close(hidden, torch.tensor([[a * 2.0 + math.sqrt(1 - a * a) * gate * 0.5]]))
    assert torch.equal(after["h"], hidden)


def test_initial_half_lives_of_rglru_cover_a_wide_range() -> None:
    """With gates at 0.5, half-lives range from less than one event to about sixty."""
    cell = RGLRU(64)
    half_life = math.log(2) / (cell.SCALE * softplus(cell.decay.detach()) * 0.5)
    assert half_life.min() < 1 < 60 < half_life.max()


def test_rglru_state_stays_bounded() -> None:
    """sqrt(1 - a^2) normalises the input, so the state does not grow over ten thousand events."""
    cell = RGLRU(8).eval()
    torch.manual_seed(0)
    state = cell.initial_state(1)
    with torch.no_grad():
        for _ in range(200):
            _, state = cell.scan(torch.randn(1, 50, 8), state, torch.ones(1, 50, dtype=torch.bool))
    assert state["h"].abs().max() < 50


@pytest.mark.parametrize("rate_shape", [(3,), (4, 1, 3)], ids=["all rows", "each row"])
def test_manual_gate_gradient_matches_numerical_gradient(rate_shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    gates, v, rate = (
        torch.rand(shape, generator=generator, dtype=torch.float64).requires_grad_()
        for shape in ((4, 2, 6), (4, 2, 3), rate_shape)
    )
    assert torch.autograd.gradcheck(decay_and_input, (gates, v, rate))


def test_gates_are_equal_in_training_and_serving() -> None:
    generator = torch.Generator().manual_seed(0)
    gates, v = torch.randn(5, 6, generator=generator), torch.randn(5, 3, generator=generator)
    training = decay_and_input(gates, v, torch.ones(3))
    with torch.no_grad():
        serving = decay_and_input(gates, v, torch.ones(3))
    torch.testing.assert_close(training, serving)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def with_weights(cell: LinearCell, weight: list[float], bias: list[float]) -> LinearCell:
    with torch.no_grad():
        cell.gates.weight.copy_(torch.tensor(weight).unsqueeze(1))
        cell.gates.bias.copy_(torch.tensor(bias))
    return cell


def test_one_mingru_step_matches_the_equations() -> None:
    """z = sigmoid(2 x - 1), candidate 3 x + 0.5, with x = 0.5 from h = 2 and a decay of 0.25."""
    cell = with_weights(MinGRU(1), [2.0, 3.0], [-1.0, 0.5])
    hidden, _ = cell.step(torch.tensor([[0.5]]), {"h": torch.tensor([[2.0]])}, torch.tensor([[0.25]]))
    torch.testing.assert_close(hidden, torch.tensor([[0.5 * 0.25 * 2.0 + 0.5 * 2.0]]))


def test_one_minlstm_step_matches_the_equations() -> None:
    """f = sigmoid(2 x), i = sigmoid(-x), candidate 3 x, with x = 0.5 from h = 2."""
    cell = with_weights(MinLSTM(1), [2.0, -1.0, 3.0], [0.0, 0.0, 0.0])
    hidden, _ = cell.step(torch.tensor([[0.5]]), {"h": torch.tensor([[2.0]])})
    f, i = sigmoid(1.0), sigmoid(-0.5)
    torch.testing.assert_close(hidden, torch.tensor([[f / (f + i) * 2.0 + i / (f + i) * 1.5]]))


def test_minlstm_with_both_gates_closed_is_finite() -> None:
    """f = i = exp(-200) is 0 in float32, but f / (f + i) must still be 1 / 2."""
    cell = with_weights(MinLSTM(1), [0.0, 0.0, 0.0], [-200.0, -200.0, 5.0])
    hidden, _ = cell.step(torch.tensor([[1.0]]), {"h": torch.tensor([[2.0]])})
    hidden.sum().backward()
    assert hidden.item() == 0.5 * 2.0 + 0.5 * 5.0
    assert torch.isfinite(cell.gates.bias.grad).all()


@pytest.mark.parametrize("cell_class", [MinGRU, MinLSTM])
def test_initial_half_lives_of_the_minimal_cells_cover_a_wide_range(cell_class: type[LinearCell]) -> None:
    a_D, _ = cell_class(64).recurrence(torch.zeros(64))
    half_life = -math.log(2) / torch.log(a_D.detach())
    assert half_life.min() == pytest.approx(1)
    assert half_life.max() > 20


@pytest.mark.parametrize("cell_class", [RGLRU, MinGRU, MinLSTM])
def test_decay_factor_does_not_scale_the_input(cell_class: type[LinearCell]) -> None:
    """The factor multiplies the state only, so it has no effect on an empty state."""
    torch.manual_seed(0)
    cell, x_BD = cell_class(5), torch.randn(2, 5)
    plain, _ = cell.step(x_BD, cell.initial_state(2))
    decayed, _ = cell.step(x_BD, cell.initial_state(2), torch.full((2, 1), 0.3))
    assert torch.equal(plain, decayed)


def test_gradient_flows_to_the_decay_factor() -> None:
    """h_1 = a f h_0 + b, so the gradient of f is a h_0."""
    torch.manual_seed(0)
    cell, x_BTD, h_BD = MinGRU(3), torch.randn(1, 1, 3), torch.randn(1, 3)
    decay_BTD = torch.full((1, 1, 3), 0.5, requires_grad=True)
    hidden, _ = cell.scan(x_BTD, {"h": h_BD}, torch.ones(1, 1, dtype=torch.bool), decay_BTD)
    hidden.sum().backward()
    torch.testing.assert_close(decay_BTD.grad, (cell.recurrence(x_BTD)[0] * h_BD).detach())


def test_input_scale_is_accurate_when_a_is_near_one() -> None:
    """1 - a^2 is not computed from a rounded a, so float32 agrees with float64 to a relative 2e-6."""
    gates = torch.linspace(-14.0, -2.0, 200, dtype=torch.float64)
    gates = torch.cat([gates, torch.full_like(gates, 30.0)])
    x, rate_D = torch.ones(200, dtype=torch.float64), torch.full((200,), 0.02, dtype=torch.float64)
    with torch.no_grad():
        _, exact = decay_and_input(gates, x, rate_D)
        _, single = decay_and_input(gates.float(), x.float(), rate_D.float())
    above_epsilon = exact > 1.01e-3
    assert above_epsilon.sum() > 50
    torch.testing.assert_close(single[above_epsilon].double(), exact[above_epsilon], rtol=2e-6, atol=0)


def test_large_gates_are_equal_in_training_and_serving() -> None:
    gates, x, rate_D = torch.randn(50, 8) * 4, torch.randn(50, 4), torch.rand(4)
    training = decay_and_input(gates, x, rate_D)
    with torch.no_grad():
        serving = decay_and_input(gates, x, rate_D)
    for one, other in zip(training, serving, strict=True):
        torch.testing.assert_close(one, other, rtol=2e-6, atol=1e-7)


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
def test_complex_scan_matches_the_complex_recurrence(steps: int, rows: int, size: int) -> None:
    a_BTE, angle_D, b_BTE, s_BE = inputs(rows, steps, size)
    states = as_complex(complex_scan(a_BTE, angle_D, b_BTE, s_BE))
    state = as_complex(s_BE)
    for t in range(steps):
        turn_D = torch.polar(torch.ones_like(angle_D), angle_D)
        state = a_BTE[:, t, ::2] * turn_D * state + as_complex(b_BTE[:, t])
        torch.testing.assert_close(states[:, t], state)


def test_complex_scan_gradient_matches_numerical_gradient() -> None:
    a_BTE, angle_D, b_BTE, s_BE = inputs(2, 4, 3)
    a_BTD = a_BTE[..., ::2].clone()

    def scanned(a_BTD: Tensor, *others: Tensor) -> Tensor:
        return complex_scan(a_BTD.repeat_interleave(2, dim=-1), *others)

    tensors = tuple(tensor.requires_grad_() for tensor in (a_BTD, angle_D, b_BTE, s_BE))
    assert torch.autograd.gradcheck(scanned, tensors)


def test_complex_scan_resets_exactly_when_a_is_zero() -> None:
    """With a = 0 the state is the input of that step, up to the rounding of a rotation and its inverse."""
    a_BTE, angle_D, b_BTE, s_BE = inputs(2, 5, 3)
    a_BTE[:, 3] = 0.0
    states = complex_scan(a_BTE, angle_D, b_BTE, s_BE)
    torch.testing.assert_close(states[:, 3], b_BTE[:, 3])
    assert torch.equal(states[:, 3:], complex_scan(a_BTE, angle_D, b_BTE, 1e6 * s_BE)[:, 3:])


def test_lru_scan_and_steps_agree_over_a_long_chunk() -> None:
    """5,000 events in float32, with a radius near 1 so that rounding errors accumulate."""
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


def test_one_lru_step_matches_the_equations() -> None:
    """Width 1, l = 0.5 i, B = 2 + i, C = 1 - 3 i, d = 0.25, from s = 1 + 2 i with x = 2 and a decay factor of 1 / 2."""
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


def test_initial_lru_eigenvalues_are_uniform_on_the_ring() -> None:
    torch.manual_seed(0)
    cell = LRU(4000)
    radius_D = torch.exp(-cell.nu.detach().exp())
    inner, outer = cell.RADIUS_RANGE
    assert inner - 1e-6 < radius_D.min() < inner + 0.01
    assert outer - 0.01 < radius_D.max() < outer + 1e-6
    # uniform over the area: half of the numbers lie outside the radius that divides the area in two
    middle = math.sqrt((inner**2 + outer**2) / 2)
    assert abs((radius_D > middle).double().mean() - 0.5) < 0.05
    assert 0 < cell.theta.detach().exp().min() < cell.theta.detach().exp().max() <= cell.MAX_ANGLE + 1e-5


def test_lru_state_has_unit_power_for_white_noise() -> None:
    """sqrt(1 - |l|^2) makes E|s|^2 = 1 for inputs of unit variance at every radius."""
    torch.manual_seed(0)
    cell = LRU(64)
    with torch.no_grad():
        _, state = cell.scan(torch.randn(200, 400, 64), cell.initial_state(200), torch.ones(200, 400).bool())
    power_D = (state["re"].square() + state["im"].square()).mean(0)
    assert 0.8 < power_D.mean() < 1.2
