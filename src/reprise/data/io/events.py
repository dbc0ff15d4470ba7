"""The event log before it is prepared, and the roles of its columns. Column names are defined only here."""

from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from typing import Any

import ibis.expr.types as ir

from reprise.data.io.column_names import join_names
from reprise.data.io.engine import QueryEngine
from reprise.data.io.sources import Source, open_source
from reprise.data.timestamps import TimeUnit, check_unit, check_zone
from reprise.errors import ConfigError, DataError, did_you_mean, similar_name

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
            DataError: A named column, or a column that every log needs, is missing; all of them are reported together.
        """
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        for role, name in given.items():
            if name is not None and not isinstance(name, str):
                raise ConfigError(
                    f"{role}={name!r} is not the name of a column; give a text, or '' for no column"
                )
        found = {
            role: (find_column(role, names) if name is None else name) or None for role, name in given.items()
        }
        absent = {role: name for role, name in found.items() if name is not None and name not in names}
        required = [
            role
            for role in ("user", "item", "time")
            if found[role] is None and not (role == "user" and found["session"])
        ]
        if absent or required:
            raise _missing_columns(absent, required, names)
        _check_distinct(found)
        return Columns(**found)


@dataclass(frozen=True)
class Events:
    """An event log whose rows have not been read yet."""

    source: Source
    """The table that contains the log."""
    columns: Columns
    """Column names of the caller, by role."""
    tz: str | None = None
    """Time zone of times that have none."""
    time_unit: TimeUnit | None = None
    """Unit of times that are numbers; None: the unit in which all of them are plausible."""
    named: tuple[str, ...] = ()
    """Roles whose column the caller named; the other columns were recognised by their names."""

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

    def __repr__(self) -> str:
        roles = ", ".join(
            f"{field.name}={name!r}"
            for field in fields(self.columns)
            if (name := getattr(self.columns, field.name))
        )
        return f"Events({roles})"

    def with_columns(self, **roles: str | None) -> "Events":
        """Return the log with other columns for some roles; None leaves a role without a column."""
        return replace(self, columns=replace(self.columns, **roles))

    def check_ids(self, *roles: str) -> None:
        """Check that the id columns of these roles contain text, integers or UUIDs; roles without a column are skipped.

        Raises:
            DataError: A column has another type, or different types in several files.
        """
        for role in roles:
            if (name := getattr(self.columns, role)) is not None:
                self.source.check_ids(name)


def read_events(
    source: Any,
    columns: Columns | None = None,
    *,
    tz: str | None = None,
    delimiter: str | None = None,
    time_unit: TimeUnit | None = None,
    **names: str,
) -> Events:
    """Open an event log from files or tables, without reading its rows; only JSON lines are read to find their columns.

    Args:
        source: A path, several paths, a glob or a directory (Parquet, CSV, TSV, JSON lines or RecBole `.inter`, also
            compressed as `.gz` or `.zst`); or a pandas, polars, Arrow or Ibis table, a dict of columns, a list of dicts,
            or a NumPy array with named fields.
        columns: Column names that differ from the known names.
        tz: Time zone of times that have none, such as `Europe/Berlin`.
        delimiter: Separator of the values in text files, such as `;`; None: detect it in each file.
        time_unit: Unit of times that are numbers: `s`, `ms`, `us` or `ns` since 1970. Needed only if the numbers are not
            plausible in one unit, or look like dates such as 2023111512.
        **names: The fields of `columns` as keywords: `read_events("x.parquet", item="sku")`.

    Raises:
        DataError: A file or column is missing, the format is unknown, or ids are neither text nor integers.
        ConfigError: The time zone, the unit or a keyword is unknown.
    """
    check_zone(tz)
    check_unit(time_unit)
    given = _columns(names) if columns is None else columns
    if not isinstance(given, Columns) or (names and columns is not None):
        raise ConfigError(
            f"columns={columns!r} with the keywords {names}: name the columns either by keywords, such as "
            "read_events(source, item='sku'), or by one Columns object"
        )
    opened = open_source(source, delimiter)
    found = given.resolve(list(opened.table.columns))
    events = Events(opened, found, tz, time_unit, tuple(role for role, name in asdict(given).items() if name))
    events.check_ids("item")
    opened.check_same_type(str(found.time))
    # users or sessions may not be needed: `prepare` checks those that define the sequences
    if found.user is None or found.session is None:
        events.check_ids("user", "session")
    return events


def check_session_users(engine: QueryEngine, log: ir.Table, column: str, remedy: str) -> None:
    """Check that no session has several users: sessions numbered per user would be merged without an error.

    Args:
        engine: Engine that evaluates the log.
        log: The log, with the columns `session_id`, `user_id` and `row`.
        column: The caller's name of the session column.
        remedy: What the user can do instead of making the ids unique.

    Raises:
        DataError: A session has events of several users.
    """
    users = log.group_by("session_id").aggregate(
        low=log.user_id.min(), high=log.user_id.max(), row=log.row.min()
    )
    shared = engine.rows(users.filter(users.low != users.high).order_by("row").limit(1))
    if shared:
        raise DataError(
            f"session {shared[0]['session_id']!r} has events of several users ({shared[0]['low']!r} and "
            f"{shared[0]['high']!r}); make the ids in {column!r} unique, or {remedy}"
        )


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


def _missing_columns(absent: dict[str, str | None], required: list[str], names: list[str]) -> DataError:
    """Return the error that reports all missing columns: those that the caller named, and those that are required."""
    faults = [f"no {role} column {name!r}" for role, name in absent.items()]
    faults += [f"no column {KNOWN_NAMES[role][0]!r}" for role in required]
    wanted = [*map(str, absent.values()), *(KNOWN_NAMES[role][0] for role in required)]
    hints = [similar_name(name, names) for name in wanted]
    similar = [
        hint if len(hints) == 1 else f"{hint.removesuffix('?')} for {name!r}?"
        for name, hint in zip(wanted, hints, strict=True)
        if hint
    ]
    found = "" if len(similar) == len(hints) else f"; found: {join_names(names)}"
    remedy = ""
    if required:
        keywords = ", ".join(f"{role}=NAME" for role in required)
        options = " ".join(f"--{role}-column NAME" for role in required)
        remedy = f" (or name the column{'s' if len(required) > 1 else ''}: {keywords}, {options})"
    joined = faults[0] if len(faults) == 1 else ", ".join(faults[:-1]) + f" and {faults[-1]}"
    return DataError(f"the events have {joined}{found}{''.join(similar)}{remedy}")


def _check_distinct(found: dict[str, str | None]) -> None:
    """Check that a column is not the item or the time, and an id at the same time."""
    for role, others in (("item", ("user", "session", "time")), ("time", ("user", "session"))):
        for other in others:
            if found[role] is not None and found[role] == found[other]:
                raise DataError(
                    f"column {found[role]!r} is both the {role} and the {other} column; name another column "
                    f"({role}=NAME, --{role}-column NAME, or {other}=NAME, --{other}-column NAME)"
                )
