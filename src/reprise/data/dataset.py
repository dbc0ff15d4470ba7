"""The prepared dataset: memory-mapped event sequences, the vocabulary, the item table and the split.

Shape letters: U sequences (one per user or per session), E events, I items. Times are milliseconds since 1970 UTC.
A split is two positions in each sequence, so parts are views and no events are copied.
"""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from reprise.argument_checks import file_path, instance
from reprise.arrays import AnyArray, Float32Array
from reprise.data.vocabulary import Vocabulary
from reprise.errors import DataError
from reprise.frame_output import FrameLibrary, frame_of
from reprise.notebook_html import html_table
from reprise.path_kinds import instead

FORMAT = 1
"""Version of the file format of a dataset."""
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
"""Arrays of a dataset and their dtypes; each is stored in a file `<name>.npy`."""

FIELDS = {"warm": int, "kinds": list, "split": dict, "facts": dict, "fingerprint": str}
"""Required fields of the manifest, besides its format, and their types."""

EVENT = "event"
"""Kind given to events that have none."""

Part = Literal["train", "valid", "test"]
"""A part of the split."""
PARTS: tuple[Part, ...] = ("train", "valid", "test")


@dataclass(frozen=True)
class Sizes:
    """Sizes of the data that determine the shapes of a network."""

    items: int
    """Number of warm items, that is, of items that occur in the training part."""
    kinds: int = 1
    """Number of event kinds."""
    events: int = 0
    """Number of training events; 0 if it is not known."""


