"""Leaks that single events show: events in the wrong part, targets among their inputs, and duplicates.

Shape letters: U sequences, E events of a block, T tied events, I items, N pairs or positions. One pass over the log in
blocks, so that memory does not grow with its number of events.
"""

from collections.abc import Callable, Iterator

import numpy as np

from reprise.arrays import AnyArray, BoolArray, UInt64Array
from reprise.data.dataset import PARTS, SequenceDataset
from reprise.data.leakage.findings import MAX_EXAMPLES, Leak, LeakRow, Tally, item_id
from reprise.data.sequence_blocks import EventBlock, iter_blocks
from reprise.data.timestamps import format_time

MIN_DUPLICATE_EVENTS = 3
"""Number of events from which equal sequences count as duplicates; shorter ones are often equal by chance."""
COUNT = "count"
"""Column of the item table with the number of training events."""
PREPARE_AGAIN = "run `reprise prepare` again"
DROP_DUPLICATES = "omit duplicates='keep' (--keep-duplicates), so that repeated rows are dropped"
_GAMMA, _MIX_1, _MIX_2 = (
    np.uint64(odd) for odd in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)


class EventSearch:
    """The result of one pass over the events of a dataset."""

    def __init__(self, dataset: SequenceDataset) -> None:
        """Read all events of the dataset."""
        self.dataset = dataset
        self.split_times: tuple[int, int] | None = None
        """End of training and of validation in milliseconds, if the dataset is split by time."""
        if dataset.split.get("kind") == "time":
            self.split_times = dataset.split["train_end_ms"], dataset.split["valid_end_ms"]
        self.first_test_ms = _first_test_time(dataset)
        self.misplaced = Tally()
        """Events in another part than the one of their time."""
        self.before_earlier_part = Tally()
        """Events that are earlier than the event before them, which is in an earlier part."""
        self.before_previous = Tally()
        """Events that are earlier than the event before them, in the same part."""
        self.repeated_targets = Tally()
        """Validation and test events with a copy before them in the same part."""
        self.in_two_parts = Tally()
        """Events with a copy in an earlier part of their sequence."""
        self.late_training_events = 0
        """Number of training events after the first test event, if the dataset is not split by time."""
        self.trained_I, self.later_I, self.tested_I = (
            np.zeros(len(dataset.items) + 1, dtype=np.int64) for _ in range(3)
        )
        """Number of events of each item in the training part, after it, and in the test part; index 0 is padding."""
        self._signature_U = np.zeros(len(dataset), dtype=np.uint64)
        for block in iter_blocks(dataset):
            self._add(block)

    def _add(self, block: EventBlock) -> None:
        follows_E = block.has_previous()
        gap_ms_E = np.diff(block.time_ms_E, prepend=block.time_ms_E[:1])
        self._check_order(block, np.flatnonzero(follows_E & (gap_ms_E < 0)))
        self._check_ties(block, follows_E & (gap_ms_E == 0))
        # one bincount over (item, part) gives the events of each item in all three parts
        count_I3 = np.bincount(block.item_E * np.int64(3) + block.part_E, minlength=3 * len(self.trained_I))
        trained_I, valid_I, tested_I = count_I3.reshape(-1, 3).T
        self.trained_I += trained_I
        self.later_I += valid_I + tested_I
        self.tested_I += tested_I
        if self.first_test_ms is not None:
            late_E = (block.part_E == 0) & (block.time_ms_E > self.first_test_ms)
            self.late_training_events += int(np.count_nonzero(late_E))
        self._add_signatures(block)

    def _add_signatures(self, block: EventBlock) -> None:
        """Compute a signature of each sequence: the sum of the hashes of (step, item, time) over its events.

        Equal sequences have equal signatures, so sorting one number per sequence finds all candidates for duplicates.
        They are compared event by event afterwards, since different sequences may have the same sum.
        """
        begins = np.flatnonzero(np.diff(block.sequence_E, prepend=-1))
        if len(begins):
            step_E = block.first + np.arange(len(block.item_E)) - self.dataset.offset[block.sequence_E]
            key_E = np.zeros(len(step_E), np.uint64)
            for column_E in (step_E, block.item_E, block.time_ms_E):
                key_E = _hash(key_E, column_E)
            self._signature_U[block.sequence_E[begins]] = np.add.reduceat(key_E, begins)

    def _check_order(self, block: EventBlock, earlier_N: AnyArray) -> None:
        """Find events in the wrong part, and sort the events earlier than their predecessor, `earlier_N`, by part."""
        if self.split_times is not None:
            # 0, 1 or 2: the part to which an event belongs by its time
            by_time_E = (block.time_ms_E >= self.split_times[0]).astype(np.uint8)
            by_time_E += block.time_ms_E >= self.split_times[1]
            self.misplaced.add(block.first + np.flatnonzero(by_time_E != block.part_E))
        across_N = block.part_E[earlier_N] != block.part_E[earlier_N - 1]
        self.before_earlier_part.add(block.first + earlier_N[across_N])
        self.before_previous.add(block.first + earlier_N[~across_N])

    def _check_ties(self, block: EventBlock, tied_E: BoolArray) -> None:
        """Find copies of events. Copies have equal times, so only events with the time of a neighbour are compared."""
        if not tied_E.any():
            return
        # `tied_E` is true for events at the time of the one before them; the first event of each run belongs to it too
        first_E = np.append(tied_E[1:], False)
        earlier_N, later_N = _find_copies(block, np.flatnonzero(tied_E | first_E))
        part_N = block.part_E[later_N]
        across_N = part_N != block.part_E[earlier_N]
        self.in_two_parts.add(block.first + later_N[across_N])
        # a copy within the training part is harmless, because it is not a target of validation or test
        self.repeated_targets.add(block.first + later_N[~across_N & (part_N > 0)])

    def leaks(self) -> Iterator[Leak]:
        """Return the leaks that the pass has found."""
        yield from self._late_training()
        yield from _wrong_counts(self.dataset, self.trained_I)
        yield from self._own_inputs()
        yield from self._duplicates()

    def _late_training(self) -> Iterator[Leak]:
        if self.misplaced.count:
            assert self.split_times is not None
            train_end, valid_end = map(format_time, self.split_times)
            yield Leak(
                "late-training",
                f"{self.misplaced.count:,} events are in the wrong part for their time (training ends {train_end}, "
                f"validation {valid_end})",
                self.misplaced.count,
                f"the arrays were changed after they were written: {PREPARE_AGAIN}",
                _rows_with_parts(self.dataset, self.misplaced),
            )
        if self.before_earlier_part.count:
            yield Leak(
                "late-training",
                f"{self.before_earlier_part.count:,} events are earlier than the event before them, "
                "which is in an earlier part",
                self.before_earlier_part.count,
                "mark the parts in the order of time, or use another split",
                self.before_earlier_part.rows(
                    self.dataset, "earlier than the last event of the part before it"
                ),
            )
        if self.late_training_events:
            events = self.dataset.part_events("train")
            yield Leak(
                "late-training",
                f"{self.late_training_events:,} of {events:,} training events ({self.late_training_events / events:.1%}) "
                "are later than the first test event, because this split does not divide the log at one time. "
                "So the training data includes the period of the test part.",
                self.late_training_events,
                "split by time to measure how well a model predicts the future",
                fails=False,
            )

    def _own_inputs(self) -> Iterator[Leak]:
        if self.before_previous.count:
            yield Leak(
                "own-input",
                f"{self.before_previous.count:,} events are earlier than the event before them, so inputs are later than "
                "their targets",
                self.before_previous.count,
                f"sequences must be in the order of time: {PREPARE_AGAIN}",
                self.before_previous.rows(self.dataset),
            )
        if self.repeated_targets.count:
            yield Leak(
                "own-input",
                f"{self.repeated_targets.count:,} targets are copies of one of their inputs (same item, time, kind and "
                "value)",
                self.repeated_targets.count,
                DROP_DUPLICATES,
                self.repeated_targets.rows(self.dataset),
            )

    def _duplicates(self) -> Iterator[Leak]:
        if self.in_two_parts.count:
            yield Leak(
                "duplicate",
                f"{self.in_two_parts.count:,} rows occur in two parts (same sequence, item, time, kind and value)",
                self.in_two_parts.count,
                DROP_DUPLICATES,
                self.in_two_parts.rows(self.dataset),
            )
        yield from _duplicate_sequences(self.dataset, self._signature_U)


