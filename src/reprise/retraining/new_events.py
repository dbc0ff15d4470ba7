"""Preparation of a later log in the same way as an earlier dataset."""

from pathlib import Path
from typing import Any

from reprise.data.dataset import SequenceDataset
from reprise.data.io.events import Columns, Events, read_events
from reprise.data.preparing.prepare import prepare
from reprise.data.split import ColumnSplit, LeaveOneOut, Split, TimeSplit
from reprise.data.timestamps import format_duration
from reprise.errors import DataError


def split_of(dataset: SequenceDataset) -> Split:
    """Return the rule of a dataset for a later log: the same durations before its end, or the same rule by position.

    Raises:
        DataError: the split of the dataset is not known.
    """
    found = dataset.split
    if found.get("kind") == "leave-one-out":
        return LeaveOneOut()
    if found.get("kind") == "column":
        return ColumnSplit(found["column"])
    if found.get("kind") != "time":
        raise DataError(
            f"the dataset has the split {found}, which is not a rule; give one with split= (--split)"
        )
    test_ms = int(dataset.time_ms.max()) + 1 - found["valid_end_ms"]
    valid_ms = found["valid_end_ms"] - found["train_end_ms"]
    return TimeSplit.last(format_duration(valid_ms), format_duration(test_ms))


def prepare_as_before(
    events: Any, out: str | Path, before: SequenceDataset, *, split: Split | str | None = None, **options: Any
) -> SequenceDataset:
    """Prepare a later log with the columns, the cleaning options and the split rule of an earlier dataset.

    Args:
        events: The later log: the result of `read_events`, or any source that it accepts. It should contain the earlier events
            too.
        out: Directory to create.
        before: The earlier dataset.
        split: Another rule. None: a split by time keeps its durations, counted from the end of the later log.
        **options: Further arguments of `prepare`, such as `items`, `users` and `forget`. They replace those of `before`.

    Raises:
        DataError: the log is invalid, or lacks a column of the earlier one.
    """
    names = before.facts.get("columns", {})
    log = events if isinstance(events, Events) else read_events(events, Columns(**names))
    known = {name: value for name, value in before.facts.get("options", {}).items() if value is not None}
    return prepare(log, out, split=split_of(before) if split is None else split, **(known | options))
