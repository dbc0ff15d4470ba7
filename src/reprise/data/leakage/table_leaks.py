"""Leaks in the item table and in the user table: columns with dates after training, or counted from later events.

Shape letters: R rows of a table, I items, U sequences.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from reprise.arrays import AnyArray, BoolArray, Float64Array
from reprise.data.dataset import SequenceDataset
from reprise.data.feature_dates import FUTURE_WORDS, name_words, training_end_ms
from reprise.data.io.arrow_columns import Table
from reprise.data.leakage.column_readings import FeatureReading, read_numbers
from reprise.data.leakage.event_leaks import COUNT, EventSearch
from reprise.data.leakage.feature_leaks import HIGH_ACCURACY
from reprise.data.leakage.findings import MAX_EXAMPLES, Leak, LeakRow, item_id
from reprise.data.timestamps import format_time

MIN_ROWS, MIN_LATER_ROWS = 20, 10
"""Smallest numbers of rows, and of rows with later events, for which a dependence on a count is reported."""
MAX_UNEXPLAINED = 1e-3
"""A column follows a count if the count leaves at most this share of the variance of the column unexplained."""
MIN_RATIO = 10.0
"""A column follows later counts only if training counts leave this many times more of its variance unexplained."""


class CountedTable(NamedTuple):
    """A table with one row per item or per sequence, and the number of events of each row."""

    table: Table
    """The columns to search."""
    name: str
    """Name of the table in messages, such as "item table"."""
    noun: str
    """What the rows are in messages: items or sequences."""
    in_training_R: BoolArray
    """Whether the item or sequence is in the training part."""
    trained_R: AnyArray
    """Number of its training events."""
    later_R: AnyArray
    """Number of its events after the training part."""
    tested_R: AnyArray
    """Number of its test events."""
    example: Callable[[int, str], LeakRow]
    """Function that returns a row, with a remark, as an example in a message."""


def find_table_leaks(dataset: SequenceDataset, search: EventSearch) -> Iterator[Leak]:
    """Find columns of the item table and of the user table that contain what happened after training."""
    tables = [_item_table(dataset, search)]
    if dataset.user_table is not None:
        tables.append(_user_table(dataset, dataset.user_table))
    train_end_ms = training_end_ms(dataset) if dataset.part_events("train") else np.inf
    for counted in tables:
        for name in counted.table.column_names:
            for reading in read_numbers(name, counted.table.column(name)):
                if reading.is_date:
                    yield from _late_dates(counted, name, reading.number_R, train_end_ms)
                else:
                    yield from _later_counts(counted, name, reading)


def _item_table(dataset: SequenceDataset, search: EventSearch) -> CountedTable:
    kept = [name for name in dataset.table.column_names if name not in ("item_id", COUNT)]
    return CountedTable(
        dataset.table.select(kept),
        "item table",
        "items",
        # cold items may have later dates: they are new, and their features were not known during training anyway
        np.arange(len(dataset.items)) < dataset.items.warm,
        search.trained_I[1:],
        search.later_I[1:],
        search.tested_I[1:],
        lambda row, remark: LeakRow(item_id=item_id(dataset, row + 1), remark=remark),
    )


def _user_table(dataset: SequenceDataset, table: Table) -> CountedTable:
    first_U, last_U = np.asarray(dataset.offset[:-1]), np.asarray(dataset.offset[1:])
    train_end_U, valid_end_U = np.asarray(dataset.train_end), np.asarray(dataset.valid_end)
    return CountedTable(
        table,
        "user table",
        "sequences",
        train_end_U > first_U,
        train_end_U - first_U,
        last_U - train_end_U,
        last_U - valid_end_U,
        lambda row, remark: LeakRow(sequence_id=dataset.users[[row]].tolist()[0], remark=remark),
    )


def _late_dates(
    counted: CountedTable, name: str, time_ms_R: Float64Array, train_end_ms: float
) -> Iterator[Leak]:
    """Find items or sequences of the training part with a date at or after the end of training."""
    late = np.flatnonzero(counted.in_training_R & (time_ms_R >= train_end_ms))
    if not len(late):
        return
    known_in_advance = bool(name_words(name) & FUTURE_WORDS)
    rows = tuple(
        counted.example(row, f"{name} {format_time(float(time_ms_R[row]))}")
        for row in late[:MAX_EXAMPLES].tolist()
    )
    sentence = (
        f"column {name!r} of the {counted.name} has dates at or after the end of training "
        f"({format_time(train_end_ms)}) for {len(late):,} {counted.noun} of the training part"
    )
    if known_in_advance:
        sentence += "; by its name, this date is known in advance."
    remedy = f"remove {name!r} from the {counted.name}, or use its values as of the end of training"
    yield Leak("late-feature", sentence, len(late), remedy, rows, fails=not known_in_advance)


def _later_counts(counted: CountedTable, name: str, reading: FeatureReading) -> Iterator[Leak]:
    """Find a column that contains counts of events after training, or a function of such counts."""
    trained_R, later_R, number_R = counted.trained_R, counted.later_R, reading.number_R
    used_R = np.isfinite(number_R) & (trained_R + later_R > 0)
    # with few rows, or few of them with later events, any column may look like a count by chance
    if used_R.sum() < MIN_ROWS or np.count_nonzero(later_R[used_R]) < MIN_LATER_ROWS:
        return
    number, trained = number_R[used_R], trained_R[used_R]
    counts_by_name = {"all": trained_R + later_R, "later": later_R, "test": counted.tested_R}
    for which, count_R in counts_by_name.items():
        count = count_R[used_R]
        if follows_count(number, count, trained) or equals_count(number, count, trained):
            examples = np.flatnonzero(used_R)[np.argsort(-later_R[used_R], kind="stable")[:MAX_EXAMPLES]]
            rows = tuple(
                counted.example(
                    row,
                    f"{name} {number_R[row]:,.6g}, {trained_R[row]:,} training and {later_R[row]:,} later events",
                )
                for row in examples.tolist()
            )
            yield Leak(
                "giveaway",
                f"{reading.what} of the {counted.name} follows the number of {which} events of {used_R.sum():,} "
                f"{counted.noun}, not of the training events",
                int(used_R.sum()),
                f"remove {name!r} from the {counted.name}, or count training events only",
                rows,
            )
            return


def equals_count(number: Float64Array, count: AnyArray, trained: AnyArray) -> bool:
    """Return whether a column equals a count for nearly all rows whose count differs from that of training."""
    # rows without later events have equal counts and cannot show which of the two the column contains
    differs = count != trained
    given = number[differs]
    return (
        len(given) >= MIN_LATER_ROWS
        and len(np.unique(given)) > 2
        and bool((given == count[differs]).mean() >= HIGH_ACCURACY)
    )


def follows_count(number: Float64Array, count: AnyArray, trained: AnyArray) -> bool:
    """Return whether a column is a linear function of a count or of its ranks, but not of the counts of training.

    The ranks also reveal monotonic functions. For example, counts of all events 4, 9, 16 and a column with their roots
    2, 3, 4 have the equal ranks 1, 2, 3. Counts of training events resemble counts of all events, so they must fit much
    worse; otherwise the column may be an honest count of the training part.
    """
    for transform in (np.asarray, _average_ranks):
        left_by_count = _unexplained_share(transform(number), transform(count))
        left_by_trained = _unexplained_share(transform(number), transform(trained))
        if left_by_count <= MAX_UNEXPLAINED and left_by_trained > max(
            MIN_RATIO * left_by_count, MAX_UNEXPLAINED
        ):
            return True
    return False


def _unexplained_share(number: Float64Array, by: Any) -> float:
    """Return the share of the variance of `number` that a linear function of `by` leaves unexplained."""
    if np.ptp(number) == 0 or np.ptp(by) == 0:
        return 1.0
    return 1.0 - float(np.corrcoef(number, by)[0, 1]) ** 2


def _average_ranks(number: Any) -> Float64Array:
    """Return the rank of each number, the average rank for equal numbers."""
    _, place, count = np.unique(number, return_inverse=True, return_counts=True)
    ranks: Float64Array = (np.cumsum(count) - (count - 1) / 2)[place]
    return ranks
