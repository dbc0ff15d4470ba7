"""Synthetic datasets for which the best possible result is known.

`cycle`: the next item is certain. `noise`: no model beats popularity. `memory`: the next item is the item m events ago, which
a first-order Markov chain cannot predict. `drift`: the popular items change from sequence to sequence. `rhythm`: the
distributions of the next kind and of the time until the next event are known. `families`: new items appear after training, and
the words of their titles determine which items they follow.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from reprise.arrays import AnyArray
from reprise.data.dataset import SequenceDataset
from reprise.data.vocabulary import ItemId, Vocabulary

DAY_MS = 86_400_000
RHYTHM_KINDS = ((0.8, 0.2), (0.9, 0.1))
"""Probabilities of a view and a purchase after a view, and after a purchase, in `rhythm`."""
RHYTHM_GAPS = ((0.5, 3.0, 0.5), (0.1, 8.0, 0.8))
"""Distribution of the gap after a view and after a purchase in `rhythm`: the probability of a gap of 0, and the mean and
standard deviation of the logarithm of the other gaps, in seconds."""


def world(
    sequences: Sequence[Sequence[ItemId]],
    *,
    valid: int = 1,
    test: int = 1,
    titles: dict[ItemId, str] | None = None,
) -> SequenceDataset:
    """Return a dataset of sequences of item ids, with one event per minute.

    Args:
        sequences: The item ids of each user, in order.
        valid: Number of events of each sequence in the validation part, before the test part.
        test: Number of events of each sequence in the test part, its last events.
        titles: Titles of items by id; None: the items have no titles.

    Items that do not occur in the training part are cold.
    """
    length_U = np.array([len(sequence) for sequence in sequences])
    offset = np.concatenate([[0], length_U.cumsum()]).astype(np.int64)
    valid_end = np.maximum(offset[1:] - test, offset[:-1])
    train_end = np.maximum(valid_end - valid, offset[:-1])
    trained = Counter(
        item
        for sequence, begin, end in zip(sequences, offset, train_end, strict=False)
        for item in sequence[: end - begin]
    )
    all_items = {item for sequence in sequences for item in sequence}
    warm = sorted(trained, key=lambda item: (-trained[item], str(item)))
    ids = warm + sorted(all_items - trained.keys(), key=str)
    index_of = {item: index for index, item in enumerate(ids, start=1)}
    item_E = np.array([index_of[item] for sequence in sequences for item in sequence], dtype=np.int32)
    step_E = np.arange(len(item_E)) - np.repeat(offset[:-1], length_U)
    columns: dict[str, list[Any]] = {"item_id": ids, "count": [trained[item] for item in ids]}
    if titles:
        columns["title"] = [titles.get(item) for item in ids]
    return SequenceDataset(
        items=Vocabulary(
            np.array(ids, dtype=np.int64 if isinstance(ids[0], int) else object), warm=len(warm)
        ),
        users=np.arange(len(sequences)),
        offset=offset,
        train_end=train_end,
        valid_end=valid_end,
        item=item_E,
        time_ms=(step_E * 60_000 + DAY_MS).astype(np.int64),
        kind=np.zeros(len(item_E), dtype=np.uint8),
        value=np.full(len(item_E), np.nan, dtype=np.float32),
        table=pa.table(columns),
        split={"kind": "world", "valid": valid, "test": test},
        fingerprint=_fingerprint(item_E, train_end, valid_end),
    )


def _fingerprint(*arrays: AnyArray) -> str:
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()[:16]


def cycle(items: int = 12, sequences: int = 64, length: int = 24, seed: int = 0) -> SequenceDataset:
    """Return a dataset in which item i + 1 (modulo `items`) follows item i: a Markov chain has recall@1 = 1."""
    starts = np.random.default_rng(seed).integers(items, size=sequences)
    return world(
        [[f"i{(start + step) % items}" for step in range(length)] for start in starts], valid=2, test=2
    )


def noise(items: int = 50, sequences: int = 200, length: int = 20, seed: int = 0) -> SequenceDataset:
    """Return a dataset of independent draws from one skewed distribution: no model beats popularity."""
    generator = np.random.default_rng(seed)
    weight = 1.0 / np.arange(1, items + 1)
    draws = generator.choice(items, size=(sequences, length), p=weight / weight.sum())
    return world([[f"i{item}" for item in row] for row in draws], valid=2, test=2)


def memory(
    distance: int, items: int = 8, sequences: int = 256, length: int = 24, seed: int = 0
) -> SequenceDataset:
    """Return a dataset in which the item at step t is the item at step t - `distance`; the first items are random.

    A recurrent network that remembers `distance` events reaches recall@1 = 1. For a distance of 2 or more, a first-order
    Markov chain is little better than chance.
    """
    generator = np.random.default_rng(seed)
    rows = generator.integers(items, size=(sequences, distance))
    return world([[f"i{row[step % distance]}" for step in range(length)] for row in rows], valid=2, test=2)


def drift(items: int = 30, sequences: int = 90, length: int = 12, seed: int = 0) -> SequenceDataset:
    """Return a dataset in which each third of the sequences, in order, uses another third of the items.

    The overall popularity of the items is therefore wrong for every sequence.
    """
    generator = np.random.default_rng(seed)
    third = items // 3
    third_of_sequence = np.arange(sequences) * 3 // sequences
    draws = generator.integers(third, size=(sequences, length)) + third * third_of_sequence[:, None]
    return world([[f"i{item}" for item in row] for row in draws], valid=2, test=2)


def rhythm(sequences: int = 300, length: int = 20, seed: int = 0) -> SequenceDataset:
    """Return a dataset of cycles whose kinds follow `RHYTHM_KINDS`, and whose gaps follow `RHYTHM_GAPS`.

    Both depend on the kind of the last event only. The last quarter of each sequence is the test part, and the quarter before
    it the validation part.
    """
    generator = np.random.default_rng(seed)
    quarter = length // 4
    # no item comes back within a sequence, because repeated events at one time look like a leak
    items = (generator.integers(2 * length, size=(sequences, 1)) + np.arange(length)) % (2 * length)
    dataset = world([[f"i{item}" for item in row] for row in items.tolist()], valid=quarter, test=quarter)
    buy_K = np.array(RHYTHM_KINDS)[:, 1]
    kind_UT, gap_s_UT = np.zeros((sequences, length), dtype=np.uint8), np.zeros((sequences, length))
    for step in range(1, length):
        before_U = kind_UT[:, step - 1]
        kind_UT[:, step] = generator.random(sequences) < buy_K[before_U]
        zero_U, mean_U, width_U = np.array(RHYTHM_GAPS)[before_U].T
        gap_s_U = np.exp(mean_U + width_U * generator.standard_normal(sequences))
        gap_s_UT[:, step] = np.where(generator.random(sequences) < zero_U, 0.0, np.maximum(gap_s_U, 0.001))
    time_ms = (DAY_MS + np.rint(1000 * gap_s_UT).cumsum(axis=1)).astype(np.int64)
    kind_E, time_ms_E = kind_UT.ravel(), time_ms.ravel()
    return replace(
        dataset,
        kind=kind_E,
        time_ms=time_ms_E,
        kinds=("view", "buy"),
        fingerprint=_fingerprint(dataset.item, kind_E, time_ms_E),
    )


def families(
    groups: int = 6, known: int = 4, new: int = 2, sequences: int = 120, length: int = 16, seed: int = 0
) -> SequenceDataset:
    """Return a dataset of groups of items in which any item of group g + 1 (modulo `groups`) follows any item of group g.

    The titles of a group share a word. Each group has `known` items in the training part and `new` cold ones, which are half
    of the validation and test events. A model that reads titles finds each target among the `known + new` items of its
    group; one that knows ids only never finds a cold target.
    """
    generator = np.random.default_rng(seed)
    rows: list[list[ItemId]] = []
    for _ in range(sequences):
        first = int(generator.integers(groups))
        row: list[ItemId] = []
        for step in range(length):
            is_new = step >= length - 4 and bool(generator.integers(2))
            number = known + int(generator.integers(new)) if is_new else int(generator.integers(known))
            row.append(f"{(first + step) % groups}-{number}")
        rows.append(row)
    words = ("mug", "lamp", "chair", "scarf", "globe", "candle", "ribbon", "teapot", "cushion", "lantern")
    assert groups <= len(words)
    titles: dict[ItemId, str] = {
        f"{group}-{number}": f"{words[group]} no {number}"
        for group in range(groups)
        for number in range(known + new)
    }
    return world(rows, valid=2, test=2, titles=titles)
