import pytest
import torch

from reprise.nn.dropout import LEVELS, Dropout, keep_mask


@pytest.mark.parametrize("rate", [0.1, 0.25, 0.5, 0.9])
def test_each_number_is_dropped_with_the_given_rate(rate: float) -> None:
    torch.manual_seed(0)
    out = Dropout(rate)(torch.ones(400, 1000))
    dropped = (out == 0).float()
    # the standard deviation of a mean of 400,000 is below 0.0008, and that of a column of 400 below 0.025
    assert abs(dropped.mean() - rate) < 0.004
    assert abs(dropped.mean(0) - rate).max() < 0.125
    torch.testing.assert_close(out[out != 0].unique(), torch.tensor([1 / (1 - rate)]), rtol=1e-4, atol=0.0)


def test_neighbouring_numbers_are_dropped_independently() -> None:
    torch.manual_seed(0)
    kept = (Dropout(0.5)(torch.ones(200_000)) != 0).float()
    for distance in range(1, 9):
        # four numbers share a random word; the standard deviation of a mean of 200,000 is 0.001
        assert abs((kept[distance:] * kept[:-distance]).mean() - 0.25) < 0.005


def test_the_scale_is_the_inverse_of_the_exact_probability() -> None:
    """A rate of 0.3 keeps round(0.7 * 65,536) = 45,875 of 65,536 levels."""
    mask, scale = keep_mask(torch.ones(3, 5), 0.3)
    assert mask.shape == (3, 5) and scale == LEVELS / 45_875


def test_a_seed_determines_the_mask() -> None:
    x = torch.randn(7, 5)
    outputs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        outputs.append(Dropout(0.4)(x))
    assert torch.equal(outputs[0], outputs[1]) and not torch.equal(outputs[0], outputs[2])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_added_branch_equals_the_sum_of_both_steps(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x = torch.randn(6, 5, requires_grad=True)
    branch = torch.randn(6, 5).to(dtype).requires_grad_()
    layer = Dropout(0.25)
    torch.manual_seed(3)
    out = layer.add(x, branch)
    torch.manual_seed(3)
    mask, scale = keep_mask(branch, 0.25)
    torch.testing.assert_close(out, x + (branch * mask).float() * scale)
    grad_x, grad_branch = torch.autograd.grad(out.sum(), (x, branch))
    assert torch.equal(grad_x, torch.ones(6, 5)) and grad_branch.dtype == dtype
    torch.testing.assert_close(grad_branch, (mask.float() * scale).to(dtype))


def test_evaluation_and_a_rate_of_zero_change_nothing() -> None:
    x = torch.randn(4, 3)
    assert Dropout(0.5).eval()(x) is x and Dropout(0.0)(x) is x
    assert torch.equal(Dropout(0.5).eval().add(x, x), 2 * x)
    assert Dropout(0.5)(torch.ones(0, 3)).shape == (0, 3)
