"""Encoding of an event log: ids, kinds and times become integers, in one table sorted by sequence and time.

For example, the rows (ann, mug, 10:05), (bob, pot, 10:00), (ann, pot, 10:01) give the codes ann = 0, bob = 1 and
mug = 0, pot = 1, by first appearance, and the encoded rows (sequence, item) in the order (0, 1), (0, 0), (1, 1).
"""

from dataclasses import dataclass
from typing import Any

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.types as ir
import pyarrow as pa

from reprise.data.dataset import EVENT
from reprise.data.io.column_types import is_integer_text, is_missing_id, type_words
from reprise.data.io.engine import Engine
from reprise.data.io.events import Events, check_session_users
from reprise.data.io.time_columns import TimeFormat, to_ms
from reprise.data.preparing.item_table import ID_LIMIT
from reprise.data.split import PART_CODES
from reprise.errors import DataError, did_you_mean

KINDS_LIMIT = 256
"""Largest number of kinds; a kind is stored in one byte."""


@dataclass(frozen=True)
class Log:
    """A log with numbered rows and canonical column names, before it is encoded."""

    engine: Engine
    """Engine that reads the files of the log."""
    table: ir.Table
    """The rows: user_id, item_id, timestamp, session_id, kind, value and part, if present, and `row`, counted from 0.
    It is evaluated by `rows` only."""
    events: Events
    """The log as it was opened, with the column names of the caller."""
    sequence_column: str
    """Canonical name of the column that defines the sequences: user_id or session_id."""

    def name(self, canonical: str) -> str:
        """Return the caller's name of a column, given its canonical name."""
        return self.events.names[canonical]

    def rows(self, **columns: ir.Value) -> ir.Table:
        """Return the column `row` and columns that are computed row by row; see `Engine.row_wise`."""
        return self.engine.row_wise(self.table.select("row", **columns))


def code_ids(log: Log, *, cut_later: bool = False) -> dict[str, Any]:
    """Check all columns except the times; save the tables `sequences` and `items` (id and code) and return facts.

    Codes count from 0 in the order of first appearance. The facts are the number of `rows`, of distinct `sequences` and
    `items`, the `kinds`, whether the ids of both are `integers`, and the type of those of the sequences (`sequence_type`).

    Args:
        log: The log.
        cut_later: Whether the sequences will be divided into sessions later; otherwise a log of one sequence is refused.

    Raises:
        DataError: Ids are missing, values are not finite numbers, there are too many kinds, sessions are shared by
            users, or there is only one sequence.
    """
    sequences = _save_codes(log, "sequences", log.sequence_column)
    items = _save_codes(log, "items", "item_id")
    if sequences["count"] == 1 and not cut_later:
        raise DataError(
            f"the log is one sequence (a single {log.sequence_column} in {sequences['rows']} rows); "
            f"is {log.name(log.sequence_column)!r} the right column?"
        )
    kinds = _kinds(log)
    _check_values(log)
    if log.sequence_column == "session_id" and "user_id" in log.table.columns:
        owners = log.rows(session_id=log.table.session_id, user_id=log.table.user_id)
        check_session_users(log.engine, owners, log.name("session_id"), "omit the user column")
    return {
        "rows": sequences["rows"],
        "sequences": sequences["count"],
        "items": items["count"],
        "kinds": kinds,
        "integers": [sequences["integers"], items["integers"]],
        "sequence_type": sequences["type"],
    }


def encode(log: Log, time_format: TimeFormat, kinds: list[str]) -> None:
    """Save the table `events`, the encoded log, given the tables and kinds of `code_ids`.

    It has the columns sequence, item, time_ms, kind, value, part and row, and is sorted by sequence, time and input order.

    Args:
        log: The log.
        time_format: Format of its column of times.
        kinds: Kinds in the order of their codes.
    """
    # Rows with equal times are ordered by part if a split column marks them. The part is in the sort key only then,
    # because a longer key makes the sort about 1.5 times as slow.
    order = ["sequence", "time_ms", *(["part"] if "part" in log.table.columns else []), "row"]
    log.engine.save("events", _encode_rows(log, time_format, kinds), order=order)


