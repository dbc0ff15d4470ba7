import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

import reprise.training.optimizer as optimizer_module
import reprise.training.row_adam as row_adam_module
from reprise.errors import ConfigError
from reprise.models.items.item_embeddings import ItemEmbeddings
from reprise.models.networks.recurrent import Recurrent
from reprise.testing import worlds
from reprise.training.losses.full_softmax import FullSoftmax
from reprise.training.losses.loss import Loss
from reprise.training.losses.negatives import Negatives
from reprise.training.losses.sampled_losses import SampledSoftmax, Softmax
from reprise.training.optimizer import Optimizer, learning_rate
from reprise.training.recipe import TrainingConfig
from reprise.training.row_adam import decide_sparse


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
    """An item table, sparse or dense, and a dense layer, with their optimiser."""

    def __init__(self, sparse: bool, items: int = 20, weight_decay: float = 0.1) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.items = ItemEmbeddings(items, 4, sparse=sparse)
        self.dense = nn.Linear(4, 3)
        self.config = TrainingConfig(weight_decay=weight_decay)

    def backward(self, optimizer: Optimizer, item: list[int]) -> None:
        item_N = torch.tensor(item)
        with optimizer.reading(item_N):
            loss = self.dense(self.items(item_N)).square().sum()
            # look the same rows up again
            loss = loss + self.items(item_N[:2]).exp().sum()
        optimizer.zero_grad()
        loss.backward()

    def step(self, optimizer: Optimizer, item: list[int]) -> None:
        self.backward(optimizer, item)
        optimizer.step(0.01)


def gradients(model: TwoTables, optimizer: Optimizer) -> list[torch.Tensor]:
    tables = [table.grad_RD for table in optimizer.tables.values()]
    return [grad for grad in [*tables, *(p.grad for p in model.parameters())] if grad is not None]


def test_the_total_norm_of_sparse_and_dense_gradients_is_clipped() -> None:
    """A row that was looked up twice counts with the sum of its gradients, as in a dense table."""
    norms = []
    for sparse in (False, True):
        model = TwoTables(sparse)
        optimizer = Optimizer(model, model.config)
        model.backward(optimizer, [3, 5, 3, 9])
        norms.append(optimizer.clip(0.5))
        clipped = torch.cat([grad.flatten() for grad in gradients(model, optimizer)])
        assert clipped.norm().item() == pytest.approx(0.5, rel=1e-4)
    torch.testing.assert_close(norms[1], norms[0])
    assert norms[0] > 0.5


def test_a_small_gradient_is_not_clipped() -> None:
    model = TwoTables(sparse=True)
    optimizer = Optimizer(model, model.config)
    model.backward(optimizer, [3])
    before = [grad.clone() for grad in gradients(model, optimizer)]
    optimizer.clip(1e6)
    assert all(map(torch.equal, gradients(model, optimizer), before))


def test_a_sparse_step_writes_only_the_rows_of_its_batch() -> None:
    """Both the weights and the running averages of the optimiser."""
    model = TwoTables(sparse=True)
    optimizer = Optimizer(model, model.config)
    before = model.items.weight.detach().clone()
    for item in ([3, 5], [5, 9]):
        model.step(optimizer, item)
    changed = (model.items.weight != before).any(1).nonzero().flatten().tolist()
    slots = optimizer.slots(model.items.weight)
    assert changed == [3, 5, 9]
    assert slots["exp_avg"].any(1).nonzero().flatten().tolist() == [3, 5, 9]


