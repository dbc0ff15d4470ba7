"""Gradients of single users by one backward pass, against one backward pass per user with the plain modules."""

import math
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from reprise.errors import ConfigError
from reprise.models.networks.cell_stack import Stack
from reprise.nn.blocks import GatedBranch, ResidualBlock
from reprise.nn.cells import GRU
from reprise.nn.linear_cells import LRU, RGLRU, LinearCell, MinGRU, MinLSTM
from reprise.training.private.per_user_gradients import clipped_sum, per_user_gradients

B, T, D, ITEMS = 6, 7, 8, 20
CELLS = [RGLRU, MinGRU, MinLSTM]


class Users:
    """A network of two residual blocks and the events of B users, of different lengths."""

    def __init__(self, cell: type[LinearCell] = RGLRU, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.module: nn.Module = Stack([ResidualBlock(GatedBranch(cell(D)), 0.0) for _ in range(2)])
        self.vector_ID = torch.randn(ITEMS, D)
        self.item_BT = torch.randint(ITEMS, (B, T + 1))
        self.length_B = torch.tensor([T, 1, 3, 5, 2, T])

    def loss_of(self, row_B: Tensor) -> Callable[[], Tensor]:
        """A function that returns the mean loss over the targets of each user."""

        def loss() -> Tensor:
            item_BT, target_BT = self.item_BT[row_B, :-1], self.item_BT[row_B, 1:]
            valid_BT = torch.arange(T) < self.length_B[row_B].unsqueeze(1)
            hidden_BTD = self.module(
                self.vector_ID[item_BT], self.module.initial_state(len(row_B)), valid_BT
            ).hidden_BTD
            score_BT = (hidden_BTD @ self.vector_ID.t()).log_softmax(-1)
            loss_BT = -score_BT.gather(-1, target_BT.unsqueeze(-1)).squeeze(-1)
            return (loss_BT * valid_BT).sum(1) / self.length_B[row_B]

        return loss

    def gradients(self) -> dict[str, Tensor]:
        return per_user_gradients(self.module, self.loss_of(torch.arange(B)), B)

    def clipped_sum(self, clip: float, rows: list[int] | None = None) -> dict[str, Tensor]:
        row_B = torch.tensor(list(range(B)) if rows is None else rows, dtype=torch.int64)
        return clipped_sum(self.module, self.loss_of(row_B), len(row_B), clip)

    def one_at_a_time(self) -> Iterator[dict[str, Tensor]]:
        """The gradient of each user by automatic differentiation of the plain modules."""
        for user in range(B):
            names, parameters = zip(*self.module.named_parameters(), strict=True)
            found = torch.autograd.grad(self.loss_of(torch.tensor([user]))().sum(), parameters)
            yield dict(zip(names, found, strict=True))


def norm_of(gradient: dict[str, Tensor]) -> float:
    return math.sqrt(sum(float(tensor.double().square().sum()) for tensor in gradient.values()))


@pytest.mark.parametrize("cell", CELLS)
def test_gradients_equal_one_user_at_a_time_and_differ_between_users(cell: type[LinearCell]) -> None:
    users = Users(cell)
    found = users.gradients()
    for user, expected in enumerate(users.one_at_a_time()):
        other = (user + 1) % B
        for name, gradient in expected.items():
            assert found[name].shape == (B, *gradient.shape)
            assert found[name][user].isfinite().all()
            assert found[name][user].any(), name
            torch.testing.assert_close(found[name][user], gradient, atol=1e-5, rtol=1e-5)
            # the control: the comparison would notice the gradient of another user
            assert (found[name][other] - gradient).abs().max() >= 1e-2, name


def test_a_parameter_that_no_loss_depends_on_has_a_gradient_of_zero() -> None:
    users = Users()
    users.module.add_module("unused", nn.Linear(D, D))
    assert not users.gradients()["unused.weight"].any()


def test_the_sum_without_a_bound_is_the_gradient_of_a_plain_batch() -> None:
    users = Users()
    users.loss_of(torch.arange(B))().sum().backward()
    found = users.clipped_sum(math.inf)
    for name, parameter in users.module.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(found[name], parameter.grad, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("clip", [1e-6, 0.37, 1.0, 50.0])
def test_the_gradient_of_each_user_is_shortened_to_the_bound_and_keeps_its_direction(clip: float) -> None:
    users = Users()
    total = {name: torch.zeros_like(tensor) for name, tensor in users.module.named_parameters()}
    for user, gradient in enumerate(users.one_at_a_time()):
        found = users.clipped_sum(clip, [user])
        norm = norm_of(gradient)
        assert norm_of(found) <= clip
        assert norm_of(found) == pytest.approx(min(norm, clip), rel=1e-4)
        for name, tensor in gradient.items():
            torch.testing.assert_close(found[name], tensor * min(1, clip / norm), atol=1e-5, rtol=1e-4)
            total[name] += found[name]
    everyone = users.clipped_sum(clip)
    for name, tensor in total.items():
        torch.testing.assert_close(everyone[name], tensor, atol=1e-5, rtol=1e-4)


def test_clipping_matters_for_these_users() -> None:
    norms = [norm_of(gradient) for gradient in Users().one_at_a_time()]
    assert 0.37 < min(norms) < max(norms) < 50


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e30])
def test_a_user_whose_gradient_is_not_finite_counts_as_zero(value: float) -> None:
    users = Users()
    expected = users.clipped_sum(1.0, [0, 1, 3, 4, 5])
    broken = users.loss_of(torch.arange(B))

    def loss() -> Tensor:
        return broken() * torch.where(torch.arange(B) == 2, value, 1.0)

    found = clipped_sum(users.module, loss, B, 1.0)
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, atol=1e-6, rtol=1e-5)


def test_nothing_is_left_in_the_parameters() -> None:
    users = Users()
    before = {name: tensor.clone() for name, tensor in users.module.named_parameters()}
    users.clipped_sum(1.0)
    for name, parameter in users.module.named_parameters():
        assert parameter.grad is None
        assert isinstance(parameter, nn.Parameter)
        assert torch.equal(parameter, before[name])


def test_without_users_the_sum_is_zero_and_the_loss_is_not_computed() -> None:
    users = Users()
    found = clipped_sum(users.module, lambda: pytest.fail("no users"), 0, 1.0)
    assert [tensor.shape for tensor in found.values()] == [
        tensor.shape for tensor in users.module.parameters()
    ]
    assert not any(tensor.any() for tensor in found.values())


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (GRU(D), r"'weight_ih_l0' of GRU \(layer\).*RGLRU"),
        (ResidualBlock(GatedBranch(LRU(D)), 0.0), r"'nu' of LRU \(cell.cell\)"),
        (nn.LayerNorm(D), r"'weight' of LayerNorm \(the module itself\)"),
    ],
)
def test_other_kinds_of_modules_are_refused_by_name(module: nn.Module, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        clipped_sum(module, lambda: torch.zeros(B), B, 1.0)
