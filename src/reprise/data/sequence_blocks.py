"""Whole sequences in blocks, so that a look at all of them takes no more memory for a longer log.

Shape letters: E events of a block.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from reprise.arrays import AnyArray
from reprise.data.dataset import SequenceDataset

BLOCK_EVENTS = 1_000_000
"""Events looked at together."""


class EventBlock(NamedTuple):
    """The events of some sequences."""

    first: int
    """Position in the dataset of the first event of its first sequence."""
    sequence_E: AnyArray
    """Which sequence each event is of, int64."""
    part_E: AnyArray
    """Which part: 0 train, 1 valid, 2 test; uint8."""
    item_E: AnyArray
    time_ms_E: AnyArray
    kind_E: AnyArray
    value_E: np.ndarray[Any, np.dtype[np.float32]]

    def select(self, wanted_E: AnyArray) -> "EventBlock":
        """Some of the events; bool."""
        return EventBlock(self.first, *(column_E[wanted_E] for column_E in self[1:]))

    def has_previous(self) -> AnyArray:
        """Which events have one before them in their sequence, [E], bool."""
        same_E = np.zeros(len(self.sequence_E), dtype=bool)
        np.equal(self.sequence_E[1:], self.sequence_E[:-1], out=same_E[1:])
        return same_E


def block_ranges(dataset: SequenceDataset, events: int = BLOCK_EVENTS) -> Iterator[tuple[int, int]]:
    """(first, one past the last) of sequences that have about so many events together."""
    start = 0
    while start < len(dataset):
        wanted = int(dataset.offset[start]) + events
        stop = max(start + 1, int(np.searchsorted(dataset.offset, wanted, side="right")) - 1)
        yield start, min(stop, len(dataset))
        start = stop


def iter_blocks(dataset: SequenceDataset, events: int = BLOCK_EVENTS) -> Iterator[EventBlock]:
    """All events in order, whole sequences of about so many at a time."""
    for start, stop in block_ranges(dataset, events):
        offset_S = np.asarray(dataset.offset[start : stop + 1])
        span = slice(int(offset_S[0]), int(offset_S[-1]))
        length_S = np.diff(offset_S)
        yield EventBlock(
            first=span.start,
            sequence_E=np.repeat(np.arange(start, stop), length_S),
            part_E=_parts(offset_S, dataset.train_end[start:stop], dataset.valid_end[start:stop]),
            item_E=np.asarray(dataset.item[span]),
            time_ms_E=np.asarray(dataset.time_ms[span]),
            kind_E=np.asarray(dataset.kind[span]),
            value_E=np.asarray(dataset.value[span]),
        )


def _parts(offset_S: AnyArray, train_end_S: AnyArray, valid_end_S: AnyArray) -> AnyArray:
    first_S, last_S = offset_S[:-1], offset_S[1:]
    train_end_S = train_end_S.clip(first_S, last_S)
    valid_end_S = valid_end_S.clip(train_end_S, last_S)
    length_S3 = np.diff(np.stack([first_S, train_end_S, valid_end_S, last_S], axis=1), axis=1)
    parts: AnyArray = np.repeat(np.tile(np.arange(3, dtype=np.uint8), len(length_S3)), length_S3.ravel())
    return parts
