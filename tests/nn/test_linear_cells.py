import math

import torch
from torch.nn.functional import softplus

from reprise.nn.linear_cells import RGLRU, decay_and_input


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
