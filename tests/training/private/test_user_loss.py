import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from reprise.data.dataset import Sizes
from reprise.models.items.released_embeddings import ReleasedEmbeddings
from reprise.models.networks.linear_fold import LinearFold
from reprise.models.networks.sequence_model import SequenceModel
from reprise.training.private import user_loss
from reprise.training.private.secret_noise import SecretNoise
from reprise.training.private.user_events import UserEvents
from reprise.training.private.user_loss import UserLoss

KEPT = np.array([0, 2, 3])
"""Positions of the items 1, 3 and 4, which have vectors."""


def network() -> SequenceModel:
    torch.manual_seed(0)
    model = LinearFold(size=4, layers=1).build(Sizes(items=5))
    assert isinstance(model.items, ReleasedEmbeddings)
    with torch.no_grad():
        model.items.weight[KEPT + 1] = torch.randn(3, 4)
        model.items.output[KEPT + 1] = torch.randn(3, 5)
        for parameter in model.encoder.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return model


def loss_of(*histories: list[int]) -> UserLoss:
    start = np.concatenate([[0], np.cumsum([len(history) for history in histories])])
    items = np.array([item for history in histories for item in history], dtype=np.int64)
    return UserLoss(network(), UserEvents(start, items), KEPT, SecretNoise(bytes(32)))


@torch.no_grad()
def expected(history: list[int]) -> float:
    """Compute the mean cross-entropy of all targets with a vector, one event after the other."""
    model = network()
    columns = {int(place) + 1: column for column, place in enumerate(KEPT)}
    losses, state = [], model.encoder.initial_state(1)
    for item, target in pairwise(history):
        hidden_BD, state = model.encoder.step(2.0 * model.items(torch.tensor([item])), state)
        query_BD = model.head(hidden_BD, torch.tensor([math.nan]), torch.tensor([math.nan]))
        logits_K = (query_BD @ model.item_vectors()[KEPT].t())[0]
        if target in columns:
            losses.append(float(logits_K.logsumexp(0) - logits_K[columns[target]]))
    return sum(losses) / len(losses) if losses else 0.0


HISTORIES = ([1, 3, 2, 4, 1], [3, 1], [4, 4, 4, 1, 5, 3, 3], [2, 5, 2], [3], [])


def test_the_loss_of_a_user_is_the_mean_over_its_targets() -> None:
    found_B = loss_of(*HISTORIES)(torch.arange(6), 0)
    assert found_B.tolist() == pytest.approx([expected(list(history)) for history in HISTORIES], rel=1e-4)


def test_the_loss_does_not_depend_on_other_users() -> None:
    loss = loss_of(*HISTORIES)
    together_B = loss(torch.tensor([0, 2]), 0)
    assert together_B.tolist() == pytest.approx(
        [loss(torch.tensor([row]), 0).item() for row in (0, 2)], rel=1e-5
    )


def test_targets_of_long_histories_are_drawn_for_each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_loss, "TARGETS", 2)
    loss = loss_of([1, 3, 4, 4, 1, 3, 1, 4, 3, 3, 1, 4])
    losses = {round(loss(torch.tensor([0]), step).item(), 6) for step in range(8)}
    assert len(losses) > 1
    assert torch.equal(loss(torch.tensor([0]), 3), loss(torch.tensor([0]), 3))


def test_only_the_blocks_get_a_gradient() -> None:
    loss = loss_of(*HISTORIES)
    loss(torch.arange(6), 0).sum().backward()
    model = loss.model
    assert all(parameter.grad is not None for parameter in model.encoder.parameters())
    assert all(parameter.grad is None for parameter in model.items.parameters())
