import math

import pytest
import torch
from torch.nn.functional import softplus

from reprise.nn.linear_cells import RGLRU, LinearCell, MinGRU, MinLSTM, decay_and_input


def test_one_step_by_hand() -> None:
    """Width 1, every weight 1, gate biases and L 0, from h = 2: the equations with numbers put in."""
    cell = RGLRU(1)
    with torch.no_grad():
        cell.gates.weight.fill_(1.0)
        cell.decay.fill_(0.0)
    hidden, after = cell.step(torch.tensor([[0.5]]), {"h": torch.tensor([[2.0]])})
    gate = 1 / (1 + math.exp(-0.5))
    a = math.exp(-0.8 * math.log(2) * gate)
    torch.testing.assert_close(hidden, torch.tensor([[a * 2.0 + math.sqrt(1 - a * a) * gate * 0.5]]))
    assert torch.equal(after["h"], hidden)


def test_memory_spans_are_spread_at_the_start() -> None:
    """With gates half open, half-lives run from below one event to about sixty."""
    cell = RGLRU(64)
    half_life = math.log(2) / (cell.SCALE * softplus(cell.decay.detach()) * 0.5)
    assert half_life.min() < 1 < 60 < half_life.max()


def test_state_stays_bounded() -> None:
    """sqrt(1 - a^2) keeps the state's scale whatever the gates: ten thousand events do not blow it up."""
    cell = RGLRU(8).eval()
    torch.manual_seed(0)
    state = cell.initial_state(1)
    with torch.no_grad():
        for _ in range(200):
            _, state = cell.scan(torch.randn(1, 50, 8), state, torch.ones(1, 50, dtype=torch.bool))
    assert state["h"].abs().max() < 50


def test_gradient_of_the_gates_by_hand_is_autograds() -> None:
    generator = torch.Generator().manual_seed(0)
    gates, v, rate = (
        torch.rand(shape, generator=generator, dtype=torch.float64).requires_grad_()
        for shape in ((4, 2, 6), (4, 2, 3), (3,))
    )
    assert torch.autograd.gradcheck(decay_and_input, (gates, v, rate))


def test_with_and_without_gradients_the_gates_are_the_same() -> None:
    generator = torch.Generator().manual_seed(0)
    gates, v = torch.randn(5, 6, generator=generator), torch.randn(5, 3, generator=generator)
    learning = decay_and_input(gates, v, torch.ones(3))
    with torch.no_grad():
        serving = decay_and_input(gates, v, torch.ones(3))
    torch.testing.assert_close(learning, serving)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def with_weights(cell: LinearCell, weight: list[float], bias: list[float]) -> LinearCell:
    with torch.no_grad():
        cell.gates.weight.copy_(torch.tensor(weight).unsqueeze(1))
        cell.gates.bias.copy_(torch.tensor(bias))
    return cell


def test_one_step_of_mingru_by_hand() -> None:
    """z = sigmoid(2 x - 1), candidate 3 x + 0.5, with x = 0.5 from h = 2 and a decay of 0.25."""
    cell = with_weights(MinGRU(1), [2.0, 3.0], [-1.0, 0.5])
    hidden, _ = cell.step(torch.tensor([[0.5]]), {"h": torch.tensor([[2.0]])}, torch.tensor([[0.25]]))
    torch.testing.assert_close(hidden, torch.tensor([[0.5 * 0.25 * 2.0 + 0.5 * 2.0]]))


def test_one_step_of_minlstm_by_hand() -> None:
    """f = sigmoid(2 x), i = sigmoid(-x), candidate 3 x, with x = 0.5 from h = 2."""
    cell = with_weights(MinLSTM(1), [2.0, -1.0, 3.0], [0.0, 0.0, 0.0])
    hidden, _ = cell.step(torch.tensor([[0.5]]), {"h": torch.tensor([[2.0]])})
    f, i = sigmoid(1.0), sigmoid(-0.5)
    torch.testing.assert_close(hidden, torch.tensor([[f / (f + i) * 2.0 + i / (f + i) * 1.5]]))


def test_minlstm_with_both_gates_shut_is_finite() -> None:
    """f = i = exp(-200) is 0 in float32; their ratio is 1 all the same."""
    cell = with_weights(MinLSTM(1), [0.0, 0.0, 0.0], [-200.0, -200.0, 5.0])
    hidden, _ = cell.step(torch.tensor([[1.0]]), {"h": torch.tensor([[2.0]])})
    hidden.sum().backward()
    assert hidden.item() == 0.5 * 2.0 + 0.5 * 5.0
    assert torch.isfinite(cell.gates.bias.grad).all()


@pytest.mark.parametrize("make", [MinGRU, MinLSTM])
def test_half_lives_of_the_minimal_cells_are_spread_at_the_start(make: type[LinearCell]) -> None:
    a_D, _ = make(64).recurrence(torch.zeros(64))
    half_life = -math.log(2) / torch.log(a_D.detach())
    assert half_life.min() == pytest.approx(1)
    assert half_life.max() > 20


@pytest.mark.parametrize("make", [RGLRU, MinGRU, MinLSTM])
def test_the_input_is_normalised_without_keep(make: type[LinearCell]) -> None:
    """keep decays the state alone: from an empty state it changes nothing."""
    torch.manual_seed(0)
    cell, x_BD = make(5), torch.randn(2, 5)
    plain, _ = cell.step(x_BD, cell.initial_state(2))
    decayed, _ = cell.step(x_BD, cell.initial_state(2), torch.full((2, 1), 0.3))
    assert torch.equal(plain, decayed)


def test_gradients_reach_keep() -> None:
    """h_1 = a keep h_0 + b: the gradient of keep is a h_0."""
    torch.manual_seed(0)
    cell, x_BTD, h_BD = MinGRU(3), torch.randn(1, 1, 3), torch.randn(1, 3)
    keep_BTD = torch.full((1, 1, 3), 0.5, requires_grad=True)
    hidden, _ = cell.scan(x_BTD, {"h": h_BD}, torch.ones(1, 1, dtype=torch.bool), keep_BTD)
    hidden.sum().backward()
    torch.testing.assert_close(keep_BTD.grad, (cell.recurrence(x_BTD)[0] * h_BD).detach())


def test_the_input_of_a_slow_unit_is_exact() -> None:
    """Where a is near 1, 1 - a^2 is not taken from a rounded a: float32 equals float64 to its last digits."""
    gates = torch.linspace(-14.0, -2.0, 200, dtype=torch.float64)
    gates = torch.cat([gates, torch.full_like(gates, 30.0)])
    x, rate_D = torch.ones(200, dtype=torch.float64), torch.full((200,), 0.02, dtype=torch.float64)
    with torch.no_grad():
        _, exact = decay_and_input(gates, x, rate_D)
        _, single = decay_and_input(gates.float(), x.float(), rate_D.float())
    floor = exact > 1.01e-3
    assert floor.sum() > 50
    torch.testing.assert_close(single[floor].double(), exact[floor], rtol=2e-6, atol=0)


def test_with_and_without_gradients_it_is_the_same_function() -> None:
    gates, x, rate_D = torch.randn(50, 8) * 4, torch.randn(50, 4), torch.rand(4)
    learned = decay_and_input(gates, x, rate_D)
    with torch.no_grad():
        plain = decay_and_input(gates, x, rate_D)
    for one, other in zip(learned, plain, strict=True):
        torch.testing.assert_close(one, other, rtol=2e-6, atol=1e-7)
