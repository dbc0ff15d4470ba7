"""Leaks that single events format_time: the wrong side of the cut, an input that is its own target, rows and sequences twice.

Shape letters: U sequences, E events of a block, T tied events, I items. One pass over the log, in blocks.
"""

from collections.abc import Callable, Iterator

import numpy as np

from reprise.arrays import AnyArray, UInt64Array
from reprise.data.dataset import PARTS, SequenceDataset
from reprise.data.leakage.findings import SHOWN, Leak, LeakRow, Tally, item_id
from reprise.data.sequence_blocks import EventBlock, iter_blocks
from reprise.data.timestamps import format_time

WHOLE = 3
"""Events from which on two equal sequences are no chance."""
COUNT = "count"
_FIRST, _SECOND, _THIRD = (
    np.uint64(odd) for odd in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)


class EventSearch:
    """What one pass over a log gathers."""

    def __init__(self, dataset: SequenceDataset) -> None:
        self.dataset = dataset
        self.cut: tuple[int, int] | None = None
        if dataset.split.get("kind") == "time":
            self.cut = dataset.split["train_end_ms"], dataset.split["valid_end_ms"]
        self.first_test_ms = _first_test(dataset)
        self.misplaced, self.crossed, self.backward = Tally(), Tally(), Tally()
        self.repeated, self.doubled = Tally(), Tally()
        self.mixed = 0
        """Training events after the first test event."""
        self.trained_I, self.later_I, self.tested_I = (
            np.zeros(len(dataset.items) + 1, dtype=np.int64) for _ in range(3)
        )
        """Events of each item in the training part, after it, and in the test part; 0 is padding."""
        self._signature_U = np.zeros(len(dataset), dtype=np.uint64)
        for block in iter_blocks(dataset):
            self._read(block)

    def _read(self, block: EventBlock) -> None:
        same_E = block.has_previous()
        gap_ms_E = np.diff(block.time_ms_E, prepend=block.time_ms_E[:1])
        self._read_order(block, np.flatnonzero(same_E & (gap_ms_E < 0)))
        self._read_ties(block, same_E & (gap_ms_E == 0))
        places = np.bincount(block.item_E * np.int64(3) + block.part_E, minlength=3 * len(self.trained_I))
        trained_I, valid_I, tested_I = places.reshape(-1, 3).T
        self.trained_I += trained_I
        self.later_I += valid_I + tested_I
        self.tested_I += tested_I
        if self.first_test_ms is not None:
            self.mixed += int(np.count_nonzero((block.part_E == 0) & (block.time_ms_E > self.first_test_ms)))
        self._sign(block)

    def _sign(self, block: EventBlock) -> None:
        """Sum hashes of (step, item, time) over each sequence."""
        begins = np.flatnonzero(np.diff(block.sequence_E, prepend=-1))
        if len(begins):
            step_E = block.first + np.arange(len(block.item_E)) - self.dataset.offset[block.sequence_E]
            key_E = _mixed(
                _mixed(_mixed(np.zeros(len(step_E), np.uint64), step_E), block.item_E), block.time_ms_E
            )
            self._signature_U[block.sequence_E[begins]] = np.add.reduceat(key_E, begins)

    def _read_order(self, block: EventBlock, fall_N: AnyArray) -> None:
        if self.cut is not None:
            # the part that the time of an event says; equal to the part it is in
            by_time_E = (block.time_ms_E >= self.cut[0]).astype(np.uint8) + (block.time_ms_E >= self.cut[1])
            self.misplaced.add(block.first + np.flatnonzero(by_time_E != block.part_E))
        crosses_N = block.part_E[fall_N] != block.part_E[fall_N - 1]
        self.crossed.add(block.first + fall_N[crosses_N])
        self.backward.add(block.first + fall_N[~crosses_N])

    def _read_ties(self, block: EventBlock, tied_E: AnyArray) -> None:
        if not tied_E.any():
            return
        first_E = np.append(tied_E[1:], False)
        earlier_N, later_N = _copies(block, np.flatnonzero(tied_E | first_E))
        part_N = block.part_E[later_N]
        across_N = part_N != block.part_E[earlier_N]
        self.doubled.add(block.first + later_N[across_N])
        self.repeated.add(block.first + later_N[~across_N & (part_N > 0)])

    def leaks(self) -> Iterator[Leak]:
        """What was found."""
        yield from self._late()
        yield from _counts(self.dataset, self.trained_I)
        yield from self._own_inputs()
        yield from self._duplicates()

    def _late(self) -> Iterator[Leak]:
        if self.misplaced.count:
            assert self.cut is not None
            yield Leak(
                "late-training",
                f"{self.misplaced.count:,} events are in another part than their time says (training ends "
                f"{format_time(self.cut[0])}, validation {format_time(self.cut[1])})",
                self.misplaced.count,
                "the arrays were changed after they were made: run `reprise prepare` again",
                _with_parts(self.dataset, self.misplaced),
            )
        if self.crossed.count:
            yield Leak(
                "late-training",
                f"{self.crossed.count:,} times within a sequence an earlier part ends after a later one begins",
                self.crossed.count,
                "mark the parts in the order of time, or cut with another split",
                self.crossed.rows(self.dataset, "earlier than the last event of the part before it"),
            )
        if self.mixed:
            events = self.dataset.part_events("train")
            yield Leak(
                "late-training",
                f"{self.mixed:,} of {events:,} training events ({self.mixed / events:.1%}) are later than the first test "
                "event: this split does not cut the log at one moment, so training knows days that the test part asks about.",
                self.mixed,
                "cut by time to measure what a model knows of the future",
                fails=False,
            )

    def _own_inputs(self) -> Iterator[Leak]:
        if self.backward.count:
            yield Leak(
                "own-input",
                f"{self.backward.count:,} events are earlier than the event before them: inputs are later than their targets",
                self.backward.count,
                "sequences must be in the order of time: run `reprise prepare` again",
                self.backward.rows(self.dataset),
            )
        if self.repeated.count:
            yield Leak(
                "own-input",
                f"{self.repeated.count:,} targets repeat a row that is among their inputs (same item, time, kind and value)",
                self.repeated.count,
                _DROP,
                self.repeated.rows(self.dataset),
            )

    def _duplicates(self) -> Iterator[Leak]:
        if self.doubled.count:
            yield Leak(
                "duplicate",
                f"{self.doubled.count:,} rows are in two parts (same sequence, item, time, kind and value)",
                self.doubled.count,
                _DROP,
                self.doubled.rows(self.dataset),
            )
        yield from _same_sequences(self.dataset, self._signature_U)


