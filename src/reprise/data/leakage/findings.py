"""Leak findings: the kinds of leaks, a leak with example rows, and a counter of the events that show it.

Shape letters: N rows.
"""

from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np

from reprise.arrays import AnyArray
from reprise.data.dataset import SequenceDataset
from reprise.data.timestamps import format_time
from reprise.data.vocabulary import ItemId

LeakKind = Literal["late-training", "counts", "late-feature", "own-input", "duplicate", "giveaway"]
LEAK_KINDS: tuple[LeakKind, ...] = get_args(LeakKind)
"""Kinds of leaks. `late-training`: training events after the split. `counts`: item counts or a vocabulary that include
later events. `late-feature`: item features dated after the split. `own-input`: a target among its own inputs.
`duplicate`: the same events in two parts. `giveaway`: features from which the target follows."""
MAX_EXAMPLES = 3
"""Number of example rows of a leak."""


@dataclass(frozen=True)
class LeakRow:
    """An event, a sequence or an item that shows a leak, with the ids of the caller."""

    item_id: ItemId | None = None
    """Id of the item; None if the row is a whole sequence."""
    sequence_id: ItemId | None = None
    """Id of the sequence; None if the row is an item."""
    event: int | None = None
    """Index of the event within its sequence, from 0; None if the row is not an event."""
    time_ms: int | None = None
    """Time of the event in milliseconds since 1970 UTC, or None."""
    remark: str = ""
    """What is wrong with the row."""

    def __str__(self) -> str:
        item = "" if self.item_id is None else f"item {self.item_id!r}"
        if self.sequence_id is None:
            return " ".join(filter(None, (item, self.remark)))
        if self.event is None:
            return " ".join(filter(None, (f"sequence {self.sequence_id!r}", self.remark)))
        facts = [item, *([] if self.time_ms is None else [format_time(self.time_ms)]), self.remark]
        return f"event {self.event} of sequence {self.sequence_id!r} ({', '.join(filter(None, facts))})"


@dataclass(frozen=True)
class Leak:
    """Information about the targets in the training data or in the inputs of a model."""

    kind: LeakKind
    """Kind of the leak."""
    sentence: str
    """Description of the leak with its count."""
    count: int
    """Number of events, sequences or items that show the leak."""
    remedy: str
    """What the user can do about it."""
    rows: tuple[LeakRow, ...] = ()
    """First rows that show the leak, as examples."""
    fails: bool = True
    """Whether the leak is an error; False if it is only a note for the report."""

    def __str__(self) -> str:
        rows = f"; first: {'; '.join(map(str, self.rows))}" if self.rows else ""
        return f"{self.kind}: {self.sentence}{rows}; {self.remedy}" if self.fails else self.sentence


@dataclass
class Tally:
    """A counter of event positions that keeps the first few of them."""

    count: int = 0
    """Number of positions."""
    first: list[int] = field(default_factory=list)
    """First positions, in ascending order."""

    def add(self, position_N: AnyArray) -> None:
        """Add positions in ascending order; they must follow those added before."""
        self.count += len(position_N)
        self.first += [int(position) for position in position_N[: MAX_EXAMPLES - len(self.first)]]

    def rows(self, dataset: SequenceDataset, remark: str = "") -> tuple[LeakRow, ...]:
        """Return the first positions as rows with the ids of the caller."""
        return tuple(event_row(dataset, position, remark) for position in self.first)


def event_row(dataset: SequenceDataset, position: int, remark: str = "") -> LeakRow:
    """Return the event at a position as a row with the ids of the caller."""
    sequence = int(np.searchsorted(dataset.offset, position, side="right")) - 1
    return LeakRow(
        item_id=item_id(dataset, int(dataset.item[position])),
        sequence_id=dataset.users[sequence : sequence + 1].tolist()[0],
        event=position - int(dataset.offset[sequence]),
        time_ms=int(dataset.time_ms[position]),
        remark=remark,
    )


def item_id(dataset: SequenceDataset, index: int) -> ItemId:
    """Return the caller's id of an item index."""
    return dataset.items.item_ids([index])[0]
