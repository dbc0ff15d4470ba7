"""A recipe that learns its users by heart, and logs of users who are worth learning by heart."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from reprise.data.dataset import SequenceDataset
from reprise.models.networks.network_scorer import NetworkScorer
from reprise.models.networks.recurrent import Recurrent
from reprise.training.recipe import Recipe, TrainingConfig

USERS, ITEMS, LENGTH, PERIOD = 150, 60, 14, 6
START_S = 1_700_000_000
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


def write_log(file: Path, users: int, seed: int, first: int = 0) -> Path:
    """Write the log of such users with the ids u<first>, u<first + 1> and so on."""
    rows = ["user_id,item_id,timestamp"]
    for user, history in enumerate(habits(users, seed), first):
        rows += [f"u{user},{item},{START_S + user + 60 * step}" for step, item in enumerate(history)]
    file.write_text("\n".join(rows) + "\n")
    return file
