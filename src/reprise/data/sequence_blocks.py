"""Iteration over a dataset in blocks of whole sequences, so that memory does not grow with the log.

Shape letters: E events of a block, S sequences of a block.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from reprise.arrays import AnyArray, BoolArray, Float32Array
from reprise.data.dataset import SequenceDataset

BLOCK_EVENTS = 1_000_000
"""Approximate number of events in a block."""


class EventBlock(NamedTuple):
    """The events of consecutive sequences, as columns in memory."""

    first: int
    """Position in the dataset of the first event of the block."""
    sequence_E: AnyArray
    """Index of the sequence of each event, int64."""
    part_E: AnyArray
    """Part of each event: 0 train, 1 valid, 2 test; uint8."""
    item_E: AnyArray
    """Item index of each event, int32."""
    time_ms_E: AnyArray
    """Time of each event in milliseconds since 1970 UTC, int64."""
    kind_E: AnyArray
    """Index of the kind of each event, uint8."""
    value_E: Float32Array
    """Value of each event, NaN if it has none."""

    def select(self, wanted_E: BoolArray) -> "EventBlock":
        """Return the block with only the events for which `wanted_E` is true."""
        return EventBlock(self.first, *(column_E[wanted_E] for column_E in self[1:]))

    def has_previous(self) -> BoolArray:
        """Return whether each event follows another event of the same sequence, [E]."""
        same_E = np.zeros(len(self.sequence_E), dtype=bool)
        np.equal(self.sequence_E[1:], self.sequence_E[:-1], out=same_E[1:])
        return same_E


def block_ranges(dataset: SequenceDataset, events: int = BLOCK_EVENTS) -> Iterator[tuple[int, int]]:
    """Divide the sequences into ranges (first, one past the last) of about `events` events each."""
    start = 0
    while start < len(dataset):
        wanted = int(dataset.offset[start]) + events
        stop = max(start + 1, int(np.searchsorted(dataset.offset, wanted, side="right")) - 1)
        yield start, min(stop, len(dataset))
        start = stop


def iter_blocks(dataset: SequenceDataset, events: int = BLOCK_EVENTS) -> Iterator[EventBlock]:
    """Iterate over all events in order, in blocks of whole sequences with about `events` events each."""
    for start, stop in block_ranges(dataset, events):
        offset_S = np.asarray(dataset.offset[start : stop + 1])
        span = slice(int(offset_S[0]), int(offset_S[-1]))
        length_S = np.diff(offset_S)
        yield EventBlock(
            first=span.start,
            sequence_E=np.repeat(np.arange(start, stop), length_S),
            part_E=_parts(dataset, slice(start, stop)),
            item_E=np.asarray(dataset.item[span]),
            time_ms_E=np.asarray(dataset.time_ms[span]),
            kind_E=np.asarray(dataset.kind[span]),
            value_E=np.asarray(dataset.value[span]),
        )


def iter_user_blocks(dataset: SequenceDataset, events: int = BLOCK_EVENTS) -> Iterator[EventBlock]:
    """Iterate over all events in blocks of whole users with about `events` events each.

    All sequences of a user are in one block, next to each other. They may be anywhere in the dataset.
    """
    if dataset.owner is None:
        yield from iter_blocks(dataset, events)
        return
    order_U = np.argsort(dataset.owner, kind="stable")
    length_U = np.diff(dataset.offset)[order_U]
    before_U = length_U.cumsum() - length_U
    begins = np.flatnonzero(np.diff(dataset.owner[order_U], prepend=-1))
    starts = begins[np.flatnonzero(np.diff(before_U[begins] // events, prepend=-1))]
    for start, stop in zip(starts, [*starts[1:], len(order_U)], strict=True):
        row_S, length_S = order_U[start:stop], length_U[start:stop]
        first_S = np.asarray(dataset.offset[:-1])[row_S]
        position_E = np.repeat(first_S - (length_S.cumsum() - length_S), length_S)
        position_E += np.arange(len(position_E))
        yield EventBlock(
            first=int(first_S[0]),
            sequence_E=np.repeat(row_S, length_S),
            part_E=_parts(dataset, row_S),
            item_E=np.asarray(dataset.item[position_E]),
            time_ms_E=np.asarray(dataset.time_ms[position_E]),
            kind_E=np.asarray(dataset.kind[position_E]),
            value_E=np.asarray(dataset.value[position_E]),
        )


def _parts(dataset: SequenceDataset, row_S: slice | AnyArray) -> AnyArray:
    """Return the part of each event of some sequences as 0, 1 or 2, [E]; part ends are moved into their sequence."""
    first_S, last_S = dataset.offset[:-1][row_S], dataset.offset[1:][row_S]
    train_end_S = dataset.train_end[row_S].clip(first_S, last_S)
    valid_end_S = dataset.valid_end[row_S].clip(train_end_S, last_S)
    length_S3 = np.diff(np.stack([first_S, train_end_S, valid_end_S, last_S], axis=1), axis=1)
    parts: AnyArray = np.repeat(np.tile(np.arange(3, dtype=np.uint8), len(length_S3)), length_S3.ravel())
    return parts
