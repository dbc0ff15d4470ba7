"""What a leak is, how the rows that format_time it are named, and how they are counted where there are many.

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
KINDS: tuple[LeakKind, ...] = get_args(LeakKind)
"""What is looked for: training events after the cut; counts and a vocabulary that know more than training; item features dated
after the cut; a target among its own inputs; duplicates across parts; features that give the target away."""
SHOWN = 3
"""Rows that a finding names."""


@dataclass(frozen=True)
class LeakRow:
    """An event or an item that shows a leak, with the caller's own ids."""

    item_id: ItemId | None = None
    """None: it is about a whole sequence."""
    sequence_id: ItemId | None = None
    """None: it is about an item."""
    event: int | None = None
    """Which event of its sequence, from 0."""
    time_ms: int | None = None
    remark: str = ""
    """What is odd about it."""

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
    """Something by which training or the inputs know what they are asked about."""

    kind: LeakKind
    sentence: str
    """What was found, with its count."""
    count: int
    """How many events, sequences or items format_time it."""
    remedy: str
    """What to do about it."""
    rows: tuple[LeakRow, ...] = ()
    """The first of them."""
    fails: bool = True
    """False: worth knowing, and part of the protocol as it is."""

    def __str__(self) -> str:
        rows = f"; first: {'; '.join(map(str, self.rows))}" if self.rows else ""
        return f"{self.kind}: {self.sentence}{rows}; {self.remedy}" if self.fails else self.sentence


@dataclass
class Tally:
    """How many positions were found, and the first of them."""

    count: int = 0
    first: list[int] = field(default_factory=list)

    def add(self, position_N: AnyArray) -> None:
        """Count more of them; they come in order."""
        self.count += len(position_N)
        self.first += [int(position) for position in position_N[: SHOWN - len(self.first)]]

    def rows(self, dataset: SequenceDataset, remark: str = "") -> tuple[LeakRow, ...]:
        """The first ones by name."""
        return tuple(event_row(dataset, position, remark) for position in self.first)


def event_row(dataset: SequenceDataset, position: int, remark: str = "") -> LeakRow:
    """An event of the dataset by name."""
    sequence = int(np.searchsorted(dataset.offset, position, side="right")) - 1
    return LeakRow(
        item_id=item_id(dataset, int(dataset.item[position])),
        sequence_id=dataset.users[sequence : sequence + 1].tolist()[0],
        event=position - int(dataset.offset[sequence]),
        time_ms=int(dataset.time_ms[position]),
        remark=remark,
    )


def item_id(dataset: SequenceDataset, index: int) -> ItemId:
    """The caller's id of an item index."""
    return dataset.items.item_ids([index])[0]