def test_row_updates_equal_adamw_if_every_step_reads_all_rows() -> None:
    models = [TwoTables(sparse, items=6) for sparse in (False, True)]
    for model in models:
        optimizer = Optimizer(model, model.config)
        for _ in range(5):
            model.step(optimizer, [1, 2, 3, 4, 5, 6])
    for dense, sparse in zip(models[0].parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(sparse, dense)


def test_postponed_steps_equal_adamw_without_gradients() -> None:
    """After 300 noisy steps on all rows, 30 steps on one row: AdamW moves the others by their averages and their decay."""
    moved, averages = [], []
    for sparse in (False, True):
        torch.manual_seed(0)
        table = ItemEmbeddings(6, 4, sparse=sparse)
        optimizer = Optimizer(table, TrainingConfig(weight_decay=0.01))
        for step in range(330):
            item_N = torch.arange(1, 7) if step < 300 else torch.tensor([2])
            if step == 300:
                before = table.weight.detach().clone()
            with optimizer.reading(item_N):
                loss = (table(item_N) * torch.randn(len(item_N), 4)).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step(0.01)
        optimizer.settle()
        moved.append(table.weight.detach() - before)
        averages.append(optimizer.slots(table.weight))
    assert moved[0][1:].abs().amax(1).min() > 0.005
    torch.testing.assert_close(moved[1], moved[0], rtol=5e-3, atol=1e-5)
    for name in ("exp_avg", "exp_avg_sq"):
        torch.testing.assert_close(averages[1][name], averages[0][name], rtol=1e-4, atol=1e-9)


def test_postponed_steps_of_a_compact_state_decay_a_row() -> None:
    """Item 1 has a gradient in the first of five steps, and the same weight decay as item 2 in the others."""
    table = ItemEmbeddings(2, 4, sparse=True)
    optimizer = Optimizer(table, TrainingConfig(weight_decay=0.5, compact_optimizer=True))
    for step in range(5):
        if step == 1:
            after_first = table.weight.detach().clone()
        item_N = torch.tensor([2] if step else [1, 2])
        with optimizer.reading(item_N):
            loss = (table(item_N) * 2).sum()
        loss.backward()
        optimizer.step(0.1)
    optimizer.settle()
    torch.testing.assert_close(table.weight[1], after_first[1] * (1 - 0.1 * 0.5) ** 4)
    # the average of g^2 = 4: 0.02 of it after the first step, then 0.98 of that in each step
    square_I1 = optimizer.slots(table.weight)["exp_avg_sq"]
    torch.testing.assert_close(square_I1[1], torch.tensor([4 * 0.02 * 0.98**4]))
    torch.testing.assert_close(square_I1[2], torch.tensor([4 * (1 - 0.98**5)]))


def test_a_compact_step_divides_a_row_by_the_root_of_its_mean_squared_gradient() -> None:
    """The first step of AdamW moves each weight by lr g / |g|, the compact one by lr g / sqrt(mean of g^2)."""
    table = ItemEmbeddings(3, 4, sparse=True)
    optimizer = Optimizer(table, TrainingConfig(weight_decay=0.0, compact_optimizer=True))
    before = table.weight.detach().clone()
    with optimizer.reading(torch.tensor([2])):
        loss = (table(torch.tensor(2)) * torch.tensor([1.0, 1.0, 3.0, 5.0])).sum()
    loss.backward()
    optimizer.step(0.06)
    # the mean of 1, 1, 9 and 25 is 9
    torch.testing.assert_close(before[2] - table.weight[2], torch.tensor([0.02, 0.02, 0.06, 0.1]))
    assert torch.equal(table.weight[[0, 1, 3]], before[[0, 1, 3]])


def state_bytes(items: int, compact: bool | None) -> int:
    table = ItemEmbeddings(items, 8, sparse=True)
    slots = Optimizer(table, TrainingConfig(compact_optimizer=compact)).slots(table.weight)
    return sum(slot.nbytes for slot in slots.values())


def test_a_compact_state_has_8_bytes_per_item() -> None:
    """Its second moment and the number of its steps. The step of the table and its learning rate take 4 and 8 bytes more."""
    assert state_bytes(999, compact=True) == 1000 * (4 + 4) + 12
    assert state_bytes(999, compact=False) == 1000 * (8 * 8 + 4) + 12


def test_the_state_of_large_tables_is_compact_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimizer_module, "COMPACT_ITEMS", 100)
    assert state_bytes(100, compact=None) == state_bytes(100, compact=True)
    assert state_bytes(99, compact=None) == state_bytes(99, compact=False)


