"""A log that goes on: users on a cycle of items, with new items after a while, and a small recipe."""

import numpy as np

from reprise.models.networks.recurrent import Recurrent
from reprise.training import RunOptions, TrainingConfig

DAY_S = 86_400
START_S = 1_700_000_000
SPEC = Recurrent(size=16, layers=1, cooccurrence=0, repeats=0)
TRAINING = TrainingConfig(epochs=6, events_per_batch=256, metric="mrr@5", refit=0, learning_rate=0.01)
OPTIONS = RunOptions(precision="32-true", accelerator="cpu", threads=1)


def log(days: int, items: int, seed: int = 0) -> dict[str, list[object]]:
    """Users who go round a cycle of items, one step a day; item `items - 1` and above come after day 20."""
    generator = np.random.default_rng(seed)
    rows: dict[str, list[object]] = {"user_id": [], "item_id": [], "timestamp": []}
    for user in range(60):
        item = int(generator.integers(12))
        for day in range(days):
            size = 12 if day < 20 else items
            item = (item + 1) % size if generator.random() < 0.9 else int(generator.integers(size))
            rows["user_id"].append(f"u{user}")
            rows["item_id"].append(f"i{item}")
            rows["timestamp"].append(START_S + day * DAY_S + user)
    return rows
