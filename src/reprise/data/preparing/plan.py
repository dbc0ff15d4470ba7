"""What a call of `prepare` asks for, checked against the log's columns before anything is read."""

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from reprise.data.dataset import FORMAT
from reprise.data.io.events import Events, read_events
from reprise.data.preparing.item_table import ItemTable, open_items
from reprise.data.split import SPLITS, ColumnSplit, Split, TimeSplit, parse_split
from reprise.data.timestamps import parse_duration
from reprise.errors import ConfigError, DataError, did_you_mean


@dataclass(frozen=True)
class PrepareOptions:
    """What is done to a log before it is split. Counts are over the whole log, as published protocols count."""

    sequence_by: Literal["user", "session"] | None = None
    """Whose events are a sequence; None: the user's, or the session's where there is no user column or a gap is given."""
    session_gap: str | None = None
    """Cut the events of a user into sessions at pauses longer than this, such as `30min`."""
    min_item_events: int = 1
    """Items with fewer events are dropped."""
    min_sequence_events: int = 2
    """Sequences with fewer events are dropped; both are repeated until nothing more goes."""
    duplicates: Literal["drop", "keep"] = "drop"
    """What happens to the second of two events with the same sequence, item, time and kind."""

    def __post_init__(self) -> None:
        if self.sequence_by not in (None, "user", "session"):
            raise ConfigError(f"sequence_by={self.sequence_by!r}: choose 'user' or 'session'")
        if self.duplicates not in ("drop", "keep"):
            raise ConfigError(f"duplicates={self.duplicates!r}: choose 'drop' or 'keep'")
        if self.session_gap is not None:
            parse_duration(self.session_gap)
            if self.sequence_by == "user":
                raise ConfigError("session_gap cuts users into sessions; leave sequence_by='user' out")
        for name in ("min_item_events", "min_sequence_events"):
            least = getattr(self, name)
            if not isinstance(least, int):
                raise ConfigError(f"{name}={least!r} is no integer; give 1 or more")
            if least < 1:
                raise ConfigError(f"{name}={least}: give 1 or more")

    @classmethod
    def of(cls, options: dict[str, Any]) -> "PrepareOptions":
        """From keywords.

        Raises:
            ConfigError: One is unknown, or its value impossible.
        """
        known = [field.name for field in fields(cls)]
        for name in options:
            if name not in known:
                raise ConfigError(f"unknown option {name!r}{did_you_mean(name, known)}")
        return cls(**options)


@dataclass(frozen=True)
class Plan:
    """Everything that decides what the dataset will hold."""

    events: Events
    items: ItemTable | None
    split: Split
    options: PrepareOptions
    sequence_key: str
    """The canonical column of the sequences."""
    notes: tuple[str, ...]

    @property
    def key(self) -> str:
        """A hash: equal for the same call on the same data."""
        said = {
            "format": FORMAT,
            "events": self.events.source.origin,
            "columns": asdict(self.events.columns),
            "tz": self.events.tz,
            "items": self.items and [self.items.source.origin, self.items.id_column],
            **self.described(),
        }
        return hash_of(said)

    @property
    def marks(self) -> dict[str, str]:
        """The column that marks the parts, if the split has one."""
        return {"part": self.split.column} if isinstance(self.split, ColumnSplit) else {}

    def described(self) -> dict[str, Any]:
        """The options and the split as JSON."""
        return {"options": asdict(self.options), "split": self.split.describe()}


def make_plan(events: Any, items: Any, split: Split | str | None, options: PrepareOptions) -> Plan:
    """The plan of a call.

    Raises:
        DataError: The log, the item table or a column is not there.
        ConfigError: The split cannot be read.
    """
    log = events if isinstance(events, Events) else read_events(events)
    log, key, notes = _choose_sequences(log, options)
    rule = _rule(split)
    if isinstance(rule, ColumnSplit) and rule.column not in log.source.table.columns:
        raise DataError(
            f"the events have no split column {rule.column!r}{did_you_mean(rule.column, log.source.table.columns)}"
        )
    table = None if items is None else open_items(items, str(log.columns.item))
    return Plan(log, table, rule, options, key, notes)


def _rule(split: Split | str | None) -> Split:
    if split is None:
        return TimeSplit.last()
    if isinstance(split, str):
        return parse_split(split)
    if not isinstance(split, Split):
        raise ConfigError(f"split={split!r} is no split; give a Split, or one of {' | '.join(SPLITS)}")
    return split


def _choose_sequences(log: Events, options: PrepareOptions) -> tuple[Events, str, tuple[str, ...]]:
    """The log with the columns that are needed, the canonical column of its sequences, and a note."""
    columns, gap = log.columns, options.session_gap
    by = options.sequence_by or ("session" if gap or columns.user is None else "user")
    if by == "user" or gap:
        if columns.user is None:
            raise DataError(
                "the events have no user column; name it (user=NAME), or use sequence_by='session'"
            )
        return log.with_columns(session=None), "user_id", ()
    if columns.session is None:
        raise DataError(
            "sequence_by='session', but the events have no session column; name it (session=NAME, or "
            "--session-column NAME), or cut sessions by time with session_gap='30min'"
        )
    note = () if columns.user else ("the events have no user column: each session is a sequence",)
    return log, "session_id", note


def hash_of(value: Any) -> str:
    """A short hash of a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
