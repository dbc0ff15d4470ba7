"""The event log before it is prepared, and the roles of its columns. Column names are defined only here."""

from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from typing import Any

import ibis.expr.types as ir

from reprise.data.io.sources import Source, open_source
from reprise.data.timestamps import check_zone
from reprise.errors import ConfigError, DataError, did_you_mean

KNOWN_NAMES = {
    "user": ("user_id", "user", "customer_id", "visitor_id"),
    "item": ("item_id", "item", "product_id", "sku"),
    "time": ("timestamp", "datetime", "time", "event_time"),
    "session": ("session_id", "session"),
    "kind": ("event_type", "kind", "event"),
    "value": ("value", "event_value", "rating", "price"),
}
"""Column names that are recognised for each role, preferred names first. Case, `_`, `-` and blanks are ignored, so
`SessionId` (GRU4Rec) and `USER_ID` (Personalize) are recognised."""

CANONICAL = {
    "user": "user_id",
    "item": "item_id",
    "time": "timestamp",
    "session": "session_id",
    "kind": "kind",
    "value": "value",
}
"""Canonical column name of each role, used after reading."""


@dataclass(frozen=True)
class Columns:
    """The column names of a log, by role.

    None finds the column by its known names, if there is one. An empty name leaves the role without a column.
    """

    user: str | None = None
    """Column of user ids. A log must have a user column or a session column, or both."""
    item: str | None = None
    """Column of item ids."""
    time: str | None = None
    """Column of timestamps."""
    session: str | None = None
    """Column of session ids; sessions of different users must have different ids."""
    kind: str | None = None
    """Column of event kinds, such as view or buy."""
    value: str | None = None
    """Column of numeric event values, such as a price, a rating or seconds played."""

    def resolve(self, names: list[str]) -> "Columns":
        """Return the actual column of each role: None is replaced by a known name among `names`, "" by None.

        Raises:
            DataError: A named column is missing.
        """
        for role, name in asdict(self).items():
            if name and name not in names:
                raise DataError(f"the events have no {role} column {name!r}{did_you_mean(name, names)}")
        found = {
            role: find_column(role, names) if name is None else name for role, name in asdict(self).items()
        }
        return Columns(**{role: name or None for role, name in found.items()})


@dataclass(frozen=True)
class Events:
    """An event log whose rows have not been read yet."""

    source: Source
    """The table that contains the log."""
    columns: Columns
    """Column names of the caller, by role."""
    tz: str | None = None
    """Time zone of times that have none."""

    @cached_property
    def table(self) -> ir.Table:
        """The log as a lazy Ibis table with canonical names: user_id, item_id, timestamp, session_id, kind, value."""
        return self.select(self.source.table)

    @property
    def names(self) -> dict[str, str]:
        """The caller's name of each column, by canonical name."""
        return {CANONICAL[role]: name for role, name in asdict(self.columns).items() if name is not None}

    def select(self, table: ir.Table, **extra: str) -> ir.Table:
        """Select the columns of the log from `table` under canonical names, and extra columns under the given names."""
        return table.select(**{canonical: table[name] for canonical, name in (self.names | extra).items()})

    def with_columns(self, **roles: str | None) -> "Events":
        """Return the log with other columns for some roles; None leaves a role without a column."""
        return replace(self, columns=replace(self.columns, **roles))


def read_events(
    source: Any,
    columns: Columns | None = None,
    *,
    tz: str | None = None,
    delimiter: str | None = None,
    **names: str,
) -> Events:
    """Open an event log from files or tables, without reading its rows.

    Args:
        source: A path, several paths, a glob or a directory (Parquet, CSV, TSV, JSON lines or RecBole `.inter`, also
            compressed as `.gz` or `.zst`); or a pandas, polars, Arrow or Ibis table.
        columns: Column names that differ from the known names.
        tz: Time zone of times that have none, such as `Europe/Berlin`.
        delimiter: Separator of the values in text files, such as `;`; None: detect it in each file.
        **names: The fields of `columns` as keywords: `read_events("x.parquet", item="sku")`.

    Raises:
        DataError: A file or column is missing, the format is unknown, or ids are neither strings nor integers.
        ConfigError: The time zone or a keyword is unknown.
    """
    check_zone(tz)
    opened = open_source(source, delimiter)
    found = (columns or _columns(names)).resolve(list(opened.table.columns))
    _check_present(found, list(opened.table.columns))
    _check_ids(found, opened)
    return Events(opened, found, tz)


def _columns(names: dict[str, str]) -> Columns:
    known = [field.name for field in fields(Columns)]
    for name in names:
        if name not in known:
            raise ConfigError(f"unknown column {name!r}{did_you_mean(name, known)}")
    return Columns(**names)


def find_column(role: str, names: list[str]) -> str | None:
    """Return the column among `names` that has the preferred known name of a role, or None."""
    by_letters = {_letters(name): name for name in reversed(names)}
    return next(
        (by_letters[_letters(known)] for known in KNOWN_NAMES[role] if _letters(known) in by_letters), None
    )


def _letters(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


def _check_present(columns: Columns, names: list[str]) -> None:
    for role in ("item", "time"):
        if getattr(columns, role) is None:
            _raise_missing(role, names)
    if columns.user is None and columns.session is None:
        _raise_missing("user", names)


def _raise_missing(role: str, names: list[str]) -> None:
    wanted = KNOWN_NAMES[role][0]
    raise DataError(
        f"the events have no column {wanted!r}{did_you_mean(wanted, names)} "
        f"(or name the column: {role}=NAME, --{role}-column NAME)"
    )


def _check_ids(columns: Columns, source: Source) -> None:
    for name in (columns.user, columns.item, columns.session):
        if name is not None:
            source.check_id_values(name)
            check_id_type(name, source.table[name].type())


def check_id_type(name: str, kind: Any) -> None:
    """Check that a column of ids contains strings or integers.

    Raises:
        DataError: It has another type.
    """
    if kind.is_string() or kind.is_integer():
        return
    hint = (
        "; pandas turns integers with missing values into floats: drop the rows without an id, then cast"
        if kind.is_floating()
        else ""
    )
    raise DataError(f"ids must be strings or integers, but column {name!r} is {str(kind).lower()}{hint}")
