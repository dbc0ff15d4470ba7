import copy

import pytest
import torch
from torch import nn

from reprise.models.networks.item_embeddings import ItemEmbeddings
from reprise.models.networks.recurrent import Recurrent
from reprise.testing import worlds
from reprise.training.optimizer import Optimizer, learning_rate
from reprise.training.recipe import TrainingConfig


def test_the_learning_rate_warms_up_and_falls_as_a_half_cosine() -> None:
    rates = [learning_rate(1.0, 0.1, step, 100) for step in range(100)]
    assert rates[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert rates[55] == pytest.approx(0.5)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[-1] < 0.01


def test_a_schedule_of_one_step_has_the_peak_rate() -> None:
    assert learning_rate(1.0, 0.02, 0, 1) == 1.0


def test_weight_decay_applies_to_matrices_only() -> None:
    model = Recurrent(size=8, layers=1).build(worlds.cycle().sizes)
    (adamw,) = Optimizer(model, TrainingConfig(weight_decay=0.5)).parts
    matrices, vectors = adamw.param_groups
    assert matrices["weight_decay"] == 0.5
    assert vectors["weight_decay"] == 0.0
    assert all(parameter.dim() >= 2 for parameter in matrices["params"])
    assert all(parameter.dim() < 2 for parameter in vectors["params"])
    total = len(matrices["params"]) + len(vectors["params"])
    assert total == len(list(model.parameters()))


def test_steps_lower_a_loss() -> None:
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
    """An item table, sparse or dense, and a dense layer."""

    def __init__(self, sparse: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.items = ItemEmbeddings(20, 4, sparse=sparse)
        self.dense = nn.Linear(4, 3)

    def backward(self, item: torch.Tensor) -> None:
        self.dense(self.items(item)).square().sum().backward()
        # look the same rows up again
        self.items(item[:2]).exp().sum().backward()


def test_the_total_norm_of_sparse_and_dense_gradients_is_clipped() -> None:
    """A row that was looked up twice counts with the sum of its gradients, as in a dense table."""
    models = [TwoTables(sparse) for sparse in (False, True)]
    norms, found = [], []
    for model in models:
        optimizer = Optimizer(model, TrainingConfig())
        model.backward(torch.tensor([3, 5, 3, 9]))
        norms.append(optimizer.clip(0.5))
        found.append([parameter.grad.to_dense() for parameter in model.parameters()])
    torch.testing.assert_close(norms[1], norms[0])
    assert norms[0] > 0.5
    for dense, sparse in zip(*found, strict=True):
        torch.testing.assert_close(sparse, dense)
    clipped = torch.cat([grad.flatten() for grad in found[1]])
    assert clipped.norm().item() == pytest.approx(0.5, rel=1e-4)


def test_a_small_gradient_is_not_clipped() -> None:
    model = TwoTables(sparse=True)
    optimizer = Optimizer(model, TrainingConfig())
    model.backward(torch.tensor([3]))
    before = model.items.weight.grad.to_dense()
    optimizer.clip(1e6)
    assert torch.equal(model.items.weight.grad.to_dense(), before)


def test_a_sparse_step_changes_only_the_rows_of_its_batch() -> None:
    """Both the weights and the running averages of the optimiser."""
    model = TwoTables(sparse=True)
    optimizer = Optimizer(model, TrainingConfig())
    before = model.items.weight.detach().clone()
    for item in ([3, 5], [5, 9]):
        optimizer.zero_grad()
        model.backward(torch.tensor(item))
        optimizer.step(0.1)
    changed = (model.items.weight != before).any(1).nonzero().flatten().tolist()
    slots = optimizer.slots(model.items.weight)
    assert changed == [3, 5, 9]
    assert slots["exp_avg"].any(1).nonzero().flatten().tolist() == [3, 5, 9]


def test_sparse_adam_equals_adam_if_all_rows_have_gradients() -> None:
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
def test_the_optimizer_state_can_be_restored(sparse: bool) -> None:
    """After two steps, a copy with the restored state makes the same third step, bit for bit."""
    model = TwoTables(sparse)
    optimizer = Optimizer(model, TrainingConfig())

    def step(model: TwoTables, optimizer: Optimizer) -> None:
        optimizer.zero_grad()
        model.backward(torch.tensor([1, 2, 7]))
        optimizer.step(0.1)

    assert optimizer.slots(model.items.weight) == {}
    for _ in range(2):
        step(model, optimizer)
    copied_model = copy.deepcopy(model)
    copied_optimizer = Optimizer(copied_model, TrainingConfig())
    for parameter, copied in zip(model.parameters(), copied_model.parameters(), strict=True):
        for slot, value in optimizer.slots(parameter).items():
            copied_optimizer.restore(copied, slot, value.clone())
    step(model, optimizer)
    step(copied_model, copied_optimizer)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, copied_model.get_parameter(name)), name
