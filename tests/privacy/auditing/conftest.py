"""A small run that has learned its users by heart, and users of the same kind that it has not seen."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest

from reprise.data.dataset import SequenceDataset
from reprise.models.networks.network_scorer import NetworkScorer
from reprise.models.networks.recurrent import Recurrent
from reprise.testing.worlds import world
from reprise.training.recipe import Recipe, TrainingConfig
from reprise.training.start_run import train

USERS, ITEMS, LENGTH, PERIOD = 150, 60, 14, 6
SMALL = Recipe(
    model=Recurrent(
        cell="gru", size=32, layers=1, residual=False, dropout=0.0, item_dropout=0.0, temperature=0.1,
        cooccurrence=4, repeats=0,
    ),
    training=TrainingConfig(epochs=12, learning_rate=0.01, patience=0, refit=0),
)  # fmt: skip
"""A network without any measure against overfitting."""


class Audited(NamedTuple):
    """A network with its users and with others."""

    model: NetworkScorer
    members: SequenceDataset
    others: SequenceDataset


def habits(users: int, seed: int) -> list[list[str]]:
    """Return the items of users who repeat a random order of a few items each, which is worth learning by heart."""
    generator = np.random.default_rng(seed)
    orders = [generator.permutation(ITEMS)[:PERIOD] for _ in range(users)]
    return [[f"i{order[step % PERIOD]}" for step in range(LENGTH)] for order in orders]


@pytest.fixture(scope="session")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Audited:
    members, others = (world(habits(USERS, seed)) for seed in (1, 2))
    others = replace(others, users=others.users + USERS)
    model = train(SMALL, members, tmp_path_factory.mktemp("audit") / "run", progress=False)
    return Audited(model, members, others)