@dataclass(frozen=True)
class SequenceDataset:
    """Sequences of events in time order, divided into training, validation and test part.

    The events of sequence u are at positions `offset[u]` to `offset[u + 1]`. Those before `train_end[u]` are the training
    part, those from there to `valid_end[u]` the validation part, and the rest is the test part.
    """

    items: Vocabulary
    """Mapping between item ids and item indices."""
    users: AnyArray
    """Id of each sequence, [U]: the user id or session id of the caller."""
    offset: AnyArray
    """Position of the first event of each sequence, and the number of events at the end, [U + 1], int64."""
    train_end: AnyArray
    """Position after the last training event of each sequence, [U], int64."""
    valid_end: AnyArray
    """Position after the last validation event of each sequence, [U], int64."""
    item: AnyArray
    """Item index of each event, [E], int32."""
    time_ms: AnyArray
    """Time of each event in milliseconds since 1970 UTC, [E], int64; never decreases within a sequence."""
    kind: AnyArray
    """Index of the kind of each event in `kinds`, [E], uint8."""
    value: Float32Array
    """Value of each event (a price, a rating, seconds played), [E]; NaN if it has none."""
    table: pa.Table
    """Item table; row p belongs to item index p + 1. It has a column `item_id` and often `title`."""
    user_table: pa.Table | None = None
    """Attributes of the user of each sequence, one row per sequence in order; None if there are none."""
    owner: AnyArray | None = None
    """Number of the user of each sequence, [U], if `prepare` has divided users into sessions.
    None: each sequence is a user of its own."""
    kinds: tuple[str, ...] = (EVENT,)
    """Names of the event kinds."""
    split: dict[str, Any] = field(default_factory=dict)
    """Description of the split: `kind` and, for a split by time, `train_end_ms` and `valid_end_ms`."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Further results of `prepare`: column names, cleaning options, dropped rows, warnings."""
    fingerprint: str = ""
    """Hash of the arrays, ids, options and split; equal datasets have equal fingerprints."""
    path: Path | None = None
    """Directory of the dataset, or None if it was created in memory."""

    def __len__(self) -> int:
        """Return the number of sequences."""
        return len(self.offset) - 1

    def __repr__(self) -> str:
        place = "in memory" if self.path is None else str(self.path)
        return f"SequenceDataset({len(self):,} sequences, {self.events:,} events, {self.items.warm:,} items, {place!r})"

    def _repr_html_(self) -> str:
        rows = [(part, self.part_events(part)) for part in PARTS]
        return html_table(repr(self), ["part", "events"], rows)

    def to_frame(self, library: FrameLibrary = "pandas") -> Any:
        """Return the events as a data frame: `user_id`, `item_id`, `timestamp` in ms since 1970, `kind`, `value` and `part`.

        Raises:
            MissingLibraryError: The library is not installed.
        """
        lengths_U = np.diff(self.offset)
        ends = np.stack([self.train_end, self.valid_end, self.offset[1:]], 1)
        begins = np.concatenate([self.offset[:-1, None], ends[:, :-1]], 1)
        part_E = np.repeat(np.tile(np.array(PARTS, dtype=object), len(self)), (ends - begins).ravel())
        ids_I = np.concatenate([self.items.ids[:1], self.items.ids])
        columns = {
            "user_id": np.repeat(self.users, lengths_U),
            "item_id": ids_I[self.item],
            "timestamp": np.asarray(self.time_ms),
            "kind": np.array(self.kinds, dtype=object)[self.kind],
            "value": np.asarray(self.value),
            "part": part_E,
        }
        return frame_of(columns, library)

    @property
    def events(self) -> int:
        """Number of events in all parts."""
        return int(self.offset[-1])

    @property
    def sizes(self) -> Sizes:
        """Sizes that determine the shapes of a network."""
        return Sizes(items=self.items.warm, kinds=len(self.kinds), events=self.part_events("train"))

    def scoring(self, items: int) -> "SequenceDataset":
        """Return a view for a model that reads and scores the first `items` items."""
        return self if items == self.items.scored else replace(self, items=self.items.scoring(items))

    def part(self, part: Part) -> tuple[AnyArray, AnyArray]:
        """Return the position of the first event of a part in each sequence, [U], and that after the last, [U].

        Raises:
            DataError: The part is unknown.
        """
        if part == "train":
            return self.offset[:-1], self.train_end
        if part == "valid":
            return self.train_end, self.valid_end
        if part == "test":
            return self.valid_end, self.offset[1:]
        raise DataError(f"unknown part {part!r}; the parts are train, valid and test")

    def part_events(self, part: Part) -> int:
        """Return the number of events of a part."""
        first, last = self.part(part)
        return int((last - first).sum())

    def titles(self) -> list[str]:
        """Return a display name for each item, [I]: its title in the item table, or its id if it has no title."""
        ids = [str(item_id) for item_id in self.items.ids.tolist()]
        if "title" not in self.table.column_names:
            return ids
        titles = self.table.column("title").to_pylist()
        return [str(title) if title else item_id for title, item_id in zip(titles, ids, strict=True)]

    @classmethod
    def open(cls, path: str | Path) -> "SequenceDataset":
        """Open a dataset that `prepare` wrote. The arrays are memory-mapped, not loaded.

        Raises:
            DataError: `path` does not contain a complete dataset of this format.
            ConfigError: `path` is not a path.
        """
        path = file_path("path", path)
        manifest = _read_manifest(path)
        table, keys = _read_table(path / ITEMS, "item_id"), _read_table(path / SEQUENCES, "sequence_id")
        arrays = {name: _read_array(path / f"{name}.npy", kind) for name, kind in COLUMNS.items()}
        _check_lengths(path, manifest, arrays, items=len(table), sequences=len(keys))
        return cls(
            items=Vocabulary(id_array(table.column("item_id")), warm=manifest["warm"]),
            users=id_array(keys.column("sequence_id")),
            table=table,
            user_table=_user_table(keys),
            owner=_owners(keys),
            kinds=tuple(manifest["kinds"]),
            split=manifest["split"],
            facts=manifest["facts"],
            fingerprint=manifest["fingerprint"],
            path=path,
            **arrays,
        )


def _user_table(sequences: pa.Table) -> pa.Table | None:
    """Return the columns of the stored sequences that come from the user table, if any."""
    names = [name for name in sequences.column_names if name not in ("sequence_id", "user_id")]
    return sequences.select(names) if names else None


