"""Toy shops whose right answers are known, so that a test can fail.

*cycle*: the next item is certain. *noise*: nothing beats popularity. *memory*: the answer is the item m events ago,
which a Markov chain cannot know. *drift*: what is popular changes with time. *twins*: only content tells two cold items apart.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from reprise.data.dataset import SequenceDataset
from reprise.data.vocabulary import ItemId, Vocabulary

DAY_MS = 86_400_000


def world(
    sequences: Sequence[Sequence[ItemId]],
    *,
    valid: int = 1,
    test: int = 1,
    titles: dict[ItemId, str] | None = None,
) -> SequenceDataset:
    """A dataset in memory, from sequences of item ids one minute apart.

    The last `test` events of each sequence are its test part, the `valid` before them its validation part. Items
    that never occur in the training part are cold.
    """
    lengths = np.array([len(sequence) for sequence in sequences])
    offset = np.concatenate([[0], lengths.cumsum()]).astype(np.int64)
    valid_end = np.maximum(offset[1:] - test, offset[:-1])
    train_end = np.maximum(valid_end - valid, offset[:-1])
    flat = [item for sequence in sequences for item in sequence]
    position = np.arange(len(flat)) - np.repeat(offset[:-1], lengths)
    trained = [item for item, place, end in zip(flat, np.arange(len(flat)), np.repeat(train_end, lengths)) if place < end]
    counts: dict[ItemId, int] = {}
    for item in trained:
        counts[item] = counts.get(item, 0) + 1
    warm = sorted(counts, key=lambda item: (-counts[item], str(item)))
    ids = warm + sorted(set(flat) - set(warm), key=str)
    index = {item: place + 1 for place, item in enumerate(ids)}
    columns = {"item_id": ids, "count": [counts.get(item, 0) for item in ids]}
    if titles:
        columns["title"] = [titles.get(item) for item in ids]
    item = np.array([index[i] for i in flat], dtype=np.int32)
    return SequenceDataset(
        items=Vocabulary(np.array(ids, dtype=np.int64 if isinstance(ids[0], int) else object), warm=len(warm)),
        users=np.arange(len(sequences)),
        offset=offset,
        train_end=train_end,
        valid_end=valid_end,
        item=item,
        time_ms=(position * 60_000 + DAY_MS).astype(np.int64),
        kind=np.zeros(len(flat), dtype=np.uint8),
        value=np.full(len(flat), np.nan, dtype=np.float32),
        table=pa.table(columns),
        split={"kind": "world", "valid": valid, "test": test},
        fingerprint=hashlib.sha256(item.tobytes() + train_end.tobytes() + valid_end.tobytes()).hexdigest()[:16],
    )


def cycle(items: int = 12, sequences: int = 64, length: int = 24, seed: int = 0) -> SequenceDataset:
    """Item i is always followed by item i + 1 (modulo `items`): a first-order model reaches recall@1 = 1."""
    starts = np.random.default_rng(seed).integers(items, size=sequences)
    return world([[f"i{(start + step) % items}" for step in range(length)] for start in starts], valid=2, test=2)


def noise(items: int = 50, sequences: int = 200, length: int = 20, seed: int = 0) -> SequenceDataset:
    """Independent draws from one skewed distribution: nothing beats popularity."""
    generator = np.random.default_rng(seed)
    weight = 1.0 / np.arange(1, items + 1)
    draws = generator.choice(items, size=(sequences, length), p=weight / weight.sum())
    return world([[f"i{item}" for item in row] for row in draws], valid=2, test=2)


def memory(
    distance: int, items: int = 8, sequences: int = 256, length: int = 24, seed: int = 0
) -> SequenceDataset:
    """The item at step t is the item at step t - `distance`, the first ones random.

    A recurrent network that remembers `distance` events reaches recall@1 = 1; for a distance of 2 or more a first-order
    Markov chain knows little more than chance.
    """
    generator = np.random.default_rng(seed)
    rows = generator.integers(items, size=(sequences, distance))
    return world([[f"i{row[step % distance]}" for step in range(length)] for row in rows], valid=2, test=2)
