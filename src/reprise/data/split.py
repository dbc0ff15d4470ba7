"""Where training ends and test begins: at two moments, by position, or as a column says.

Every split comes down to two numbers a sequence: how many of its events are for training, and how many after these
for validation. Shape letters: U sequences.
"""

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, ClassVar

import ibis
import ibis.expr.types as ir
import numpy as np

from reprise.arrays import AnyArray
from reprise.data.timestamps import format_time, parse_duration, parse_timestamp
from reprise.errors import ConfigError, DataError, did_you_mean

PART_CODES = {"train": 0, "valid": 1, "test": 2}
SPLITS = ("last:7d,7d", "at:2014-09-01,2014-09-08", "leave-one-out", "column:NAME")
DRAWN_SHARE = 0.1
"""Of the training sequences, at most, when a split column marks no row `valid`: ..."""
DRAWN_ENOUGH = 1000
"""... as many sequences choose an epoch well enough, ..."""
DRAWN_LEAST = 0.02
"""... but never less than this share."""


@dataclass(frozen=True)
class SequenceParts:
    """The lengths of the parts of each sequence."""

    events_U: AnyArray
    train_U: AnyArray
    valid_U: AnyArray


class Split(ABC):
    """A rule that cuts each sequence in train, valid and test, in this order."""

    @abstractmethod
    def resolve(self, first_ms: int, last_ms: int) -> "Cut":
        """The rule for a log that runs from `first_ms` to `last_ms`."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """The rule as JSON, with its `kind`."""


class Cut(Split):
    """A rule that needs to know no more of a log than the events of one sequence."""

    def resolve(self, first_ms: int, last_ms: int) -> "Cut":
        """Itself."""
        return self

    @abstractmethod
    def part_counts(self, events: ir.Table) -> dict[str, ir.IntegerScalar]:
        """Aggregates over the events of one sequence: how many are for `train`, and how many for `valid`."""

    @abstractmethod
    def settle(self, parts: SequenceParts) -> tuple[SequenceParts, list[str]]:
        """The parts as they are used, and sentences on what is worth knowing of them."""


@dataclass(frozen=True)
class TimeSplit(Cut):
    """train < `train_end_ms` <= valid < `valid_end_ms` <= test, milliseconds since 1970 UTC."""

    train_end_ms: int
    valid_end_ms: int

    def __post_init__(self) -> None:
        if self.train_end_ms >= self.valid_end_ms:
            raise ConfigError(
                f"training ends {format_time(self.train_end_ms)}, validation {format_time(self.valid_end_ms)}: "
                "give the earlier first"
            )

    @staticmethod
    def last(valid: str = "7d", test: str = "7d") -> "LastSplit":
        """The last `test` of the log, and the `valid` before it, such as `7d` or `12h`."""
        return LastSplit(parse_duration(valid), parse_duration(test))

    @staticmethod
    def at(train_end: str | date, valid_end: str | date) -> "TimeSplit":
        """Cut at two dates or times; without a zone they are UTC."""
        return TimeSplit(parse_timestamp(train_end), parse_timestamp(valid_end))

    def part_counts(self, events: ir.Table) -> dict[str, ir.IntegerScalar]:
        """How many events are before the first moment, and how many between the two."""
        train = events.time_ms < self.train_end_ms
        return {"train": train.sum(), "valid": (~train & (events.time_ms < self.valid_end_ms)).sum()}

    def settle(self, parts: SequenceParts) -> tuple[SequenceParts, list[str]]:
        """As counted."""
        return parts, []

    def describe(self) -> dict[str, Any]:
        """Kind `time` and the two moments."""
        return {"kind": "time", **asdict(self)}


@dataclass(frozen=True)
class LastSplit(Split):
    """A `TimeSplit` counted back from the end of the log, before the log is known."""

    valid_ms: int
    test_ms: int

    def resolve(self, first_ms: int, last_ms: int) -> TimeSplit:
        """The two moments, counted from just after the last event."""
        valid_end_ms = last_ms + 1 - self.test_ms
        return TimeSplit(valid_end_ms - self.valid_ms, valid_end_ms)

    def describe(self) -> dict[str, Any]:
        """Kind `last` and the two durations."""
        return {"kind": "last", **asdict(self)}


@dataclass(frozen=True)
class LeaveOneOut(Cut):
    """The last event of each sequence is for test, the one before it for validation.

    Sequences of fewer than three events are for training only.
    """

    SHORTEST: ClassVar[int] = 3

    def part_counts(self, events: ir.Table) -> dict[str, ir.IntegerScalar]:
        """All but two and one; or all and none."""
        count = events.count()
        long = count >= self.SHORTEST
        return {"train": ibis.ifelse(long, count - 2, count), "valid": ibis.ifelse(long, 1, 0)}

    def settle(self, parts: SequenceParts) -> tuple[SequenceParts, list[str]]:
        """As counted, with a word on the short ones."""
        short = int((parts.events_U < self.SHORTEST).sum())
        return parts, [f"{short} sequences of fewer than 3 events are only for training"] if short else []

    def describe(self) -> dict[str, Any]:
        """Kind `leave-one-out`."""
        return {"kind": "leave-one-out"}


@dataclass(frozen=True)
class ColumnSplit(Cut):
    """A column of the log marks its rows `train`, `valid` or `test`.

    Where no row is marked `valid`, training sequences drawn evenly become validation, whole: a tenth of them, in a large log
    less, a thousand or a fiftieth.
    """

    column: str

    def part_counts(self, events: ir.Table) -> dict[str, ir.IntegerScalar]:
        """How many events are marked so."""
        return {"train": (events.part == 0).sum(), "valid": (events.part == 1).sum()}

    def settle(self, parts: SequenceParts) -> tuple[SequenceParts, list[str]]:
        """As marked, or with some training sequences made validation."""
        if parts.valid_U.any():
            return parts, []
        trained = np.flatnonzero(parts.train_U)
        if len(trained) < 2:
            return parts, []
        chosen = np.random.default_rng(0).choice(trained, _drawn(len(trained)), replace=False)
        train_U, valid_U = parts.train_U.copy(), parts.valid_U.copy()
        valid_U[chosen], train_U[chosen] = train_U[chosen], 0
        note = (
            f"column {self.column!r} marks no row 'valid': {len(chosen)} of {len(trained)} training sequences, drawn evenly, "
            "are the validation part"
        )
        return SequenceParts(parts.events_U, train_U, valid_U), [note]

    def describe(self) -> dict[str, Any]:
        """Kind `column` and its name."""
        return {"kind": "column", "column": self.column}


def _drawn(sequences: int) -> int:
    """How many of so many training sequences become validation."""
    enough = max(DRAWN_ENOUGH, round(DRAWN_LEAST * sequences))
    return max(1, min(round(DRAWN_SHARE * sequences), enough))


def parse_split(text: str) -> Split:
    """A split from words: `last:7d,7d`, `at:2014-09-01,2014-09-08`, `leave-one-out` or `column:NAME`.

    Raises:
        ConfigError: It is none of these.
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


def check_parts(split: Cut, parts: SequenceParts, first_ms: int, last_ms: int) -> None:
    """Raise a DataError unless each part has events, and training has something to predict."""
    train, valid = int(parts.train_U.sum()), int(parts.valid_U.sum())
    test = int(parts.events_U.sum()) - train - valid
    span = f"the log runs from {format_time(first_ms)} to {format_time(last_ms)}"
    for name, count in (("train", train), ("valid", valid), ("test", test)):
        if count == 0:
            raise DataError(
                f"the split leaves the {name} part empty ({train} train, {valid} valid, {test} test events; {span}"
                f"{_cuts(split)}); choose other dates or another split"
            )
    if int(parts.train_U.max()) < 2:
        raise DataError(
            f"no sequence has two training events, so there is nothing to learn from ({train} train events; {span}"
            f"{_cuts(split)}); choose later dates or another split"
        )


def _cuts(split: Cut) -> str:
    if not isinstance(split, TimeSplit):
        return ""
    return f", training ends {format_time(split.train_end_ms)}, validation {format_time(split.valid_end_ms)}"
