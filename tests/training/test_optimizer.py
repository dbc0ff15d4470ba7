import pytest
import torch

from reprise.models.recurrent import Recurrent
from reprise.testing import worlds
from reprise.training.config import TrainingConfig
from reprise.training.optimizer import learning_rate, make_optimizer


def test_the_rate_rises_then_falls_as_half_a_cosine() -> None:
    config = TrainingConfig(learning_rate=1.0, warmup=0.1)
    rates = [learning_rate(config, step, 100) for step in range(100)]
    assert rates[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert rates[55] == pytest.approx(0.5)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[-1] < 0.01


def test_one_step_is_enough_of_a_schedule() -> None:
    assert learning_rate(TrainingConfig(learning_rate=1.0), 0, 1) == 1.0


def test_only_matrices_decay() -> None:
    model = Recurrent(size=8, layers=1).build(worlds.cycle().sizes)
    matrices, vectors = make_optimizer(model, TrainingConfig(weight_decay=0.5)).param_groups
    assert matrices["weight_decay"] == 0.5
    assert vectors["weight_decay"] == 0.0
    assert all(parameter.dim() >= 2 for parameter in matrices["params"])
    assert all(parameter.dim() < 2 for parameter in vectors["params"])
    together = len(matrices["params"]) + len(vectors["params"])
    assert together == len(list(model.parameters()))


def test_the_optimizer_lowers_a_loss() -> None:
    weight = torch.nn.Linear(3, 1)
    optimizer = make_optimizer(weight, TrainingConfig(learning_rate=0.1))
    x = torch.ones(4, 3)
    before = weight(x).square().mean().item()
    for _ in range(50):
        optimizer.zero_grad()
        weight(x).square().mean().backward()
        optimizer.step()
    assert weight(x).square().mean().item() < before / 10
