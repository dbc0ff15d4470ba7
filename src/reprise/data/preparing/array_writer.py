"""The sorted, coded log as the arrays of a dataset, written batch by batch.

Files are written, not mapped: on a full disk a write fails with an error, a mapped page kills the process.
Shape letters: U sequences, E events, C item codes, I items.
"""

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa

from reprise.arrays import AnyArray
from reprise.data.dataset import COLUMNS
from reprise.data.io.duckdb_engine import Engine
from reprise.data.split import SequenceParts

EVENT_ARRAYS = ("item", "time_ms", "kind", "value")


@dataclass(frozen=True)
class Layout:
    """Where the events of each sequence, and of its parts, lie."""

    offset: AnyArray
    """[U + 1]"""
    train_end: AnyArray
    """[U]"""
    valid_end: AnyArray
    """[U]"""

    @classmethod
    def of(cls, parts: SequenceParts) -> "Layout":
        """From the lengths of the parts."""
        offset = np.concatenate([[0], np.cumsum(parts.events_U)]).astype(np.int64)
        train_end = offset[:-1] + parts.train_U
        return cls(offset, train_end, train_end + parts.valid_U)

    @property
    def events(self) -> int:
        """How many there are."""
        return int(self.offset[-1])

    def spread(self, value_U: AnyArray, start: int, stop: int) -> AnyArray:
        """What each of the events `start`..`stop` gets from its sequence."""
        first = int(np.searchsorted(self.offset, start, side="right")) - 1
        last = int(np.searchsorted(self.offset, stop, side="left"))
        bounds = self.offset[first : last + 1].clip(start, stop)
        spread: AnyArray = np.repeat(value_U[first:last], np.diff(bounds))
        return spread


@dataclass(frozen=True)
class Ranking:
    """Which item codes get which index: trained ones by count, then the others, each in order of appearance."""

    code_I: AnyArray
    """The code at index 1, 2, ..."""
    count_I: AnyArray
    """How many training events each has."""

    @property
    def warm(self) -> int:
        """How many items occur in training."""
        return int(np.count_nonzero(self.count_I))


def rank_items(engine: Engine, name: str, layout: Layout, codes: int) -> Ranking:
    """Count the training events of each item, and the order that follows."""
    trained_C, seen_C = np.zeros(codes, np.int64), np.zeros(codes, np.int64)
    for start, batch in _batches(engine, name, ["item"]):
        item_E = _column(batch, "item")
        position_E = np.arange(start, start + len(item_E))
        training_E = position_E < layout.spread(layout.train_end, start, start + len(item_E))
        trained_C += np.bincount(item_E[training_E], minlength=codes)
        seen_C += np.bincount(item_E, minlength=codes)
    code_I = np.argsort(-trained_C, kind="stable")
    code_I = code_I[seen_C[code_I] > 0]
    return Ranking(code_I, trained_C[code_I])


def write_arrays(engine: Engine, name: str, folder: Path, layout: Layout, ranking: Ranking) -> dict[str, Any]:
    """Write all arrays of a dataset; returns how many events share their time with the one before, and checksums."""
    index_C = np.zeros(int(ranking.code_I.max()) + 1, dtype=np.int32)
    index_C[ranking.code_I] = np.arange(1, len(ranking.code_I) + 1)
    # a digest an array: one of all of them together would depend on where the batches are cut
    digests, ties, last_ms = {name: hashlib.sha256() for name in COLUMNS}, 0, np.int64(-1)
    for part in ("offset", "train_end", "valid_end"):
        array = np.asarray(getattr(layout, part), dtype=COLUMNS[part])
        np.save(folder / f"{part}.npy", array)
        digests[part].update(array.data)
    with ExitStack() as stack:
        files = {
            part: stack.enter_context(_open(folder / f"{part}.npy", part, layout.events))
            for part in EVENT_ARRAYS
        }
        for start, batch in _batches(engine, name, list(EVENT_ARRAYS)):
            arrays = {part: _column(batch, part) for part in EVENT_ARRAYS}
            arrays["item"] = index_C[arrays["item"]]
            ties += _ties(arrays["time_ms"], last_ms, layout, start)
            last_ms = arrays["time_ms"][-1]
            for part, file in files.items():
                data = np.ascontiguousarray(arrays[part], dtype=COLUMNS[part]).data
                file.write(data)
                digests[part].update(data)
    return {"ties": ties, "checksums": {part: digest.hexdigest()[:16] for part, digest in digests.items()}}


def _batches(engine: Engine, name: str, columns: list[str]) -> Iterator[tuple[int, pa.RecordBatch]]:
    start = 0
    for batch in engine.batches(engine.table(name).select(*columns)):
        if batch.num_rows:
            yield start, batch
        start += batch.num_rows


def _column(batch: pa.RecordBatch, name: str) -> AnyArray:
    column: AnyArray = batch.column(name).to_numpy(zero_copy_only=False)
    return column


def _ties(time_ms_E: AnyArray, last_ms: np.int64, layout: Layout, start: int) -> int:
    """How many events share their time with the event before them in their sequence."""
    stop = start + len(time_ms_E)
    same_E = np.diff(time_ms_E, prepend=last_ms) == 0
    first = layout.offset[np.searchsorted(layout.offset, start) : np.searchsorted(layout.offset, stop)]
    same_E[first - start] = False
    return int(same_E.sum())


def _open(path: Path, name: str, length: int) -> IO[bytes]:
    file = path.open("wb")
    header = {"descr": np.dtype(COLUMNS[name]).str, "fortran_order": False, "shape": (length,)}
    np.lib.format.write_array_header_1_0(file, header)
    return file
