"""Inspection of an event log: how `prepare` understands each column, found by the same steps, without writing a dataset."""

from dataclasses import asdict, dataclass
from typing import Any

import ibis.expr.datatypes as dt
import ibis.expr.types as ir
import pyarrow as pa

from reprise.atomic_files import temporary_directory
from reprise.data.io.arrow_columns import column_kind
from reprise.data.io.column_types import type_words
from reprise.data.io.duckdb_engine import DEFAULT_MEMORY, DuckDBEngine
from reprise.data.io.events import CANONICAL, Events
from reprise.data.io.time_columns import time_notes, to_ms
from reprise.data.preparing.encoding import Log
from reprise.data.preparing.item_table import LogIds, load_items
from reprise.data.preparing.permitted_events import left_out_notes
from reprise.data.preparing.plan import Plan, PrepareOptions, make_plan
from reprise.data.preparing.steps import open_log, read_step, understand
from reprise.data.split import Split
from reprise.data.timestamps import format_iso

SAMPLE_ROWS = 3
TIME_FORMATS = {
    "s": "seconds since 1970",
    "ms": "milliseconds since 1970",
    "us": "microseconds since 1970",
    "ns": "nanoseconds since 1970",
    "timestamp": "timestamps",
    "text": "ISO times",
}


@dataclass(frozen=True)
class ColumnReading:
    """How a column of the log is understood."""

    role: str
    """Role of the column: user, item, time, session, kind, value or part."""
    column: str | None
    """Name of the column; None if the log has no column for the role."""
    chosen: str
    """`named` by the caller, `recognised` by its name, or empty without a column."""
    contains: str
    """Type of the values as read, in words."""
    meaning: str
    """What the values mean: distinct ids, format and range of times, kinds."""


@dataclass(frozen=True)
class ItemTableReading:
    """How the item table is understood."""

    id_column: str
    """Name of its column of item ids."""
    columns: dict[str, str]
    """Kind of the values of each column, such as text, integer or number, by name."""
    rows: int
    """Number of rows."""
    joined: int
    """Number of rows whose id occurs in the events."""


@dataclass(frozen=True)
class LogInspection:
    """How `prepare` understands a log and its item table."""

    rows: int
    """Number of rows of the log."""
    columns: tuple[ColumnReading, ...]
    """Columns of all roles."""
    ignored: tuple[str, ...]
    """Columns of the log that are not read."""
    samples: tuple[dict[str, Any], ...]
    """The first three rows as they are understood, by role. Times are ISO 8601 in UTC."""
    items: ItemTableReading | None
    """The item table, or None if there is none."""
    notes: tuple[str, ...]
    """Remarks, such as columns that are empty."""


def inspect_events(
    events: Any,
    *,
    items: Any = None,
    users: Any = None,
    split: Split | str | None = None,
    memory_limit: str = DEFAULT_MEMORY,
    **options: Any,
) -> LogInspection:
    """Return how `prepare` would understand each column of a log, without preparing it.

    Rows that are not in Parquet files, and data beyond the memory limit, are written to a temporary directory of the
    system, which is removed afterwards.

    Args:
        events: The result of `read_events`, or any source that it accepts.
        items: Item table, as for `prepare`.
        users: User table, as for `prepare`.
        split: Split, as for `prepare`; only its column is checked.
        memory_limit: Memory limit of the table engine, such as `512MB`.
        **options: Fields of `PrepareOptions`; `forget` and `consent` as for `prepare`.

    Raises:
        DataError: The log or the item table has a fault for which `prepare` would refuse it.
        ConfigError: An option is unknown or invalid.
    """
    forget, consent = options.pop("forget", None), options.pop("consent", None)
    plan = make_plan(events, items, split, PrepareOptions.from_keywords(options), users, forget, consent)
    with temporary_directory() as directory:
        engine = DuckDBEngine(directory, memory_limit)
        try:
            read = read_step(plan, engine, directory)
            log, without = open_log(plan, engine, read)
            return _inspect(plan, log, left_out_notes(plan, read, without))
        finally:
            engine.close()


