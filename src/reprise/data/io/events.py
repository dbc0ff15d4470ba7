"""A log of events, before it is prepared: which of its columns is what. The only place that knows column names."""

from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from typing import Any

import ibis.expr.types as ir

from reprise.data.io.sources import Source, open_source
from reprise.data.timestamps import check_zone
from reprise.errors import ConfigError, DataError, did_you_mean

KNOWN = {
    "user": ("user_id", "user", "customer_id", "visitor_id"),
    "item": ("item_id", "item", "product_id", "sku"),
    "time": ("timestamp", "datetime", "time", "event_time"),
    "session": ("session_id", "session"),
    "kind": ("event_type", "kind", "event"),
    "value": ("value", "event_value", "rating", "price"),
}
"""The names that are found by themselves, best first. Case, `_`, `-` and blanks make no difference, so that
`SessionId` (GRU4Rec) and `USER_ID` (Personalize) are among them."""

CANONICAL = {
    "user": "user_id",
    "item": "item_id",
    "time": "timestamp",
    "session": "session_id",
    "kind": "kind",
    "value": "value",
}
"""What the columns are called from here on."""


@dataclass(frozen=True)
class Columns:
    """What the columns of a log are called.

    None means: find it by its known names, or do without; an empty name means: do without.
    """

    user: str | None = None
    """Who did it. A log must have a user or a session column, or both."""
    item: str | None = None
    """With what."""
    time: str | None = None
    """When."""
    session: str | None = None
    """In which visit; sessions of different users must differ."""
    kind: str | None = None
    """What was done: view, buy, ..."""
    value: str | None = None
    """A number that goes with it: a price, a rating, seconds played."""

    def resolve(self, names: list[str], what: str = "events") -> "Columns":
        """The same with each None replaced by the name found among `names`, if any, and each empty name by None.

        Raises:
            DataError: A named column is not there.
        """
        for role, name in asdict(self).items():
            if name and name not in names:
                raise DataError(f"the {what} have no {role} column {name!r}{did_you_mean(name, names)}")
        found = {role: find(role, names) if name is None else name for role, name in asdict(self).items()}
        return Columns(**{role: name or None for role, name in found.items()})


@dataclass(frozen=True)
class Events:
    """A log of events, nothing of it read yet."""

    source: Source
    columns: Columns
    """What its columns are called by the caller."""
    tz: str | None = None
    """The zone of times that have none."""

    @cached_property
    def table(self) -> ir.Table:
        """The log as a lazy Ibis table under canonical names: user_id, item_id, timestamp, session_id, kind, value."""
        return self.select(self.source.table)

    @property
    def names(self) -> dict[str, str]:
        """For each canonical name of a column of the log, what the caller calls it."""
        return {CANONICAL[role]: name for role, name in asdict(self.columns).items() if name is not None}

    def select(self, table: ir.Table, **also: str) -> ir.Table:
        """The log's columns of `table` under their canonical names, and others under the names given here."""
        return table.select(**{canonical: table[name] for canonical, name in (self.names | also).items()})

    def only(self, **roles: str | None) -> "Events":
        """The same log with some columns left out or taken from elsewhere."""
        return replace(self, columns=replace(self.columns, **roles))


def read_events(
    source: Any, columns: Columns | None = None, *, tz: str | None = None, **names: str
) -> Events:
    """A log of events from files or tables; nothing is loaded yet.

    Args:
        source: A path, several, a glob or a folder (Parquet, CSV, TSV, JSON lines, RecBole `.inter`; also packed
            as `.gz` or `.zst`), a pandas, polars or Arrow table, or any Ibis table.
        columns: What the columns are called, where it differs from the known names.
        tz: The time zone of times that have none, such as `Europe/Berlin`.
        **names: The same as `columns`, one by one: `read_events("x.parquet", item="sku")`.

    Raises:
        DataError: No such file or column, an unknown format, ids that are neither strings nor integers.
        ConfigError: An unknown time zone, or an unknown name among `names`.
    """
    check_zone(tz)
    opened = open_source(source)
    found = (columns or _columns(names)).resolve(list(opened.table.columns))
    _check_present(found, list(opened.table.columns))
    _check_ids(found, opened.table)
    return Events(opened, found, tz)


def _columns(names: dict[str, str]) -> Columns:
    known = [field.name for field in fields(Columns)]
    for name in names:
        if name not in known:
            raise ConfigError(f"unknown column {name!r}{did_you_mean(name, known)}")
    return Columns(**names)


def find(role: str, names: list[str]) -> str | None:
    """The best of `names` that is a known name for a role, or None."""
    plain = {_plain(name): name for name in reversed(names)}
    return next((plain[_plain(known)] for known in KNOWN[role] if _plain(known) in plain), None)


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


def _check_present(columns: Columns, names: list[str]) -> None:
    for role in ("item", "time"):
        if getattr(columns, role) is None:
            _refuse(role, names)
    if columns.user is None and columns.session is None:
        _refuse("user", names)


def _refuse(role: str, names: list[str]) -> None:
    wanted = KNOWN[role][0]
    raise DataError(
        f"the events have no column {wanted!r}{did_you_mean(wanted, names)} "
        f"(any name will do: {role}=NAME, or --{role}-column NAME)"
    )


def _check_ids(columns: Columns, table: ir.Table) -> None:
    for name in (columns.user, columns.item, columns.session):
        if name is not None:
            check_id_type(name, table[name].type())


def check_id_type(name: str, kind: Any) -> None:
    """Raise a DataError unless a column of ids holds strings or integers."""
    if kind.is_string() or kind.is_integer():
        return
    hint = (
        "; integers with gaps become floats in pandas: drop the rows without an id, then cast"
        if kind.is_floating()
        else ""
    )
    raise DataError(f"ids are strings or integers; column {name!r} is {str(kind).lower()}{hint}")