def save_session_users(log: Log) -> None:
    """Save the table `session_users`: the code of each session (`session`) and the user it belongs to (`user`)."""
    rows = log.rows(id=log.table.session_id, user=log.table.user_id)
    users = rows.group_by("id").aggregate(user=rows.user.min())
    sequences = log.engine.table("sequences")
    joined = users.join(sequences, users.id == sequences.id)
    log.engine.save("session_users", joined.select(users.user, session=sequences.code))


def _save_codes(log: Log, name: str, column: str) -> dict[str, Any]:
    """Save the table `name` of the distinct ids of a column and their codes; return facts about them."""
    table = log.rows(id=log.table[column])
    # Strings are only hashed here and in the join of `_encode_rows`; they are never sorted. Codes follow the first row of
    # each id, so they do not depend on the number of threads or on the hash.
    found = table.group_by("id").aggregate(first=table.row.min(), rows=table.count())
    codes = found.mutate(code=ibis.row_number().over(order_by=found.first).cast(dt.int32))
    log.engine.save(name, codes.select("id", "code", "rows"))
    driver = log.engine.driver
    saved = driver.table(name)
    facts = driver.row(
        saved.aggregate(
            count=saved.count(), rows=saved.rows.sum(), missing=saved.rows.sum(where=is_missing_id(saved.id))
        )
    )
    if facts["missing"]:
        first = log.engine.row(table.aggregate(row=table.row.min(where=is_missing_id(table.id))))
        raise DataError(
            f"column {log.name(column)!r} has no id in {facts['missing']} of {facts['rows']} rows, first in row "
            f"{first['row'] + 1}; drop these rows, or give each its own id"
        )
    kind = log.table[column].type()
    if kind.is_unsigned_integer():
        _check_size(log.name(column), driver.row(saved.aggregate(id=saved.id.max()))["id"])
    if log.events.source.text:  # text files do not show the type
        others = driver.row(saved.aggregate(other=(~is_integer_text(saved.id)).sum()))["other"]
        return {**facts, "integers": not others, "type": str(kind)}
    return {**facts, "integers": bool(kind.is_integer()), "type": str(kind)}


def _check_size(column: str, largest: int) -> None:
    if largest >= ID_LIMIT:
        raise DataError(
            f"column {column!r} has the id {largest}, but integer ids must be below 2^63; store larger ids as strings"
        )


def _kinds(log: Log) -> list[str]:
    """Return the kinds of the log, most frequent first."""
    if "kind" not in log.table.columns:
        return [EVENT]
    _check_kind_type(log)
    rows = log.rows(kind=_kind(log.table))
    found = rows.group_by("kind").aggregate(count=rows.count())
    kinds = log.engine.rows(found.order_by([ibis.desc("count"), "kind"]).limit(KINDS_LIMIT + 1))
    if len(kinds) > KINDS_LIMIT:
        raise DataError(
            f"column {log.name('kind')!r} has more than {KINDS_LIMIT} kinds (such as {kinds[-1]['kind']!r}); "
            f"{_other_column_hint('kind')}"
        )
    return [row["kind"] for row in kinds]


def _check_kind_type(log: Log) -> None:
    kind = log.table.kind.type()
    if kind.is_string() or kind.is_integer() or kind.is_boolean():
        return
    hint = "pandas turns integers with missing values into floats: cast them; " if kind.is_floating() else ""
    raise DataError(
        f"kinds must be text, integers or booleans, but column {log.name('kind')!r} contains {type_words(kind)}; {hint}"
        f"{_other_column_hint('kind')}"
    )


def _kind(table: ir.Table) -> ir.StringValue:
    return table.kind.cast(dt.string).fill_null(EVENT)


