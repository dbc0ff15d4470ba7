"""Rules that split each sequence into training, validation and test part: by time, by position, or by a column.

Every split results in two numbers per sequence: the number of training events at its start, and the number of
validation events after them. Shape letters: U sequences.
"""

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, ClassVar

import ibis
import ibis.expr.types as ir
import numpy as np

from reprise.arrays import AnyArray
from reprise.data.timestamps import format_duration, format_time, parse_duration, parse_timestamp
from reprise.errors import ConfigError, DataError, did_you_mean

PART_CODES = {"train": 0, "valid": 1, "test": 2}
"""Number of each part in the arrays and tables of a prepared log."""
SPLITS = ("last:7d,7d", "at:2014-09-01,2014-09-08", "leave-one-out", "column:NAME")
VALID_SHARE = 0.1
"""Share of the training sequences that become validation if a split column marks no row `valid`."""
VALID_ENOUGH = 1000
"""Number of validation sequences that is enough to choose an epoch; only very large logs get more."""
PARTS_PER_LOG = 5
"""The durations that a message suggests for validation and test are this fraction of the log."""
VALID_MIN_SHARE = 0.02
"""Smallest share of the training sequences that becomes validation, which matters in very large logs."""


@dataclass(frozen=True)
class SequenceParts:
    """The sizes of the parts of each sequence."""

    events_U: AnyArray
    """Number of events of each sequence."""
    train_U: AnyArray
    """Number of training events of each sequence."""
    valid_U: AnyArray
    """Number of validation events of each sequence."""


class Split(ABC):
    """A rule that divides each sequence into training, validation and test part, in this order."""

    @abstractmethod
    def resolve(self, first_ms: int, last_ms: int) -> "ResolvedSplit":
        """Return the rule for a log whose first and last event are at `first_ms` and `last_ms`."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Return the rule as JSON values, with its `kind`."""


class ResolvedSplit(Split):
    """A rule that depends only on the events of one sequence, not on the rest of the log."""

    def resolve(self, first_ms: int, last_ms: int) -> "ResolvedSplit":
        """Return the rule itself."""
        return self

    @abstractmethod
    def part_counts(self, events: ir.Table) -> dict[str, ir.IntegerScalar]:
        """Return aggregates over the events of one sequence: the number of `train` and of `valid` events."""

    @abstractmethod
    def adjust(self, parts: SequenceParts) -> tuple[SequenceParts, list[str]]:
        """Return the final parts, given the counted ones, and notes for the user."""

    @abstractmethod
    def explain(self, parts: SequenceParts, first_ms: int, last_ms: int) -> str:
        """Return why a part is empty or training has no target, and the remedy, as the end of a message.

        Args:
            parts: The final parts.
            first_ms: Time of the first event of the log, in milliseconds since 1970 UTC.
            last_ms: Time of its last event.
        """