def find_overlapping_parts(dataset: SequenceDataset) -> Leak | None:
    """Return a leak if the parts of a sequence overlap or are not in order, else None."""
    first_U, last_U = dataset.offset[:-1], dataset.offset[1:]
    ordered_U = (first_U <= dataset.train_end) & (dataset.train_end <= dataset.valid_end)
    wrong = np.flatnonzero(~(ordered_U & (dataset.valid_end <= last_U)))
    if not len(wrong):
        return None
    rows = tuple(
        LeakRow(sequence_id=dataset.users[u : u + 1].tolist()[0]) for u in wrong[:MAX_EXAMPLES].tolist()
    )
    sentence = f"{len(wrong):,} sequences have parts that overlap or extend beyond their events"
    return Leak("late-training", sentence, len(wrong), PREPARE_AGAIN, rows)


def _first_test_time(dataset: SequenceDataset) -> int | None:
    """Return the time of the first test event; None if the dataset is split by time or has no test events."""
    begin_U, end_U = dataset.part("test")
    tested = np.asarray(begin_U)[np.asarray(end_U) > begin_U]
    if dataset.split.get("kind") == "time" or not len(tested):
        return None
    return int(dataset.time_ms[tested].min())


def _rows_with_parts(dataset: SequenceDataset, tally: Tally) -> tuple[LeakRow, ...]:
    """Return the first positions of a tally as rows whose remark is the part they are in."""
    rows = []
    for position, row in zip(tally.first, tally.rows(dataset), strict=True):
        ends = (dataset.train_end, dataset.valid_end)
        sequence = int(np.searchsorted(dataset.offset, position, side="right")) - 1
        part = PARTS[sum(position >= int(end[sequence]) for end in ends)]
        rows.append(LeakRow(row.item_id, row.sequence_id, row.event, row.time_ms, f"in the {part} part"))
    return tuple(rows)


