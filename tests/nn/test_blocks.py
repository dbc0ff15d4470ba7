import torch
from torch.nn.functional import silu

from reprise.nn.blocks import GatedBranch, GatedFeedForward, ResidualBlock
from reprise.nn.cells import GRU
from reprise.nn.linear_cells import RGLRU
from reprise.testing.contracts import check_cell


def test_gated_branch_and_residual_block_satisfy_the_cell_contract() -> None:
    torch.manual_seed(0)
    branch = GatedBranch(RGLRU(6))
    with torch.no_grad():
        branch.shift[1] = 0.5
    check_cell(branch, 6)
    check_cell(ResidualBlock(branch, dropout=0.3), 6)


def test_gated_branch_convolves_over_two_events() -> None:
    """With k_0 = 0 and k_1 = 1 the inner cell reads the previous event, and zeros at the first event."""
    torch.manual_seed(0)
    branch = GatedBranch(RGLRU(4))
    with torch.no_grad():
        branch.shift[0], branch.shift[1] = 0.0, 1.0
    first, state = branch.step(torch.randn(1, 4), branch.initial_state(1))
    assert torch.equal(first, torch.zeros(1, 4))
    second, _ = branch.step(torch.randn(1, 4), state)
    assert second.abs().sum() > 0


def test_feed_forward_layer_is_swiglu() -> None:
    layer = GatedFeedForward(4)
    x = torch.randn(3, 4)
    gate, value = (x @ layer.input.weight.t()).chunk(2, dim=-1)
    torch.testing.assert_close(layer(x), (silu(gate) * value) @ layer.output.weight.t())


def test_residual_block_with_zero_outputs_is_the_identity() -> None:
    """The residual connections pass the input through."""
    block = ResidualBlock(GRU(4), dropout=0.0)
    with torch.no_grad():
        for parameter in (*block.cell.parameters(), block.feed_forward.output.weight):
            parameter.zero_()
    x_BTD = torch.randn(2, 3, 4)
    out, _ = block.scan(x_BTD, block.initial_state(2), torch.ones(2, 3, dtype=torch.bool))
    torch.testing.assert_close(out, x_BTD)
