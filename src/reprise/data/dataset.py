"""A prepared log: memory-mapped sequences, their vocabulary, their item table and the split.

Shape letters: U sequences (a user's, or a session's), E events, I items. Times are milliseconds since 1970, UTC.
A split is two positions in each sequence, so a part is a view and nothing is copied.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from reprise.arrays import AnyArray
from reprise.data.vocabulary import Vocabulary
from reprise.errors import DataError

FORMAT = 1
MANIFEST = "dataset.json"
ITEMS = "items.parquet"
SEQUENCES = "sequences.parquet"
COLUMNS = {
    "offset": "int64",
    "train_end": "int64",
    "valid_end": "int64",
    "item": "int32",
    "time_ms": "int64",
    "kind": "uint8",
    "value": "float32",
}
"""The arrays of a prepared dataset, each in a file `<name>.npy`, with its type."""

FIELDS = {"warm": int, "kinds": list, "split": dict, "facts": dict, "fingerprint": str}
"""What the manifest of a dataset must have besides its format."""

EVENT = "event"
"""The kind of an event that has none."""

Part = Literal["train", "valid", "test"]
PARTS: tuple[Part, ...] = ("train", "valid", "test")


@dataclass(frozen=True)
class Sizes:
    """What a network must know of the data before it can be built."""

    items: int
    """How many items have a vector: the warm ones."""
    kinds: int = 1
    """How many kinds of event there are."""
    events: int = 0
    """How many training events there are; 0: not known."""


@dataclass(frozen=True)
class SequenceDataset:
    """Sequences of events in time order, ready to train on, evaluate on and recommend from.

    The events of sequence u are at positions `offset[u]`..`offset[u + 1]`; of these, those before `train_end[u]`
    are for training, those from there to `valid_end[u]` for validation, and the rest for test.
    """

    items: Vocabulary
    users: AnyArray
    """The key of each sequence, [U]: the caller's user or session id."""
    offset: AnyArray
    """[U + 1]"""
    train_end: AnyArray
    """[U]"""
    valid_end: AnyArray
    """[U]"""
    item: AnyArray
    """Item indices, [E], int32."""
    time_ms: AnyArray
    """[E], int64. Never falls within a sequence."""
    kind: AnyArray
    """Positions in `kinds`, [E], uint8."""
    value: np.ndarray[Any, np.dtype[np.float32]]
    """The caller's number for the event (a price, a rating, seconds played), [E]; NaN where there is none."""
    table: pa.Table
    """The item table, row p for item index p + 1; always has `item_id`, often `title`."""
    kinds: tuple[str, ...] = (EVENT,)
    """The names of the event kinds."""
    split: dict[str, Any] = field(default_factory=dict)
    """How the parts were cut: `kind` and, for a split by time, `train_end_ms` and `valid_end_ms`."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Everything else `prepare` counted or decided: columns, cleaning options, rows dropped, warnings."""
    fingerprint: str = ""
    """A hash of columns, cleaning options, split and counts; equal datasets have equal ones."""
    path: Path | None = None
    """Where it lies, or None when it was made in memory."""

    def __len__(self) -> int:
        """How many sequences there are."""
        return len(self.offset) - 1

    @property
    def events(self) -> int:
        """How many events there are in all parts."""
        return int(self.offset[-1])

    @property
    def sizes(self) -> Sizes:
        """What a network is built from."""
        return Sizes(items=self.items.warm, kinds=len(self.kinds), events=self.part_events("train"))

    def part(self, part: Part) -> tuple[AnyArray, AnyArray]:
        """Where the events of a part lie in each sequence: (first [U], one past the last [U])."""
        if part == "train":
            return self.offset[:-1], self.train_end
        if part == "valid":
            return self.train_end, self.valid_end
        if part == "test":
            return self.valid_end, self.offset[1:]
        raise DataError(f"unknown part {part!r}; the parts are train, valid and test")

    def part_events(self, part: Part) -> int:
        """How many events a part has."""
        first, last = self.part(part)
        return int((last - first).sum())

    def titles(self) -> list[str]:
        """A name for each item to show to a person, [I]: its title where the item table has one, else its id."""
        ids = [str(item_id) for item_id in self.items.ids.tolist()]
        if "title" not in self.table.column_names:
            return ids
        titles = self.table.column("title").to_pylist()
        return [str(title) if title else item_id for title, item_id in zip(titles, ids, strict=True)]

    @classmethod
    def open(cls, path: str | Path) -> "SequenceDataset":
        """Open what `prepare` wrote. The arrays stay on disk and are read as they are used.

        Raises:
            DataError: `path` holds no complete dataset, or one of another format.
        """
        path = Path(path)
        manifest = _read_manifest(path)
        table, keys = _read_table(path / ITEMS, "item_id"), _read_table(path / SEQUENCES, "sequence_id")
        arrays = {name: _read_array(path / f"{name}.npy", kind) for name, kind in COLUMNS.items()}
        _check_lengths(path, manifest, arrays, items=len(table), sequences=len(keys))
        return cls(
            items=Vocabulary(id_array(table.column("item_id")), warm=manifest["warm"]),
            users=id_array(keys.column("sequence_id")),
            table=table,
            kinds=tuple(manifest["kinds"]),
            split=manifest["split"],
            facts=manifest["facts"],
            fingerprint=manifest["fingerprint"],
            path=path,
            **arrays,
        )