def _wrong_counts(dataset: SequenceDataset, trained_I: AnyArray) -> Iterator[Leak]:
    """Find items that are warm without training events or cold with some, and wrong counts in the item table."""
    warm = dataset.items.warm
    index_I = np.arange(1, len(trained_I))
    yield from _item_leak(
        dataset,
        1 + np.flatnonzero((trained_I[1:] > 0) != (index_I <= warm)),
        "{:,} items are warm without training events, or cold with training events",
        f"the vocabulary was not built from the training part: {PREPARE_AGAIN}",
        lambda index: f"{'warm' if index <= warm else 'cold'}, {trained_I[index]:,} training events",
    )
    if COUNT in dataset.table.column_names:
        given_I = np.asarray(dataset.table.column(COUNT).to_numpy())
        yield from _item_leak(
            dataset,
            1 + np.flatnonzero(given_I != trained_I[1:]),
            "column 'count' of the item table differs from the number of training events for {:,} items",
            PREPARE_AGAIN,
            lambda index: f"count {given_I[index - 1]:,}, {trained_I[index]:,} training events",
        )


def _item_leak(
    dataset: SequenceDataset, index_N: AnyArray, sentence: str, remedy: str, remark: Callable[[int], str]
) -> Iterator[Leak]:
    """Yield a leak of kind `counts` for the items `index_N`, if there are any."""
    if len(index_N):
        rows = tuple(
            LeakRow(item_id(dataset, index), remark=remark(index))
            for index in index_N[:MAX_EXAMPLES].tolist()
        )
        yield Leak("counts", sentence.format(len(index_N)), len(index_N), remedy, rows)