def _owners(sequences: pa.Table) -> AnyArray | None:
    """Return the number of the user of each stored sequence, [U]; None if the sequences are not sessions of users."""
    if "user_id" not in sequences.column_names:
        return None
    codes = pc.dictionary_encode(sequences.column("user_id").combine_chunks()).indices
    return np.asarray(codes.to_numpy(), dtype=np.int64)


def check_dataset(value: object) -> SequenceDataset:
    """Return an argument `dataset`.

    Raises:
        ConfigError: It is not a dataset.
    """
    return instance("dataset", value, SequenceDataset, "SequenceDataset.open(DIR) opens a prepared one")


def id_array(column: pa.ChunkedArray) -> AnyArray:
    """Convert a column of ids to an array of int64, or of str objects if they are strings."""
    if pa.types.is_integer(column.type):
        return np.asarray(column.to_numpy(), dtype=np.int64)
    return np.asarray(column.to_pylist(), dtype=object)


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(f"{path} holds no prepared dataset {instead(path, 'dataset')}") from None
    except OSError as error:
        raise DataError(f"cannot read {path / MANIFEST} ({error.strerror or error})") from None
    except (ValueError, RecursionError) as error:  # invalid JSON or UTF-8
        raise _damaged(path / MANIFEST, error) from None
    if not isinstance(manifest, dict):
        raise _damaged(path / MANIFEST, "not a JSON object")
    if manifest.get("format") != FORMAT:
        raise DataError(
            f"{path} has dataset format {manifest.get('format')!r}, this version reads {FORMAT}; run `reprise prepare` again"
        )
    wrong = [name for name, kind in FIELDS.items() if not isinstance(manifest.get(name), kind)]
    if wrong:
        raise _damaged(path / MANIFEST, f"{', '.join(wrong)} missing or of another type")
    missing = [f"{name}.npy" for name in COLUMNS if not (path / f"{name}.npy").exists()]
    missing += [name for name in (ITEMS, SEQUENCES) if not (path / name).exists()]
    if missing:
        raise DataError(f"{path} is incomplete ({', '.join(missing)} missing); run `reprise prepare` again")
    return manifest


def _damaged(path: Path, reason: object) -> DataError:
    return DataError(f"{path} is damaged ({reason}); run `reprise prepare` again")


def _read_table(path: Path, id_column: str) -> pa.Table:
    try:
        table = pq.read_table(path)
        table.validate(full=True)  # Parquet does not ensure that text and names are UTF-8
        names = table.column_names
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _damaged(path, error) from None
    if id_column not in names:
        raise _damaged(path, f"no column {id_column!r}")
    return table


def _read_array(path: Path, kind: str) -> AnyArray:
    try:
        # unlike `np.load`, this neither opens archives nor unpickles
        array: AnyArray = np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # NumPy parses the header as Python code, which can raise errors of the parser
        raise _damaged(path, error) from None
    if array.ndim != 1 or array.dtype != kind:
        raise _damaged(path, f"{array.ndim} axes of {array.dtype}, expected one of {kind}")
    return array


def _check_lengths(
    path: Path, manifest: dict[str, Any], arrays: dict[str, AnyArray], *, items: int, sequences: int
) -> None:
    """Raise a DataError if the lengths of the files do not match."""
    if manifest["warm"] > items:
        raise _damaged(path / ITEMS, f"{items} items, of which {manifest['warm']} are warm")
    if len(arrays["offset"]) != sequences + 1:
        raise _damaged(path / "offset.npy", f"{len(arrays['offset'])} positions for {sequences} sequences")
    events = int(arrays["offset"][-1])
    for name, array in arrays.items():
        expected = sequences if name in ("train_end", "valid_end") else events
        if name != "offset" and len(array) != expected:
            raise _damaged(path / f"{name}.npy", f"{len(array)} numbers, expected {expected}")