def id_array(column: pa.ChunkedArray) -> AnyArray:
    """A column of ids as an array: int64, or objects that are str."""
    if pa.types.is_integer(column.type):
        return np.asarray(column.to_numpy(), dtype=np.int64)
    return np.asarray(column.to_pylist(), dtype=object)


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads((path / MANIFEST).read_text())
    except FileNotFoundError:
        raise DataError(
            f"{path} holds no prepared dataset (no {MANIFEST}); make one with `reprise prepare EVENTS --out {path}`"
        ) from None
    except ValueError as error:  # no JSON, or no UTF-8
        raise _damaged(path / MANIFEST, error) from None
    if not isinstance(manifest, dict):
        raise _damaged(path / MANIFEST, "no JSON object")
    if manifest.get("format") != FORMAT:
        raise DataError(
            f"{path} has dataset format {manifest.get('format')!r}, this version reads {FORMAT}; run `reprise prepare` again"
        )
    odd = [name for name, kind in FIELDS.items() if not isinstance(manifest.get(name), kind)]
    if odd:
        raise _damaged(path / MANIFEST, f"{', '.join(odd)} missing or of another type")
    missing = [f"{name}.npy" for name in COLUMNS if not (path / f"{name}.npy").exists()]
    missing += [name for name in (ITEMS, SEQUENCES) if not (path / name).exists()]
    if missing:
        raise DataError(f"{path} is incomplete ({', '.join(missing)} missing); run `reprise prepare` again")
    return manifest


def _damaged(path: Path, why: object) -> DataError:
    return DataError(f"{path} is damaged ({why}); run `reprise prepare` again")


def _read_table(path: Path, ids: str) -> pa.Table:
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from None
    if ids not in table.column_names:
        raise _damaged(path, f"no column {ids!r}")
    return table


def _read_array(path: Path, kind: str) -> AnyArray:
    try:
        array: AnyArray = np.load(path, mmap_mode="r")
    except (ValueError, OSError, EOFError) as error:
        raise _damaged(path, error) from None
    if array.ndim != 1 or array.dtype != kind:
        raise _damaged(path, f"{array.ndim} axes of {array.dtype}, not one of {kind}")
    return array


def _check_lengths(
    path: Path, manifest: dict[str, Any], arrays: dict[str, AnyArray], *, items: int, sequences: int
) -> None:
    """Raise a DataError where files of a dataset do not belong together."""
    if manifest["warm"] > items:
        raise _damaged(path / ITEMS, f"{items} items, of which {manifest['warm']} are warm")
    if len(arrays["offset"]) != sequences + 1:
        raise _damaged(path / "offset.npy", f"{len(arrays['offset'])} positions for {sequences} sequences")
    events = int(arrays["offset"][-1])
    for name, array in arrays.items():
        expected = sequences if name in ("train_end", "valid_end") else events
        if name != "offset" and len(array) != expected:
            raise _damaged(path / f"{name}.npy", f"{len(array)} numbers where {expected} belong")
