"""Datasets made from other datasets, with the same items: some of the sequences, or further ones, written to disk.

Shape letters: U sequences, E events.
"""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from reprise.arrays import AnyArray
from reprise.atomic_files import write_text, writing
from reprise.data.dataset import COLUMNS, FORMAT, ITEMS, MANIFEST, SEQUENCES, SequenceDataset
from reprise.data.leakage.checks import FACT
from reprise.data.leakage.findings import LEAK_KINDS
from reprise.data.vocabulary import PAD

EVENT_COLUMNS = ("item", "time_ms", "kind", "value")
"""Arrays with one entry for each event."""

COUNT = "count"
"""Column of the item table with the number of training events of each item."""


class Sequences(NamedTuple):
    """Sequences of events, one after the other."""

    users: AnyArray
    """Id of each sequence, [U]."""
    length_U: AnyArray
    """Number of events."""
    train_U: AnyArray
    """Number of training events."""
    valid_U: AnyArray
    """Number of validation events after them."""
    columns: dict[str, AnyArray]
    """The arrays of `EVENT_COLUMNS`, [E]."""


def take_sequences(dataset: SequenceDataset, row_U: AnyArray) -> SequenceDataset:
    """Return a dataset in memory with some of the sequences, in the given order."""
    return with_sequences(dataset, sequences_of(dataset, row_U))


def sequences_of(dataset: SequenceDataset, row_U: AnyArray) -> Sequences:
    """Return some sequences of a dataset."""
    start_U = np.asarray(dataset.offset[:-1])[row_U]
    length_U = np.asarray(dataset.offset[1:])[row_U] - start_U
    train_end_U, valid_end_U = (np.asarray(end_U)[row_U] for end_U in (dataset.train_end, dataset.valid_end))
    # position of each event: for the starts 5 and 20 and the lengths 3 and 2 these are 5 6 7 20 21
    position_E = np.arange(length_U.sum()) + np.repeat(start_U - (length_U.cumsum() - length_U), length_U)
    columns = {name: np.asarray(getattr(dataset, name)[position_E]) for name in EVENT_COLUMNS}
    users = np.asarray(dataset.users)[row_U]
    return Sequences(users, length_U, train_end_U - start_U, valid_end_U - train_end_U, columns)


def with_warm_items(sequences: Sequences, warm: int) -> Sequences:
    """Return sequences with the events of the first `warm` items only. A sequence may become empty.

    A network cannot be trained on others: they have no vector, or no index at all.
    """
    item_E = sequences.columns["item"]
    known_E = (item_E != PAD) & (item_E <= warm)
    users = len(sequences.length_U)
    row_E = np.repeat(np.arange(users), sequences.length_U)
    start_U = sequences.length_U.cumsum() - sequences.length_U
    step_E = np.arange(len(row_E)) - start_U[row_E]
    trained_E = step_E < sequences.train_U[row_E]
    valid_E = ~trained_E & (step_E < (sequences.train_U + sequences.valid_U)[row_E])
    length_U, train_U, valid_U = (
        np.bincount(row_E[known_E & part_E], minlength=users)
        for part_E in (np.ones_like(known_E), trained_E, valid_E)
    )
    columns = {name: array[known_E] for name, array in sequences.columns.items()}
    return Sequences(sequences.users, length_U, train_U, valid_U, columns)


def with_sequences(dataset: SequenceDataset, *groups: Sequences) -> SequenceDataset:
    """Return a dataset in memory with the items, kinds and facts of `dataset`, and these sequences.

    Warm items may have no training event in it, which the leak checks would refuse, so its facts allow every leak.
    """
    length_U, train_U, valid_U = (
        np.concatenate([getattr(group, name) for group in groups])
        for name in ("length_U", "train_U", "valid_U")
    )
    offset = np.concatenate([[0], length_U.cumsum()]).astype(np.int64)
    ids = [group.users for group in groups]
    same = all(np.issubdtype(part.dtype, np.integer) for part in ids)
    arrays = {
        "offset": offset,
        "train_end": offset[:-1] + train_U,
        "valid_end": offset[:-1] + train_U + valid_U,
        **{name: np.concatenate([group.columns[name] for group in groups]) for name in EVENT_COLUMNS},
    }
    arrays = {name: np.ascontiguousarray(array, dtype=COLUMNS[name]) for name, array in arrays.items()}
    return replace(
        dataset,
        users=np.concatenate(ids) if same else np.array([str(key) for part in ids for key in part], object),
        table=_with_counts(dataset.table, arrays),
        facts=_with_leaks_allowed(dataset.facts),
        user_table=None,
        path=None,
        fingerprint=_fingerprint(dataset.fingerprint, arrays),
        **arrays,
    )


def stored(dataset: SequenceDataset, path: Path) -> SequenceDataset:
    """Write a dataset to a directory, unless it is there already, and open it."""
    if not _is_stored(dataset, path):
        with writing(path):
            path.mkdir(parents=True, exist_ok=True)
            for name in COLUMNS:
                np.save(path / f"{name}.npy", np.asarray(getattr(dataset, name)))
            pq.write_table(dataset.table, path / ITEMS)
            pq.write_table(pa.table({"sequence_id": pa.array(dataset.users.tolist())}), path / SEQUENCES)
        manifest = {
            "format": FORMAT,
            "warm": dataset.items.warm,
            "kinds": list(dataset.kinds),
            "split": dataset.split,
            "facts": dataset.facts,
            "fingerprint": dataset.fingerprint,
        }
        # the manifest comes last: a directory without it is not a dataset
        write_text(path / MANIFEST, json.dumps(manifest, indent=2))
    return SequenceDataset.open(path)


def _is_stored(dataset: SequenceDataset, path: Path) -> bool:
    if not (path / MANIFEST).exists():
        return False
    found: bool = SequenceDataset.open(path).fingerprint == dataset.fingerprint
    return found


def _with_leaks_allowed(facts: dict[str, Any]) -> dict[str, Any]:
    """Return facts that allow every leak: a copy measures no metric that a leak would raise."""
    return facts | {FACT: facts.get(FACT, {}) | {"allowed": list(LEAK_KINDS)}}


def _with_counts(table: pa.Table, arrays: dict[str, AnyArray]) -> pa.Table:
    """Return the item table with the numbers of training events of these arrays, if it has such a column."""
    if COUNT not in table.column_names:
        return table
    position_E = np.arange(len(arrays["item"]))
    trained_E = position_E < np.repeat(arrays["train_end"], np.diff(arrays["offset"]))
    count_I = np.bincount(arrays["item"][trained_E], minlength=len(table) + 1)[1:]
    return table.set_column(table.column_names.index(COUNT), COUNT, pa.array(count_I))


def _fingerprint(source: str, arrays: dict[str, AnyArray]) -> str:
    digest = hashlib.sha256(source.encode())
    for name in COLUMNS:
        digest.update(arrays[name].tobytes())
    return digest.hexdigest()[:16]
