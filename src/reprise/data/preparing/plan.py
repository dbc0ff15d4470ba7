"""The plan of a `prepare` call: its options, split and columns, checked before any row is read."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from reprise.argument_checks import choice, whole
from reprise.data.dataset import FORMAT
from reprise.data.erased_users import ErasedUsers, erased_users
from reprise.data.io.column_types import is_null_type
from reprise.data.io.events import Events, read_events
from reprise.data.preparing.item_table import ItemTable, open_items
from reprise.data.preparing.permitted_events import CONSENT
from reprise.data.preparing.user_table import open_users
from reprise.data.split import SPLITS, ColumnSplit, Split, TimeSplit, parse_split
from reprise.data.timestamps import parse_duration
from reprise.errors import ConfigError, DataError, did_you_mean


@dataclass(frozen=True)
class PrepareOptions:
    """Cleaning options, applied before the split. Counts refer to the whole log, as in published protocols."""

    sequence_by: Literal["user", "session"] | None = None
    """Column that defines the sequences; None: the user, or the session if the log has no user column or a gap is given."""
    session_gap: str | None = None
    """Duration, such as `30min`: longer pauses divide the events of a user into sessions. None: do not divide."""
    min_item_events: int = 1
    """Minimum number of events per item; rarer items are dropped."""
    min_sequence_events: int = 2
    """Minimum number of events per sequence; shorter sequences are dropped. Both limits are applied repeatedly."""
    duplicates: Literal["drop", "keep"] = "drop"
    """Whether to drop or keep repetitions of an event with the same sequence, item, time and kind."""
    max_events_per_day: int | None = None
    """Maximum number of events of a user on any day in UTC; users with more are dropped with all their events. None: no
    maximum."""

    def __post_init__(self) -> None:
        if self.sequence_by is not None:
            choice("sequence_by", self.sequence_by, ("user", "session"))
        choice("duplicates", self.duplicates, ("drop", "keep"))
        if self.session_gap is not None:
            parse_duration(self.session_gap)
            if self.sequence_by == "user":
                raise ConfigError("session_gap divides users into sessions; omit sequence_by='user'")
        for name in ("min_item_events", "min_sequence_events"):
            object.__setattr__(self, name, whole(name, getattr(self, name)))
        if self.max_events_per_day is not None:
            maximum = whole("max_events_per_day", self.max_events_per_day)
            object.__setattr__(self, "max_events_per_day", maximum)

    def to_dict(self) -> dict[str, Any]:
        """Return the options as JSON values, without a maximum that is not set: older datasets do not have it."""
        unset = () if self.max_events_per_day is not None else ("max_events_per_day",)
        return {name: value for name, value in asdict(self).items() if name not in unset}

    @classmethod
    def from_keywords(cls, options: dict[str, Any]) -> "PrepareOptions":
        """Create the options from keyword arguments.

        Raises:
            ConfigError: A keyword is unknown, or its value is invalid.
        """
        known = [field.name for field in fields(cls)]
        for name in options:
            if name not in known:
                raise ConfigError(f"unknown option {name!r}{did_you_mean(name, known)}")
        return cls(**options)


@dataclass(frozen=True)
class Plan:
    """All inputs and options that determine the content of a dataset."""

    events: Events
    """Event log."""
    items: ItemTable | None
    """Item table of the caller, or None."""
    users: ItemTable | None
    """User table of the caller, or None."""
    split: Split
    """Rule that divides the sequences into parts."""
    options: PrepareOptions
    """Cleaning options."""
    sequence_column: str
    """Canonical name of the column that defines the sequences: user_id or session_id."""
    notes: tuple[str, ...]
    """Sentences for the warnings of the dataset."""
    erased: ErasedUsers | None = None
    """Users whose events are left out, or None. The fingerprint of the dataset does not depend on it."""
    consent: str | None = None
    """Column that says whether an event may be used, or None. The fingerprint does not depend on it either."""

    @property
    def hash(self) -> str:
        """Hash of the plan; equal for the same call on the same data."""
        content = {
            "format": FORMAT,
            "events": self.events.source.origin,
            "columns": asdict(self.events.columns),
            "tz": self.events.tz,
            "time_unit": self.events.time_unit,
            "items": self.items and [self.items.source.origin, self.items.id_column],
            **({"users": [self.users.source.origin, self.users.id_column]} if self.users else {}),
            **({"erased": self.erased.fingerprint} if self.erased is not None else {}),
            **({"consent": self.consent} if self.consent is not None else {}),
            **self.to_dict(),
        }
        return hash_json(content)

    @property
    def extra_columns(self) -> dict[str, str]:
        """The names of the split column (`part`) and of the column of consent (`consent`), if there are such."""
        part = {"part": self.split.column} if isinstance(self.split, ColumnSplit) else {}
        return part | ({CONSENT: self.consent} if self.consent is not None else {})

    def to_dict(self) -> dict[str, Any]:
        """Return the options and the split as JSON values."""
        return {"options": self.options.to_dict(), "split": self.split.describe()}


def make_plan(
    events: Any,
    items: Any,
    split: Split | str | None,
    options: PrepareOptions,
    users: Any = None,
    forget: Any = None,
    consent: Any = None,
) -> Plan:
    """Check the arguments of `prepare` and return its plan.

    Raises:
        DataError: The log, a table or a column is missing.
        ConfigError: The split is invalid.
    """
    log = events if isinstance(events, Events) else read_events(events)
    erased = erased_users(forget)
    if erased is not None:
        _require_users(log)
    log, column, notes = _choose_sequences(log, options)
    rule = _parse_rule(split)
    if isinstance(rule, ColumnSplit) and rule.column not in log.source.table.columns:
        raise DataError(
            f"the events have no split column {rule.column!r}{did_you_mean(rule.column, log.source.table.columns)}"
        )
    if consent is not None:
        _check_consent_column(consent, log.source.table.columns)
    table = None if items is None else open_items(items, str(log.columns.item))
    role = column.removesuffix("_id")
    known = None if users is None else open_users(users, role, str(getattr(log.columns, role)))
    return Plan(log, table, known, rule, options, column, notes, erased, consent)


def _require_users(log: Events) -> None:
    """Check that the users of a log are known, so that some of them can be left out."""
    if log.columns.user is None:
        raise DataError(
            "the events have no user column, so erased users cannot be left out; name it (user=NAME, --user-column NAME)"
        )
    log.check_ids("user")


def _check_consent_column(consent: Any, columns: Sequence[str]) -> None:
    if not isinstance(consent, str):
        raise ConfigError(f"consent={consent!r} is not the name of a column; give a text")
    if consent not in columns:
        raise DataError(f"the events have no consent column {consent!r}{did_you_mean(consent, columns)}")


def _parse_rule(split: Split | str | None) -> Split:
    if split is None:
        return TimeSplit.last()
    if isinstance(split, str):
        return parse_split(split)
    if not isinstance(split, Split):
        raise ConfigError(f"split={split!r} is not a split; give a Split, or one of {' | '.join(SPLITS)}")
    return split


def _choose_sequences(log: Events, options: PrepareOptions) -> tuple[Events, str, tuple[str, ...]]:
    """Return the log with the columns that are needed, the canonical column of its sequences, and notes."""
    log, notes = _without_empty(log)
    columns, gap = log.columns, options.session_gap
    by = options.sequence_by or ("session" if gap or columns.user is None else "user")
    if by == "user" or gap:
        if columns.user is None:
            raise DataError(
                "the events have no user column; name it (user=NAME, --user-column NAME), or use "
                "sequence_by='session' (--sequence-by session)"
            )
        log.check_ids("user")
        return log.with_columns(session=None), "user_id", notes
    if columns.session is None:
        raise DataError(
            "sequence_by='session', but the events have no session column; name it (session=NAME, or "
            "--session-column NAME), or divide users into sessions by time with session_gap='30min'"
        )
    log.check_ids("session")
    if options.max_events_per_day is not None:
        _check_counted_users(log)
    if columns.user is None:
        return log, "session_id", (*notes, "the events have no user column: each session is a sequence")
    try:
        log.check_ids("user")
    except DataError as error:  # the column only serves to check that a session has one user
        return log.with_columns(user=None), "session_id", (*notes, f"the user column is not read: {error}")
    return log, "session_id", notes


def _check_counted_users(log: Events) -> None:
    """Check that the events of each user can be counted."""
    if log.columns.user is None:
        raise DataError(
            "max_events_per_day counts the events of users, but the events have no user column; name it (user=NAME, "
            "--user-column NAME), or omit the maximum"
        )
    log.check_ids("user")


def _without_empty(log: Events) -> tuple[Events, tuple[str, ...]]:
    """Return the log without columns of kinds and values that are empty in every row, and a note for each of them."""
    empty = {
        role: name
        for role, name in asdict(log.columns).items()
        if role in ("kind", "value") and name and is_null_type(log.source.table[name].type())
    }
    notes = tuple(
        f"column {name!r} ({role}) is empty in every row and is not read" for role, name in empty.items()
    )
    return log.with_columns(**dict.fromkeys(empty)), notes


def hash_json(value: Any) -> str:
    """Return a short hash of a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
