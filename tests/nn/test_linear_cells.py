import math

import torch
from torch.nn.functional import silu, softplus

from reprise.nn.linear_cells import RGLRU


def test_one_step_by_hand() -> None:
    """Width 1, every weight 1, gate biases 0, from h = 2 and u = 0: the equations with numbers put in."""
    cell = RGLRU(1)
    with torch.no_grad():
        for parameter in (cell.input.weight, cell.gates.weight, cell.output.weight):
            parameter.fill_(1.0)
        cell.decay.fill_(0.0)
    state = {"h": torch.tensor([[2.0]]), "u": torch.tensor([[0.0]])}
    hidden, after = cell.step(torch.tensor([[0.5]]), state)
    gate = 1 / (1 + math.exp(-0.5))
    a = math.exp(-0.8 * math.log(2) * gate)
    h = a * 2.0 + math.sqrt(1 - a * a) * gate * 0.5
    torch.testing.assert_close(after["h"], torch.tensor([[h]]))
    torch.testing.assert_close(hidden, h * silu(torch.tensor([[0.5]])))
    assert after["u"].item() == 0.5


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
