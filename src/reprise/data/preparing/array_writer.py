"""Writing of the sorted, encoded log as the arrays of a dataset, batch by batch.

Files are written, not memory-mapped: on a full disk a write raises an error, but a mapped page kills the process.
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
from reprise.data.io.engine import Engine
from reprise.data.split import SequenceParts

EVENT_ARRAYS = ("item", "time_ms", "kind", "value")


@dataclass(frozen=True)
class Layout:
    """Positions of the events of each sequence and of its parts."""

    offset: AnyArray
    """Position of the first event of each sequence, and the number of events at the end, [U + 1]."""
    train_end: AnyArray
    """Position after the last training event of each sequence, [U]."""
    valid_end: AnyArray
    """Position after the last validation event of each sequence, [U]."""

    @classmethod
    def from_parts(cls, parts: SequenceParts) -> "Layout":
        """Create the layout from the sizes of the parts."""
        offset = np.concatenate([[0], np.cumsum(parts.events_U)]).astype(np.int64)
        train_end = offset[:-1] + parts.train_U
        return cls(offset, train_end, train_end + parts.valid_U)

    @property
    def events(self) -> int:
        """Number of events."""
        return int(self.offset[-1])

    def repeat_per_event(self, value_U: AnyArray, start: int, stop: int) -> AnyArray:
        """Return for each event from `start` to `stop` the value of its sequence."""
        first = int(np.searchsorted(self.offset, start, side="right")) - 1
        last = int(np.searchsorted(self.offset, stop, side="left"))
        bounds = self.offset[first : last + 1].clip(start, stop)
        repeated: AnyArray = np.repeat(value_U[first:last], np.diff(bounds))
        return repeated


@dataclass(frozen=True)
class Ranking:
    """The order of the items: by number of training events, descending, then by first appearance."""

    code_I: AnyArray
    """Item code of each item index, from index 1."""
    count_I: AnyArray
    """Number of training events of each item."""

    @property
    def warm(self) -> int:
        """Number of items with training events."""
        return int(np.count_nonzero(self.count_I))


def rank_items(engine: Engine, name: str, layout: Layout, codes: int) -> Ranking:
    """Count the training events of each item and order the items by them; items without events are left out."""
    trained_C, seen_C = np.zeros(codes, np.int64), np.zeros(codes, np.int64)
    for start, batch in _batches(engine, name, ["item"]):
        item_E = _column(batch, "item")
        position_E = np.arange(start, start + len(item_E))
        training_E = position_E < layout.repeat_per_event(layout.train_end, start, start + len(item_E))
        trained_C += np.bincount(item_E[training_E], minlength=codes)
        seen_C += np.bincount(item_E, minlength=codes)
    code_I = np.argsort(-trained_C, kind="stable")
    code_I = code_I[seen_C[code_I] > 0]
    return Ranking(code_I, trained_C[code_I])


def write_arrays(
    engine: Engine, name: str, directory: Path, layout: Layout, ranking: Ranking
) -> dict[str, Any]:
    """Write all arrays of a dataset; return the number of tied events (`ties`) and a checksum per array."""
    index_C = np.zeros(int(ranking.code_I.max()) + 1, dtype=np.int32)
    index_C[ranking.code_I] = np.arange(1, len(ranking.code_I) + 1)
    # one digest per array: a digest of all arrays together would depend on the size of the batches
    digests, ties, last_ms = {name: hashlib.sha256() for name in COLUMNS}, 0, np.int64(-1)
    for part in ("offset", "train_end", "valid_end"):
        array = np.asarray(getattr(layout, part), dtype=COLUMNS[part])
        np.save(directory / f"{part}.npy", array)
        digests[part].update(array.data)
    with ExitStack() as stack:
        files = {
            part: stack.enter_context(_open(directory / f"{part}.npy", part, layout.events))
            for part in EVENT_ARRAYS
        }
        for start, batch in _batches(engine, name, list(EVENT_ARRAYS)):
            arrays = {part: _column(batch, part) for part in EVENT_ARRAYS}
            arrays["item"] = index_C[arrays["item"]]
            # files and engines write NaN with different bits, which would change the checksum
            arrays["value"] = np.where(np.isnan(arrays["value"]), np.float32(np.nan), arrays["value"])
            ties += _ties(arrays["time_ms"], last_ms, layout, start)
            last_ms = arrays["time_ms"][-1]
            for part, file in files.items():
                data = np.ascontiguousarray(arrays[part], dtype=COLUMNS[part]).data
                file.write(data)
                digests[part].update(data)
    return {"ties": ties, "checksums": {part: digest.hexdigest()[:16] for part, digest in digests.items()}}


def _batches(engine: Engine, name: str, columns: list[str]) -> Iterator[tuple[int, pa.RecordBatch]]:
    start = 0
    for batch in engine.event_batches(name, columns):
        if batch.num_rows:
            yield start, batch
        start += batch.num_rows


def _column(batch: pa.RecordBatch, name: str) -> AnyArray:
    column: AnyArray = batch.column(name).to_numpy(zero_copy_only=False)
    return column


def _ties(time_ms_E: AnyArray, last_ms: np.int64, layout: Layout, start: int) -> int:
    """Count the events with the same time as the event before them in their sequence."""
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
