"""The users of an audit: members of a run's training part, and others, who are read and cut as the run's own log was.

Shape letters: U users, E events.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from reprise.arrays import AnyArray
from reprise.data.dataset import SequenceDataset
from reprise.data.history_rules import HistoryRules, round_to_ms
from reprise.data.io.events import Columns, read_events
from reprise.data.io.history_files import read_histories
from reprise.data.split import LeaveOneOut
from reprise.errors import DataError
from reprise.path_kinds import kind_of
from reprise.privacy.auditing.dataset_copy import Sequences, take_sequences, with_sequences
from reprise.privacy.auditing.membership import MIN_USERS
from reprise.privacy.auditing.user_losses import in_vocabulary


@dataclass(frozen=True)
class OtherUsers:
    """Users who are not in the dataset of a run."""

    dataset: SequenceDataset
    """Their events with the item indices of the run, cut by its split; `PAD` for an item that the run does not know."""
    members: int
    """Number of users that were left out because the run has learned from users with these ids."""
    unknown: int
    """Number of events of items that the run does not know; they are skipped."""

    def __len__(self) -> int:
        return len(self.dataset)


def read_others(source: Any, dataset: SequenceDataset) -> OtherUsers:
    """Return the users of a log, or of a dataset prepared in the same way, who are not in the dataset of a run.

    A log is read with the column names of the run's own log and cleaned like it. Its sequences are cut by the same split,
    so that losses of members and others are of the same parts of a history.

    Raises:
        DataError: The log has other columns, all its users are members, or fewer than `MIN_USERS` others have two training
            events.
    """
    is_prepared = isinstance(source, str | Path) and kind_of(Path(source)) == "dataset"
    found = (
        in_vocabulary(SequenceDataset.open(source), dataset) if is_prepared else _read_log(source, dataset)
    )
    owner_U = np.array(owners(found))
    is_member_U = np.isin(owner_U, np.array(owners(dataset)))
    if len(found) and is_member_U.all():
        raise DataError(
            f"all {len(found)} users of the others are in the training log of the run; name a log of users who were "
            "held out"
        )
    least = max(2, dataset.facts.get("options", {}).get("min_sequence_events") or 2)
    trained_U = np.asarray(found.train_end) - np.asarray(found.offset[:-1])
    long_U = (np.diff(found.offset) >= least) & (trained_U >= 2)
    others = take_sequences(found, np.flatnonzero(~is_member_U & long_U))
    dropped = int(is_member_U.sum())
    if len(others) < MIN_USERS:
        left_out = f" ({dropped} more are in the training log of the run)" if dropped else ""
        raise DataError(
            f"{len(others)} others with two training events{left_out} are too few: a false positive rate of 1 % needs "
            f"{MIN_USERS} or more; hold out more users"
        )
    return OtherUsers(others, dropped, int((others.item == 0).sum()))


def member_rows(dataset: SequenceDataset) -> AnyArray:
    """Return the rows of the users with two training events or more."""
    rows: AnyArray = np.flatnonzero(np.asarray(dataset.train_end) - np.asarray(dataset.offset[:-1]) >= 2)
    return rows


def owners(dataset: SequenceDataset) -> list[str]:
    """Return the id of the user of each sequence as text; of the session if the log has sessions only."""
    ids = [str(key) for key in dataset.users.tolist()]
    if dataset.facts.get("sequence_by") == "session_gap":  # ids are `user/number`
        return [key.rpartition("/")[0] for key in ids]
    return ids


def sample_rows(row_U: AnyArray, most: int, seed: int) -> AnyArray:
    """Return at most `most` rows, drawn at random, in ascending order."""
    if len(row_U) <= most:
        return row_U
    drawn: AnyArray = np.sort(np.random.default_rng(seed).choice(row_U, most, replace=False))
    return drawn


def _read_log(source: Any, dataset: SequenceDataset) -> SequenceDataset:
    """Read the users of a log with the columns of the run's own log."""
    names = dataset.facts.get("columns", {})
    # a role that the run's log did not have stays without a column
    columns = (
        Columns(**{field.name: names.get(field.name, "") for field in fields(Columns)}) if names else None
    )
    try:
        log = read_events(source, columns)
    except DataError as error:
        raise DataError(f"the others need the columns of the run's own log: {error}") from None
    rules = HistoryRules.from_facts(dataset.facts)
    extra = ("timestamp", "kind", "value")
    parts = [
        _sequences(batch.keys, batch.events, dataset)
        for batch in read_histories(log, integer_items=dataset.items.integer_ids, extra=extra, rules=rules)
    ]
    # a history is the last session of a user, so its id is that of the user
    return with_sequences(replace(dataset, facts=dataset.facts | {"sequence_by": rules.sequence_by}), *parts)


def _sequences(keys: list[Any], histories: list[list[dict[str, Any]]], dataset: SequenceDataset) -> Sequences:
    """Return histories as sequences that are cut by the split of the dataset."""
    length_U = np.array([len(history) for history in histories], dtype=np.int64)
    events = [event for history in histories for event in history]
    kind_of_name = {name: number for number, name in enumerate(dataset.kinds)}
    time_ms_E = round_to_ms(np.array([event["timestamp"] for event in events])).astype(np.int64)
    columns = {
        "item": dataset.items.indices(event["item_id"] for event in events),
        "time_ms": time_ms_E,
        "kind": np.array([kind_of_name.get(str(event.get("kind")), 0) for event in events], dtype=np.uint8),
        "value": np.array([_number(event.get("value")) for event in events], dtype=np.float32),
    }
    train_U, valid_U = np.array([*_cut(length_U, time_ms_E, dataset.split)]).T
    integers = all(isinstance(key, int) for key in keys)
    return Sequences(
        np.array(keys, dtype=np.int64 if integers else object), length_U, train_U, valid_U, columns
    )


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _cut(length_U: AnyArray, time_ms_E: AnyArray, split: dict[str, Any]) -> Iterator[tuple[int, int]]:
    """Yield the number of training and of validation events of each sequence."""
    first = 0
    for length in length_U.tolist():
        if split.get("kind") == "time":
            ends = np.searchsorted(
                time_ms_E[first : first + length], [split["train_end_ms"], split["valid_end_ms"]]
            )
            yield int(ends[0]), int(ends[1] - ends[0])
        elif split.get("kind") == "leave-one-out":
            long = length >= LeaveOneOut.MIN_EVENTS
            yield (length - 2, 1) if long else (length, 0)
        else:  # a column of the log decided about each user: all events of an other user are treated as training events
            yield length, 0
        first += length