def _check_values(log: Log) -> None:
    if "value" not in log.table.columns:
        return
    value = log.table["value"]
    if not (value.type().is_numeric() or value.type().is_string()):
        raise DataError(
            f"values must be numbers, but column {log.name('value')!r} contains {type_words(value.type())}; "
            f"{_other_column_hint('value')}"
        )
    number = value.try_cast(dt.float64)
    bad = number.isinf() | (number.isnull() & value.notnull() & (value.cast(dt.string) != ""))
    wrong = log.engine.row_wise(log.table.filter(bad).select("row", value=value.cast(dt.string)))
    first = log.engine.rows(wrong.order_by("row").limit(1))
    if first:
        raise DataError(
            f"row {first[0]['row'] + 1} of column {log.name('value')!r} is not a finite number: {first[0]['value']!r}; "
            f"leave it empty or NaN if there is none; {_other_column_hint('value')}"
        )


def _other_column_hint(role: str) -> str:
    return f"name another column ({role}=NAME, --{role}-column NAME), or no column ({role}='', --{role}-column '')"


def _encode_rows(log: Log, time_format: TimeFormat, kinds: list[str]) -> ir.Table:
    engine, table = log.engine, log.table
    # most logs have one kind, and then the join with the names of the kinds is not needed
    several = {"kind_name": _kind(table)} if len(kinds) > 1 else {}
    rows = log.rows(
        sequence_id=table[log.sequence_column],
        item_id=table.item_id,
        time_ms=to_ms(table.timestamp, time_format, log.events.tz),
        value=_value(table),
        part=_part(table),
        **several,
    )
    sequences, items = engine.table("sequences"), engine.table("items")
    joined = rows.join(sequences, rows.sequence_id == sequences.id).select(rows, sequence=sequences.code)
    joined = joined.join(items, joined.item_id == items.id).select(joined, item=items.code)
    kind: ir.Value = ibis.literal(0, dt.uint8)
    if several:
        codes = pa.table({"name": kinds, "code": pa.array(range(len(kinds)), pa.uint8())})
        names = engine.small_table("kinds", codes)
        joined = joined.join(names, joined.kind_name == names["name"]).select(joined, kind_code=names.code)
        kind = joined.kind_code
    return joined.select("sequence", "item", "time_ms", "value", "part", "row", kind=kind)


def _value(table: ir.Table) -> ir.FloatingValue:
    if "value" not in table.columns:
        return ibis.null(dt.float32)
    return table["value"].try_cast(dt.float32)


def _part(table: ir.Table) -> ir.IntegerValue:
    if "part" not in table.columns:
        return ibis.literal(0, dt.uint8)
    named = table.part.cast(dt.string)
    return ibis.cases(
        *((named == name, ibis.literal(number, dt.uint8)) for name, number in PART_CODES.items())
    )


def check_part_names(log: Log, name: str) -> None:
    """Check that the split column `name` contains a known part in every row.

    Raises:
        DataError: A row has another value.
    """
    part = log.table.part.cast(dt.string)
    unknown = part.isnull() | part.notin(list(PART_CODES))
    invalid = log.engine.row_wise(log.table.filter(unknown).select("row", part=part))
    first = log.engine.rows(invalid.order_by("row").limit(1))
    if first:
        value = first[0]["part"]
        hint = did_you_mean(value or "", PART_CODES)
        raise DataError(f"row {first[0]['row'] + 1} of the split column {name!r} is {value!r}{hint}")


def check_part_order(log: Log, name: str) -> None:
    """Check that in each sequence no row of an earlier part is later in time than a row of a later part.

    Raises:
        DataError: There is such a row.
    """
    events = log.engine.table("events")
    later = events.group_by("sequence").aggregate(
        valid=events.time_ms.min(where=events.part >= 1), test=events.time_ms.min(where=events.part == 2)
    )
    joined = events.join(later, "sequence")
    wrong = ((joined.part == 0) & (joined.time_ms > joined.valid)) | (
        (joined.part == 1) & (joined.time_ms > joined.test)
    )
    first = log.engine.rows(joined.filter(wrong).order_by("row").limit(1).select("row", "part"))
    if first:
        part = list(PART_CODES)[first[0]["part"]]
        raise DataError(
            f"row {first[0]['row'] + 1} is marked {part!r} in column {name!r}, but a later part of its sequence begins "
            "before it; the parts of a sequence must follow each other in time"
        )