def _inspect(plan: Plan, log: Log, left_out: tuple[str, ...]) -> LogInspection:
    facts = understand(plan, log)
    time_ms = to_ms(log.table.timestamp, facts["times"], plan.events.tz)
    sequence_integers, item_integers = facts["integers"]
    log_ids = LogIds(item_integers, plan.events.source.text)
    items, item_integers = (None, item_integers) if plan.items is None else _inspect_items(plan, log, log_ids)
    integers = {log.sequence_column: sequence_integers, "item_id": item_integers}
    times = log.rows(time_ms=time_ms)
    span = log.engine.row(times.aggregate(first=times.time_ms.min(), last=times.time_ms.max()))
    columns = _readings(plan, log, {**facts, "integers": integers}, span)
    used = {reading.column for reading in columns}
    return LogInspection(
        rows=facts["rows"],
        columns=columns,
        ignored=tuple(str(name) for name in plan.events.source.table.columns if name not in used),
        samples=_samples(log, time_ms, integers),
        items=items,
        notes=(*plan.notes, *left_out, *time_notes(span["first"], span["last"])),
    )


def _readings(plan: Plan, log: Log, facts: dict[str, Any], span: dict[str, int]) -> tuple[ColumnReading, ...]:
    """Return how each role is understood; a role that `prepare` does not need has no column."""
    events: Events = plan.events
    time_format = str(facts["times"])
    written = "text with " if time_format.startswith("text-") else ""
    meanings = {
        log.sequence_column: f"{facts['sequences']:,} sequences",
        "item_id": f"{facts['items']:,} items",
        "timestamp": (
            f"{written}{TIME_FORMATS[time_format.removeprefix('text-')]}, "
            f"{format_iso(span['first'])} to {format_iso(span['last'])}"
        ),
        "kind": ", ".join(facts["kinds"][:5]) + (", ..." if len(facts["kinds"]) > 5 else ""),
    }
    readings = []
    for role, name in [*asdict(events.columns).items(), *plan.extra_columns.items()]:
        canonical = CANONICAL.get(role, role)
        if name is None:
            readings.append(ColumnReading(role, None, "", "", ""))
            continue
        chosen = "named" if role in events.named or role in plan.extra_columns else "recognised"
        contains = _contains(log, canonical, facts)
        readings.append(ColumnReading(role, name, chosen, contains, meanings.get(canonical, "")))
    return tuple(readings)


def _contains(log: Log, canonical: str, facts: dict[str, Any]) -> str:
    """Return the type of a column in words; ids of text files are integers if all of them are written as integers."""
    return "integers" if facts["integers"].get(canonical) else type_words(log.table[canonical].type())


def _inspect_items(plan: Plan, log: Log, log_ids: LogIds) -> tuple[ItemTableReading, bool]:
    given, engine = plan.items, log.engine.driver
    assert given is not None, "the caller checks that there is an item table"
    rows, integers = load_items(engine, given, log_ids)
    ids = engine.arrow_table("given_ids", pa.table({"item_id": rows.column("item_id")}))
    known = engine.table("items")
    known = engine.save("known_ids", known.select(item_id=known.id.cast(dt.int64 if integers else dt.string)))
    joined = ids.semi_join(known, "item_id")
    count = engine.row(joined.aggregate(rows=joined.count()))["rows"]
    kinds = {name: str(column_kind(rows, name)) for name in rows.column_names}
    kinds = {given.id_column: kinds.pop("item_id"), **kinds}
    return ItemTableReading(given.id_column, kinds, rows.num_rows, int(count)), integers


def _samples(log: Log, time_ms: ir.Value, integers: dict[str, bool]) -> tuple[dict[str, Any], ...]:
    """Return the first rows, with ids of their final types and times in ISO 8601."""
    table = log.table
    roles = {role: name for role, name in [*CANONICAL.items(), ("part", "part")] if name in table.columns}
    fields: dict[str, ir.Value] = {
        role: table[name].cast(dt.int64 if integers.get(name) else dt.string) for role, name in roles.items()
    }
    fields["time"] = time_ms
    if "value" in roles:
        fields["value"] = table["value"].try_cast(dt.float64)
    samples = log.rows(**fields).order_by("row").limit(SAMPLE_ROWS)
    rows = log.engine.rows(samples.drop("row"))
    return tuple({**row, "time": format_iso(row["time"])} for row in rows)