_DROP = "repeated rows are dropped unless they are kept: leave duplicates='keep' (--keep-duplicates) out"


def overlapping(dataset: SequenceDataset) -> Leak | None:
    """Parts that are not one after the other within their sequence, if there are any."""
    first_U, last_U = dataset.offset[:-1], dataset.offset[1:]
    fine_U = (first_U <= dataset.train_end) & (dataset.train_end <= dataset.valid_end)
    wrong = np.flatnonzero(~(fine_U & (dataset.valid_end <= last_U)))
    if not len(wrong):
        return None
    rows = tuple(LeakRow(sequence_id=dataset.users[u : u + 1].tolist()[0]) for u in wrong[:SHOWN].tolist())
    sentence = f"{len(wrong):,} sequences have parts that overlap or reach beyond their events"
    return Leak("late-training", sentence, len(wrong), "run `reprise prepare` again", rows)


def _first_test(dataset: SequenceDataset) -> int | None:
    """When the test part begins in a log that is not cut at one moment; None where it is."""
    begin_U, end_U = dataset.part("test")
    tested = np.asarray(begin_U)[np.asarray(end_U) > begin_U]
    if dataset.split.get("kind") == "time" or not len(tested):
        return None
    return int(dataset.time_ms[tested].min())


def _with_parts(dataset: SequenceDataset, tally: Tally) -> tuple[LeakRow, ...]:
    rows = []
    for position, row in zip(tally.first, tally.rows(dataset), strict=True):
        ends = (dataset.train_end, dataset.valid_end)
        sequence = int(np.searchsorted(dataset.offset, position, side="right")) - 1
        part = PARTS[sum(position >= int(end[sequence]) for end in ends)]
        rows.append(LeakRow(row.item_id, row.sequence_id, row.event, row.time_ms, f"in the {part} part"))
    return tuple(rows)


def _counts(dataset: SequenceDataset, trained_I: AnyArray) -> Iterator[Leak]:
    """Items that are warm without training events or the other way round, and counts that are not of the training part."""
    warm, again = dataset.items.warm, "run `reprise prepare` again"
    index_I = np.arange(1, len(trained_I))
    yield from _of_items(
        dataset,
        1 + np.flatnonzero((trained_I[1:] > 0) != (index_I <= warm)),
        "{:,} items are in the vocabulary of training without a training event, or the other way round",
        f"the vocabulary was not made of the training part: {again}",
        lambda index: f"{'warm' if index <= warm else 'cold'}, {trained_I[index]:,} training events",
    )
    if COUNT in dataset.table.column_names:
        said_I = np.asarray(dataset.table.column(COUNT).to_numpy())
        yield from _of_items(
            dataset,
            1 + np.flatnonzero(said_I != trained_I[1:]),
            "the item table counts other events of {:,} items than those of the training part",
            again,
            lambda index: f"count {said_I[index - 1]:,}, {trained_I[index]:,} training events",
        )