def _duplicate_sequences(dataset: SequenceDataset, signature_U: UInt64Array) -> Iterator[Leak]:
    """Find sequences with validation or test events that an equal sequence has in its training part."""
    offset = np.asarray(dataset.offset)
    long = np.flatnonzero(np.diff(offset) >= MIN_DUPLICATE_EVENTS)
    if not len(long):
        return
    order = long[np.argsort(signature_U[long], kind="stable")]
    # runs of equal signatures; prepending the complement makes the first sequence the beginning of a run
    begins = np.flatnonzero(np.diff(signature_U[order], prepend=~signature_U[order][:1]))
    trained = (np.asarray(dataset.train_end) - offset[:-1])[order]
    longest = np.maximum.reduceat(trained, begins)
    longest_of_run = np.repeat(longest, np.diff(np.append(begins, len(order))))
    # Only a sequence with fewer training events than another one of its run can have targets that the other one trains
    # on. For example, of three equal sequences with 5, 5 and 3 training events, only the last one is compared.
    pairs = []
    for place in np.flatnonzero(trained < longest_of_run).tolist():
        run = int(np.searchsorted(begins, place, side="right")) - 1
        stop = begins[run + 1] if run + 1 < len(begins) else len(order)
        sequences = order[begins[run] : stop]
        trained_on = int(sequences[np.argmax(trained[begins[run] : stop])])
        if _equal(dataset, int(order[place]), trained_on):
            pairs.append((int(order[place]), trained_on))
    if pairs:
        ids = [dataset.users[list(pair)].tolist() for pair in pairs[:MAX_EXAMPLES]]
        yield Leak(
            "duplicate",
            f"{len(pairs):,} sequences have validation or test events that another sequence with the same items and "
            "times has as training events",
            len(pairs),
            "keep one of each pair, or put both in the same part",
            tuple(
                LeakRow(sequence_id=tested, remark=f"equals sequence {trained!r}") for tested, trained in ids
            ),
        )


def _equal(dataset: SequenceDataset, one: int, other: int) -> bool:
    spans = [slice(int(dataset.offset[u]), int(dataset.offset[u + 1])) for u in (one, other)]
    columns = (dataset.item, dataset.time_ms)
    return all(np.array_equal(column[spans[0]], column[spans[1]]) for column in columns)


def _find_copies(block: EventBlock, tied_T: AnyArray) -> tuple[AnyArray, AnyArray]:
    """Return the positions (earlier, later) in the block of equal rows among the tied events, by the later one."""
    # values are compared as bits, so that NaN equals NaN
    value_T = block.value_E[tied_T].view(np.uint32)
    columns = (block.sequence_E, block.time_ms_E, block.item_E, block.kind_E)
    key_T = np.zeros(len(tied_T), dtype=np.uint64)
    for column_T in (*(column[tied_T] for column in columns), value_T):
        key_T = _hash(key_T, column_T)
    # Equal rows have equal hashes, so sorting the hashes puts them next to each other. The low bits of each hash are
    # replaced by the index of its row, because np.sort of numbers is many times faster than np.argsort. For example, with
    # 5 rows the index needs 3 bits: row 4 with hash ...10110_010 becomes ...10110_100, and after sorting the low 3 bits
    # give the row again. Rows whose remaining hash bits agree by chance are removed by the comparison below.
    bits = np.uint64(len(tied_T).bit_length())
    packed_T = np.sort((key_T >> bits << bits) | np.arange(len(tied_T), dtype=np.uint64))
    candidates = np.flatnonzero(packed_T[1:] >> bits == packed_T[:-1] >> bits)
    order_T = (packed_T & ((np.uint64(1) << bits) - np.uint64(1))).astype(np.int64)
    earlier, later = order_T[candidates], order_T[candidates + 1]
    equal = value_T[earlier] == value_T[later]
    for column in columns:
        equal &= column[tied_T[earlier]] == column[tied_T[later]]
    earlier_N, later_N = tied_T[earlier[equal]], tied_T[later[equal]]
    by_later = np.argsort(later_N)
    return earlier_N[by_later], later_N[by_later]


def _hash(key: UInt64Array, column: AnyArray) -> UInt64Array:
    """Combine each key with one more number; the finaliser of splitmix64 (Steele et al. 2014)."""
    key = (key ^ column.astype(np.uint64)) + _GAMMA
    key = (key ^ (key >> np.uint64(30))) * _MIX_1
    key = (key ^ (key >> np.uint64(27))) * _MIX_2
    return key ^ (key >> np.uint64(31))
