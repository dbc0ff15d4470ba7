import pytest
import torch

from reprise.errors import ConfigError
from reprise.nn.blocks import GatedBranch, ResidualBlock
from reprise.nn.cells import GRU, LSTM, RNN, Activation, Cell, state_at_end


@pytest.mark.parametrize(
    "cell", [RNN(4), RNN(4, "relu"), LSTM(4), GRU(4)], ids=lambda cell: type(cell).__name__
)
def test_steps_match_the_torch_layer(cell: Cell) -> None:
    """`step` with the weights of the torch layer gives the outputs of that layer."""
    generator = torch.Generator().manual_seed(3)
    x_BTD = torch.randn(2, 5, 4, generator=generator)
    expected, _ = cell.layer(x_BTD)
    state = cell.initial_state(2)
    for t in range(5):
        hidden, state = cell.step(x_BTD[:, t], state)
        torch.testing.assert_close(hidden, expected[:, t])


def test_lstm_state_has_hidden_and_cell_vectors() -> None:
    assert set(LSTM(3).initial_state(2)) == {"h", "c"}


@pytest.mark.parametrize(("activation", "hidden"), [("tanh", 0.7616), ("sigmoid", 0.7311), ("relu", 1.0)])
def test_one_elman_rnn_step_matches_the_equation(activation: Activation, hidden: float) -> None:
    """W_h = 2, W_x = -1, b = 0.5 + 0.5, from h = 1 with x = 2: f(2 - 2 + 1) = f(1)."""
    cell = RNN(1, activation)
    with torch.no_grad():
        for name, value in (
            ("weight_hh_l0", 2.0),
            ("weight_ih_l0", -1.0),
            ("bias_hh_l0", 0.5),
            ("bias_ih_l0", 0.5),
        ):
            cell.layer.get_parameter(name).fill_(value)
    state = {"h": torch.ones(1, 1)}
    stepped, _ = cell.step(torch.tensor([[2.0]]), state)
    scanned, _ = cell.scan(torch.tensor([[[2.0]]]), state, torch.ones(1, 1, dtype=torch.bool))
    torch.testing.assert_close(stepped, torch.tensor([[hidden]]), rtol=0, atol=1e-4)
    torch.testing.assert_close(scanned, torch.tensor([[[hidden]]]), rtol=0, atol=1e-4)


def test_sigmoid_rnn_scan_has_the_gradients_of_its_steps() -> None:
    torch.manual_seed(0)
    cell = RNN(3, "sigmoid").double()
    x_BTD = torch.randn(2, 5, 3, dtype=torch.float64)
    scanned, _ = cell.scan(x_BTD, cell.initial_state(2), torch.ones(2, 5, dtype=torch.bool))
    state, steps = cell.initial_state(2), []
    for x_BD in x_BTD.unbind(1):
        hidden_BD, state = cell.step(x_BD, state)
        steps.append(hidden_BD)
    ours = torch.autograd.grad(scanned.square().sum(), list(cell.parameters()))
    theirs = torch.autograd.grad(torch.stack(steps, 1).square().sum(), list(cell.parameters()))
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("cell", [RNN(4), LSTM(4), GRU(4), ResidualBlock(GRU(4), dropout=0.0)], ids=str)
def test_torch_cells_reject_a_decay_factor(cell: Cell) -> None:
    message = (
        r"the state of (RNN|LSTM|GRU) does not accept a decay factor; "
        r"use a linear cell \(rglru, lru, mingru, minlstm\), or omit the decay factor"
    )
    assert not cell.decays
    with pytest.raises(ConfigError, match=message):
        cell.step(torch.zeros(2, 4), cell.initial_state(2), torch.ones(2, 1))
    with pytest.raises(ConfigError, match=message):
        cell.scan(torch.zeros(2, 3, 4), cell.initial_state(2), torch.ones(2, 3).bool(), torch.ones(2, 3, 1))


class CellWithoutDecay(Cell):
    """A cell whose `scan` and `step` have no decay parameter."""

    def initial_state(self, batch):  # type: ignore[no-untyped-def]
        return {}

    def scan(self, x_BTD, state, valid_BT):  # type: ignore[no-untyped-def]
        return x_BTD, state

    def step(self, x_BD, state):  # type: ignore[no-untyped-def]
        return x_BD, state


def test_decay_parameter_is_optional_for_cells_without_decay() -> None:
    branch = GatedBranch(CellWithoutDecay(4))
    branch.step(torch.zeros(2, 4), branch.initial_state(2))
    with pytest.raises(ConfigError, match="the state of CellWithoutDecay does not accept a decay factor"):
        branch.step(torch.zeros(2, 4), branch.initial_state(2), torch.ones(2, 1))


def test_state_at_end_is_the_state_after_the_last_real_event() -> None:
    hidden_BTD = torch.arange(9.0).reshape(3, 3, 1)
    valid_BT = torch.tensor([[True, True, True], [True, False, False], [False, False, False]])
    last = state_at_end(hidden_BTD, torch.full((3, 1), -1.0), valid_BT)
    assert last.flatten().tolist() == [2.0, 3.0, -1.0]