def _of_items(
    dataset: SequenceDataset, index_N: AnyArray, sentence: str, remedy: str, remark: Callable[[int], str]
) -> Iterator[Leak]:
    """A leak of counts that some items format_time, if there are any."""
    if len(index_N):
        rows = tuple(
            LeakRow(item_id(dataset, index), remark=remark(index)) for index in index_N[:SHOWN].tolist()
        )
        yield Leak("counts", sentence.format(len(index_N)), len(index_N), remedy, rows)


def _same_sequences(dataset: SequenceDataset, signature_U: UInt64Array) -> Iterator[Leak]:
    """Sequences whose later events another one of the same items and times has for training."""
    offset = np.asarray(dataset.offset)
    long = np.flatnonzero(np.diff(offset) >= WHOLE)
    order = long[np.argsort(signature_U[long], kind="stable")]
    begins = np.flatnonzero(np.diff(signature_U[order], prepend=~signature_U[order][:1]))
    trained = (np.asarray(dataset.train_end) - offset[:-1])[order]
    if not len(order):
        return
    most = np.maximum.reduceat(trained, begins)
    widest = np.repeat(most, np.diff(np.append(begins, len(order))))
    pairs = []
    for place in np.flatnonzero(trained < widest).tolist():
        group = int(np.searchsorted(begins, place, side="right")) - 1
        stop = begins[group + 1] if group + 1 < len(begins) else len(order)
        same = order[begins[group] : stop]
        knows = int(same[np.argmax(trained[begins[group] : stop])])
        if _equal(dataset, int(order[place]), knows):
            pairs.append((int(order[place]), knows))
    if pairs:
        names = [dataset.users[list(pair)].tolist() for pair in pairs[:SHOWN]]
        yield Leak(
            "duplicate",
            f"{len(pairs):,} sequences have events to predict that a sequence of the same items and times has for training",
            len(pairs),
            "keep one of each, or give both to the same part",
            tuple(LeakRow(sequence_id=asked, remark=f"as sequence {knows!r}") for asked, knows in names),
        )


def _equal(dataset: SequenceDataset, one: int, other: int) -> bool:
    spans = [slice(int(dataset.offset[u]), int(dataset.offset[u + 1])) for u in (one, other)]
    columns = (dataset.item, dataset.time_ms)
    return all(np.array_equal(column[spans[0]], column[spans[1]]) for column in columns)


def _copies(block: EventBlock, tied_T: AnyArray) -> tuple[AnyArray, AnyArray]:
    """(earlier, later) places of equal rows among tied events, by the later one."""
    value_T = block.value_E[tied_T].view(np.uint32)
    columns = (block.sequence_E, block.time_ms_E, block.item_E, block.kind_E)
    key_T = np.zeros(len(tied_T), dtype=np.uint64)
    for column_T in (*(column[tied_T] for column in columns), value_T):
        key_T = _mixed(key_T, column_T)
    # the last digits of each hash make room for its place: to sort numbers is many times faster than to sort places of numbers
    room = np.uint64(len(tied_T).bit_length())
    packed_T = np.sort((key_T >> room << room) | np.arange(len(tied_T), dtype=np.uint64))
    alike = np.flatnonzero(packed_T[1:] >> room == packed_T[:-1] >> room)
    order_T = (packed_T & ((np.uint64(1) << room) - np.uint64(1))).astype(np.int64)
    earlier, later = order_T[alike], order_T[alike + 1]
    same = value_T[earlier] == value_T[later]
    for column in columns:
        same &= column[tied_T[earlier]] == column[tied_T[later]]
    earlier_N, later_N = tied_T[earlier[same]], tied_T[later[same]]
    place_N = np.argsort(later_N)
    return earlier_N[place_N], later_N[place_N]


def _mixed(key: UInt64Array, column: AnyArray) -> UInt64Array:
    """A hash of each key with a number more; the finaliser of splitmix64 (Steele et al. 2014)."""
    key = (key ^ column.astype(np.uint64)) + _FIRST
    key = (key ^ (key >> np.uint64(30))) * _SECOND
    key = (key ^ (key >> np.uint64(27))) * _THIRD
    return key ^ (key >> np.uint64(31))