@dataclass(frozen=True)
class TimeSplit(ResolvedSplit):
    """A split at two times: train < `train_end_ms` <= valid < `valid_end_ms` <= test."""

    train_end_ms: int
    """End of training and start of validation, in milliseconds since 1970 UTC."""
    valid_end_ms: int
    """End of validation and start of test, in milliseconds since 1970 UTC."""

    def __post_init__(self) -> None:
        if self.train_end_ms >= self.valid_end_ms:
            raise ConfigError(
                f"training ends {format_time(self.train_end_ms)}, validation {format_time(self.valid_end_ms)}: "
                "give the earlier time first"
            )

    @staticmethod
    def last(valid: str = "7d", test: str = "7d") -> "LastSplit":
        """Use the last `test` duration of the log for test and the `valid` duration before it for validation.

        Durations are written as `7d` or `12h`.
        """
        return LastSplit(parse_duration(valid), parse_duration(test))

    @staticmethod
    def at(train_end: str | date, valid_end: str | date) -> "TimeSplit":
        """Split at two dates or times; without a time zone they are UTC."""
        return TimeSplit(parse_timestamp(train_end), parse_timestamp(valid_end))

    def part_counts(self, events: ir.Table) -> dict[str, ir.IntegerScalar]:
        """Count the training events (before the first time) and the validation events (between the two times)."""
        train = events.time_ms < self.train_end_ms
        return {"train": train.sum(), "valid": (~train & (events.time_ms < self.valid_end_ms)).sum()}

    def adjust(self, parts: SequenceParts) -> tuple[SequenceParts, list[str]]:
        """Return the counted parts unchanged."""
        return parts, []

    def explain(self, parts: SequenceParts, first_ms: int, last_ms: int) -> str:
        """Return the times of the log and of the split, and durations that fit the log."""
        text = (
            f"the log runs from {format_time(first_ms)} to {format_time(last_ms)}, training ends "
            f"{format_time(self.train_end_ms)}, validation {format_time(self.valid_end_ms)}"
        )
        if first_ms == last_ms:
            return f"{text}; all events have one time, so choose a split by position: leave-one-out"
        part = format_duration(max(1, (last_ms - first_ms) // PARTS_PER_LOG))
        return (
            f"{text}; choose other dates, or shorter durations such as last:{part},{part}, or leave-one-out"
        )

    def describe(self) -> dict[str, Any]:
        """Return kind `time` and the two times."""
        return {"kind": "time", **asdict(self)}


@dataclass(frozen=True)
class LastSplit(Split):
    """A `TimeSplit` relative to the end of the log."""

    valid_ms: int
    """Duration of the validation part in milliseconds."""
    test_ms: int
    """Duration of the test part in milliseconds."""

    def resolve(self, first_ms: int, last_ms: int) -> TimeSplit:
        """Return the `TimeSplit` whose test part ends just after the last event."""
        valid_end_ms = last_ms + 1 - self.test_ms
        return TimeSplit(valid_end_ms - self.valid_ms, valid_end_ms)

    def describe(self) -> dict[str, Any]:
        """Return kind `last` and the two durations."""
        return {"kind": "last", **asdict(self)}


@dataclass(frozen=True)
class LeaveOneOut(ResolvedSplit):
    """A split by position: the last event of each sequence is for test, the one before it for validation.

    Sequences of fewer than three events are used for training only.
    """

    MIN_EVENTS: ClassVar[int] = 3

    def part_counts(self, events: ir.Table) -> dict[str, ir.IntegerScalar]:
        """Count all events but two for training and one for validation; in short sequences all are for training."""
        count = events.count()
        long = count >= self.MIN_EVENTS
        return {"train": ibis.ifelse(long, count - 2, count), "valid": ibis.ifelse(long, 1, 0)}

    def adjust(self, parts: SequenceParts) -> tuple[SequenceParts, list[str]]:
        """Return the counted parts unchanged, with a note if there are short sequences."""
        short = int((parts.events_U < self.MIN_EVENTS).sum())
        return parts, [
            f"{short} sequences have fewer than 3 events and are used for training only"
        ] if short else []

    def explain(self, parts: SequenceParts, first_ms: int, last_ms: int) -> str:
        """Return how many events a sequence needs, and how many sequences have them."""
        longest, count = int(parts.events_U.max()), len(parts.events_U)
        long = int((parts.events_U >= self.MIN_EVENTS).sum())
        text = (
            "leave-one-out needs three events per sequence, the last for test and the one before it for validation: "
            f"{long} of {count} sequences have three or more events, the longest has {longest}"
        )
        if long:
            text += ", and a sequence with four events has two for training"
        return (
            f"{text}; split by time (last:7d,7d), or make longer sequences (by user rather than by session)"
        )

    def describe(self) -> dict[str, Any]:
        """Return kind `leave-one-out`."""
        return {"kind": "leave-one-out"}


@dataclass(frozen=True)
class ColumnSplit(ResolvedSplit):
    """A split by a column of the log that marks each row `train`, `valid` or `test`.

    If no row is marked `valid`, a random sample of the training sequences becomes the validation part: a tenth of them,
    in larger logs 1000, or a fiftieth if that is more.
    """

    column: str
    """Name of the column."""

    def part_counts(self, events: ir.Table) -> dict[str, ir.IntegerScalar]:
        """Count the events marked `train` and `valid`."""
        return {"train": (events.part == 0).sum(), "valid": (events.part == 1).sum()}

    def adjust(self, parts: SequenceParts) -> tuple[SequenceParts, list[str]]:
        """Return the marked parts, or move a sample of the training sequences to validation."""
        if parts.valid_U.any():
            return parts, []
        trained = np.flatnonzero(parts.train_U)
        if len(trained) < 2:
            return parts, []
        chosen = np.random.default_rng(0).choice(trained, _sample_size(len(trained)), replace=False)
        train_U, valid_U = parts.train_U.copy(), parts.valid_U.copy()
        valid_U[chosen], train_U[chosen] = train_U[chosen], 0
        note = (
            f"column {self.column!r} marks no row 'valid': {len(chosen)} of {len(trained)} training sequences, "
            "drawn at random, are the validation part"
        )
        return SequenceParts(parts.events_U, train_U, valid_U), [note]

    def explain(self, parts: SequenceParts, first_ms: int, last_ms: int) -> str:
        """Return the name of the column, and what to mark."""
        return (
            f"column {self.column!r} marks these events, after duplicates and short sequences were dropped; mark rows of "
            "each part 'train', 'valid' or 'test', and two rows of a sequence 'train'"
        )

    def describe(self) -> dict[str, Any]:
        """Return kind `column` and the name of the column."""
        return {"kind": "column", "column": self.column}


def _sample_size(sequences: int) -> int:
    """Return how many of `sequences` training sequences become validation."""
    enough = max(VALID_ENOUGH, round(VALID_MIN_SHARE * sequences))
    return max(1, min(round(VALID_SHARE * sequences), enough))


def parse_split(text: str) -> Split:
    """Parse a split: `last:7d,7d`, `at:2014-09-01,2014-09-08`, `leave-one-out` or `column:NAME`.

    Raises:
        ConfigError: The text is not one of these forms.
    """
    kind, _, rest = text.strip().partition(":")
    first, comma, second = rest.partition(",")
    if kind == "leave-one-out" and not rest:
        return LeaveOneOut()
    if kind == "column" and rest:
        return ColumnSplit(rest)
    if kind == "last" and comma:
        return TimeSplit.last(first, second)
    if kind == "at" and comma:
        return TimeSplit.at(first.strip(), second.strip())
    raise ConfigError(
        f"unknown split {text!r}{did_you_mean(text, SPLITS)}; write one of {' | '.join(SPLITS)}"
    )


def check_parts(split: ResolvedSplit, parts: SequenceParts, first_ms: int, last_ms: int) -> None:
    """Check that each part has events and that a sequence has two training events.

    Raises:
        DataError: A part is empty, or training has no target.
    """
    counts = {"train": int(parts.train_U.sum()), "valid": int(parts.valid_U.sum())}
    counts["test"] = int(parts.events_U.sum()) - sum(counts.values())
    found = ", ".join(f"{count} {name}" for name, count in counts.items())
    empty = [name for name, count in counts.items() if count == 0]
    if empty:
        named = f"{empty[0]} part" if len(empty) == 1 else f"{' and '.join(empty)} parts"
        raise DataError(
            f"the split leaves the {named} empty ({found} events): {split.explain(parts, first_ms, last_ms)}"
        )
    if int(parts.train_U.max()) < 2:
        raise DataError(
            f"no sequence has two training events, so there is nothing to learn from ({found} events): "
            f"{split.explain(parts, first_ms, last_ms)}"
        )
