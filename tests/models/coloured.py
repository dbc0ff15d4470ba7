"""A dataset whose items differ in colour: each sequence has one colour, and its last two items are new."""

from dataclasses import replace

import numpy as np
import pyarrow as pa

from reprise.data.dataset import SequenceDataset
from reprise.testing.worlds import world

COLOURS = ("red", "blue", "green", "black")


def coloured(sequences: int = 40, length: int = 8, column: str = "colour") -> SequenceDataset:
    """Return sequences of random items of one colour; the validation and the test item are each new in their part."""
    generator = np.random.default_rng(0)
    rows = []
    for number in range(sequences):
        colour = COLOURS[number % len(COLOURS)]
        items = [f"{colour}-{item}" for item in generator.integers(6, size=length)]
        rows.append([*items, f"{colour}-late", f"{colour}-latest"])
    dataset = world(rows)
    colours = [[str(item).partition("-")[0]] for item in dataset.items.ids]
    return replace(dataset, table=dataset.table.append_column(column, pa.array(colours)))
