"""Toy shops whose right answers are known, so that a test can fail.

*cycle*: the next item is certain. *noise*: nothing beats popularity. *memory*: the answer is the item m events ago,
which a Markov chain cannot know. *drift*: what is popular changes from sequence to sequence.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from reprise.arrays import AnyArray
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
    length_U = np.array([len(sequence) for sequence in sequences])
    offset = np.concatenate([[0], length_U.cumsum()]).astype(np.int64)
    valid_end = np.maximum(offset[1:] - test, offset[:-1])
    train_end = np.maximum(valid_end - valid, offset[:-1])
    trained = Counter(
        item
        for sequence, begin, end in zip(sequences, offset, train_end, strict=False)
        for item in sequence[: end - begin]
    )
    every = {item for sequence in sequences for item in sequence}
    warm = sorted(trained, key=lambda item: (-trained[item], str(item)))
    ids = warm + sorted(every - trained.keys(), key=str)
    index = {item: place for place, item in enumerate(ids, start=1)}
    item_E = np.array([index[item] for sequence in sequences for item in sequence], dtype=np.int32)
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
    """Item i is always followed by item i + 1 (modulo `items`): a first-order model reaches recall@1 = 1."""
    starts = np.random.default_rng(seed).integers(items, size=sequences)
    return world(
        [[f"i{(start + step) % items}" for step in range(length)] for start in starts], valid=2, test=2
    )


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


def drift(items: int = 30, sequences: int = 90, length: int = 12, seed: int = 0) -> SequenceDataset:
    """Each third of the sequences, in order, likes another third of the items: popularity over all time is wrong for all."""
    generator = np.random.default_rng(seed)
    third = items // 3
    taste = np.arange(sequences) * 3 // sequences
    draws = generator.integers(third, size=(sequences, length)) + third * taste[:, None]
    return world([[f"i{item}" for item in row] for row in draws], valid=2, test=2)
