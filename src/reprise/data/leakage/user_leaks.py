"""Leaks in the user table: attributes dated after training, or counted from later events.

Shape letters: U sequences.
"""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from reprise.arrays import Float64Array
from reprise.data.dataset import SequenceDataset
from reprise.data.feature_dates import FUTURE_WORDS, column_to_float, find_dates, name_words, training_end_ms
from reprise.data.leakage.feature_leaks import MIN_ITEMS, MIN_LATER_ITEMS, equals_count, follows_count
from reprise.data.leakage.findings import MAX_EXAMPLES, Leak, LeakRow
from reprise.data.timestamps import format_time

AT_SPLIT = "or use its values as of the end of training"


def find_user_leaks(dataset: SequenceDataset) -> Iterator[Leak]:
    """Find leaks in the columns of the user table."""
    if dataset.user_table is None or not dataset.part_events("train"):
        return
    for name in dataset.user_table.column_names:
        column = dataset.user_table.column(name)
        time_ms_U = find_dates(name, column)
        if time_ms_U is not None:
            yield from _late_dates(dataset, name, time_ms_U)
        elif pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
            yield from _later_counts(dataset, name, column_to_float(column))


def _late_dates(dataset: SequenceDataset, name: str, time_ms_U: Float64Array) -> Iterator[Leak]:
    """Find sequences of the training part with a date at or after the end of training."""
    end_ms = training_end_ms(dataset)
    trained_U = np.asarray(dataset.train_end) > np.asarray(dataset.offset[:-1])
    late = np.flatnonzero(trained_U & (time_ms_U >= end_ms))
    if not len(late):
        return
    known_in_advance = bool(name_words(name) & FUTURE_WORDS)
    rows = tuple(
        LeakRow(
            sequence_id=dataset.users[[row]].tolist()[0],
            remark=f"{name} {format_time(float(time_ms_U[row]))}",
        )
        for row in late[:MAX_EXAMPLES].tolist()
    )
    sentence = (
        f"column {name!r} of the user table has dates at or after the end of training ({format_time(end_ms)}) for "
        f"{len(late):,} sequences of the training part"
    )
    if known_in_advance:
        sentence += "; by its name, this date is known in advance."
    remedy = f"remove {name!r} from the user table, {AT_SPLIT}"
    yield Leak("late-feature", sentence, len(late), remedy, rows, fails=not known_in_advance)


def _later_counts(dataset: SequenceDataset, name: str, number_U: Float64Array) -> Iterator[Leak]:
    """Find a column that contains counts of events after training, or a function of such counts."""
    (_, train_end_U), (_, valid_end_U) = dataset.part("train"), dataset.part("valid")
    first_U, last_U = np.asarray(dataset.offset[:-1]), np.asarray(dataset.offset[1:])
    trained_U, later_U, tested_U = train_end_U - first_U, last_U - train_end_U, last_U - valid_end_U
    used_U = np.isfinite(number_U)
    # with few sequences, or few of them with later events, any column may look like a count by chance
    if used_U.sum() < MIN_ITEMS or np.count_nonzero(later_U[used_U]) < MIN_LATER_ITEMS:
        return
    number, trained = number_U[used_U], trained_U[used_U]
    for which, count_U in {"all": trained_U + later_U, "later": later_U, "test": tested_U}.items():
        if follows_count(number, count_U[used_U], trained) or equals_count(number, count_U[used_U], trained):
            examples = np.flatnonzero(used_U)[np.argsort(-later_U[used_U], kind="stable")[:MAX_EXAMPLES]]
            rows = tuple(
                LeakRow(
                    sequence_id=dataset.users[[row]].tolist()[0],
                    remark=f"{name} {number_U[row]:,.6g}, {trained_U[row]:,} training and {later_U[row]:,} later events",
                )
                for row in examples.tolist()
            )
            yield Leak(
                "giveaway",
                f"column {name!r} of the user table follows the number of {which} events of {used_U.sum():,} sequences, "
                "not of the training events",
                int(used_U.sum()),
                f"remove {name!r} from the user table, {AT_SPLIT}",
                rows,
            )
            return
