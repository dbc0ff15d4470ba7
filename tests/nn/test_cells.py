import pytest
import torch

from reprise.nn.cells import GRU, LSTM, RNN, Cell


@pytest.mark.parametrize("cell", [RNN(4), LSTM(4), GRU(4)], ids=lambda cell: type(cell).__name__)
def test_a_stepped_cell_is_torchs_layer(cell: Cell) -> None:
    """With the weights of torch's layer, our step gives torch's outputs: the equations are the published ones."""
    generator = torch.Generator().manual_seed(3)
    x_BTD = torch.randn(2, 5, 4, generator=generator)
    expected, _ = cell.layer(x_BTD)
    state = cell.initial_state(2)
    for t in range(5):
        hidden, state = cell.step(x_BTD[:, t], state)
        torch.testing.assert_close(hidden, expected[:, t])


def test_lstm_remembers_two_vectors() -> None:
    assert set(LSTM(3).initial_state(2)) == {"h", "c"}
