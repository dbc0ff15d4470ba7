import copy

import pytest
import torch
from torch import nn

from reprise.models.networks.item_embeddings import ItemEmbeddings
from reprise.models.networks.recurrent import Recurrent
from reprise.testing import worlds
from reprise.training.optimizer import Optimizer, learning_rate
from reprise.training.recipe import TrainingConfig


def test_the_rate_rises_then_falls_as_half_a_cosine() -> None:
    rates = [learning_rate(1.0, 0.1, step, 100) for step in range(100)]
    assert rates[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert rates[55] == pytest.approx(0.5)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[-1] < 0.01


def test_one_step_is_enough_of_a_schedule() -> None:
    assert learning_rate(1.0, 0.02, 0, 1) == 1.0


def test_only_matrices_decay() -> None:
    model = Recurrent(size=8, layers=1).build(worlds.cycle().sizes)
    (adamw,) = Optimizer(model, TrainingConfig(weight_decay=0.5)).parts
    matrices, vectors = adamw.param_groups
    assert matrices["weight_decay"] == 0.5
    assert vectors["weight_decay"] == 0.0
    assert all(parameter.dim() >= 2 for parameter in matrices["params"])
    assert all(parameter.dim() < 2 for parameter in vectors["params"])
    together = len(matrices["params"]) + len(vectors["params"])
    assert together == len(list(model.parameters()))


def test_the_optimizer_lowers_a_loss() -> None:
    torch.manual_seed(0)
    weight = torch.nn.Linear(3, 1)
    optimizer = Optimizer(weight, TrainingConfig())
    x = torch.ones(4, 3)
    before = weight(x).square().mean().item()
    for _ in range(50):
        optimizer.zero_grad()
        weight(x).square().mean().backward()
        optimizer.step(0.1)
    assert weight(x).square().mean().item() < before / 10


class TwoTables(nn.Module):
    """An item table, sparse or not, and something dense."""

    def __init__(self, sparse: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.items = ItemEmbeddings(20, 4, sparse=sparse)
        self.dense = nn.Linear(4, 3)

    def learn(self, item: torch.Tensor) -> None:
        self.dense(self.items(item)).square().sum().backward()
        # a second look-up of the same rows
        self.items(item[:2]).exp().sum().backward()


def test_the_norm_of_sparse_and_dense_gradients_together_is_clipped() -> None:
    """As with a dense table: rows that were looked up twice count once, with their sum."""
    models = [TwoTables(sparse) for sparse in (False, True)]
    norms, found = [], []
    for model in models:
        optimizer = Optimizer(model, TrainingConfig())
        model.learn(torch.tensor([3, 5, 3, 9]))
        norms.append(optimizer.clip(0.5))
        found.append([parameter.grad.to_dense() for parameter in model.parameters()])
    torch.testing.assert_close(norms[1], norms[0])
    assert norms[0] > 0.5
    for dense, sparse in zip(*found, strict=True):
        torch.testing.assert_close(sparse, dense)
    together = torch.cat([grad.flatten() for grad in found[1]])
    assert together.norm().item() == pytest.approx(0.5, rel=1e-4)


def test_a_small_gradient_is_not_clipped() -> None:
    model = TwoTables(sparse=True)
    optimizer = Optimizer(model, TrainingConfig())
    model.learn(torch.tensor([3]))
    before = model.items.weight.grad.to_dense()
    optimizer.clip(1e6)
    assert torch.equal(model.items.weight.grad.to_dense(), before)


def test_only_the_rows_of_a_step_change_in_a_sparse_table() -> None:
    """In their weights and in what the optimiser remembers of them."""
    model = TwoTables(sparse=True)
    optimizer = Optimizer(model, TrainingConfig())
    before = model.items.weight.detach().clone()
    for item in ([3, 5], [5, 9]):
        optimizer.zero_grad()
        model.learn(torch.tensor(item))
        optimizer.step(0.1)
    changed = (model.items.weight != before).any(1).nonzero().flatten().tolist()
    slots = optimizer.slots(model.items.weight)
    assert changed == [3, 5, 9]
    assert slots["exp_avg"].any(1).nonzero().flatten().tolist() == [3, 5, 9]


def test_adam_by_rows_is_adam_where_every_row_is_touched() -> None:
    tables = [ItemEmbeddings(6, 4, sparse=sparse) for sparse in (False, True)]
    tables[1].load_state_dict(tables[0].state_dict())
    for table in tables:
        optimizer = Optimizer(table, TrainingConfig(weight_decay=0.0))
        for _ in range(5):
            optimizer.zero_grad()
            table(torch.arange(1, 7)).exp().sum().backward()
            optimizer.step(0.1)
    torch.testing.assert_close(tables[1].weight, tables[0].weight)


@pytest.mark.parametrize("sparse", [False, True])
def test_what_is_remembered_can_be_put_back(sparse: bool) -> None:
    """Two steps, then a copy that was given the slots: the third step is the same to the bit."""
    model = TwoTables(sparse)
    optimizer = Optimizer(model, TrainingConfig())

    def step(model: TwoTables, optimizer: Optimizer) -> None:
        optimizer.zero_grad()
        model.learn(torch.tensor([1, 2, 7]))
        optimizer.step(0.1)

    assert optimizer.slots(model.items.weight) == {}
    for _ in range(2):
        step(model, optimizer)
    twin = copy.deepcopy(model)
    theirs = Optimizer(twin, TrainingConfig())
    for parameter, copied in zip(model.parameters(), twin.parameters(), strict=True):
        for slot, value in optimizer.slots(parameter).items():
            theirs.restore(copied, slot, value.clone())
    step(model, optimizer)
    step(twin, theirs)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, twin.get_parameter(name)), name