def test_a_run_goes_on_with_the_form_of_state_with_which_it_began() -> None:
    """A checkpoint from before the compact state existed has the two moments of each weight."""
    model = TwoTables(sparse=True)
    optimizer = Optimizer(model, model.config)
    model.step(optimizer, [1, 2, 7])
    later_model = copy.deepcopy(model)
    later = Optimizer(later_model, replace(model.config, compact_optimizer=True))
    for parameter, copied in zip(model.parameters(), later_model.parameters(), strict=True):
        for slot, value in optimizer.slots(parameter).items():
            later.restore(copied, slot, value.clone())
    for one, its_optimizer in ((model, optimizer), (later_model, later)):
        one.step(its_optimizer, [2, 7])
        its_optimizer.settle()
    assert torch.equal(later_model.items.weight, model.items.weight)
    assert not later.tables[later_model.items.weight].is_compact


def test_all_rows_are_settled_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """In blocks of 3 rows as in one block, also if no row of a block is due."""
    tables = []
    for rows in (100, 3):
        monkeypatch.setattr(row_adam_module, "SETTLED_ROWS", rows)
        model = TwoTables(sparse=True)
        optimizer = Optimizer(model, model.config)
        for item in ([1, 2, 7, 19], [3, 4, 5]):
            model.step(optimizer, item)
        optimizer.settle()
        optimizer.settle()
        tables.append(model.items.weight.detach())
    assert torch.equal(tables[1], tables[0])


def test_a_row_that_was_not_announced_cannot_be_read() -> None:
    model = TwoTables(sparse=True)
    optimizer = Optimizer(model, model.config)
    with optimizer.reading(torch.tensor([3, 5])), pytest.raises(IndexError):
        model.items(torch.tensor([4]))
    assert torch.equal(model.items(torch.tensor([4]))[0], model.items.weight[4])


def test_a_loss_that_reads_a_sparse_table_otherwise_is_an_error() -> None:
    model = TwoTables(sparse=True)
    optimizer = Optimizer(model, model.config)
    with optimizer.reading(torch.tensor([3])):
        loss = (model.items(torch.tensor([3])) @ model.items.scoring_ID().t()).sum()
    loss.backward()
    with pytest.raises(
        ConfigError, match=r"neither in the batch nor among its negatives; set model\.sparse to"
    ):
        optimizer.step(0.1)


@pytest.mark.parametrize(("sparse", "compact"), [(False, None), (True, False), (True, True)])
def test_the_optimizer_state_can_be_restored(sparse: bool, compact: bool | None) -> None:
    """After two steps, a copy with the restored state makes the same third step, bit for bit."""
    model = TwoTables(sparse)
    model.config = replace(model.config, compact_optimizer=compact)
    optimizer = Optimizer(model, model.config)
    for item in ([1, 2, 7], [2]):
        model.step(optimizer, item)
    copied_model = copy.deepcopy(model)
    copied_optimizer = Optimizer(copied_model, model.config)
    for parameter, copied in zip(model.parameters(), copied_model.parameters(), strict=True):
        for slot, value in optimizer.slots(parameter).items():
            copied_optimizer.restore(copied, slot, value.clone())
    for one, its_optimizer in ((model, optimizer), (copied_model, copied_optimizer)):
        one.step(its_optimizer, [1, 2, 7])
        its_optimizer.settle()
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, copied_model.get_parameter(name)), name


@pytest.mark.parametrize(
    ("loss", "items", "expected"),
    [
        (SampledSoftmax(Negatives(count=100)), 20_000, True),
        (SampledSoftmax(Negatives(count=100)), 6_000, False),
        (Softmax(negatives=Negatives(count=100), max_full_items=1000), 20_000, True),
        (Softmax(negatives=Negatives(count=100), max_full_items=30_000), 20_000, False),
        (FullSoftmax(), 20_000, False),
    ],
)
def test_tables_of_large_catalogues_are_sparse_by_default(loss: Loss, items: int, expected: bool) -> None:
    table = ItemEmbeddings(items, 4, sparse=None)
    decide_sparse(table, loss, events=100)
    assert table.sparse is expected
