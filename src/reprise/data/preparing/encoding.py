"""From ids to numbers: the log as one sorted table of integers, which everything after works on.

Strings are read once for the codes and once for the coding, and never sorted; the sort is over numbers.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.parquet as pq

from reprise.data.dataset import EVENT
from reprise.data.io.duckdb_engine import NUMBERING, Engine
from reprise.data.io.events import Events
from reprise.data.io.time_columns import TimeFormat, to_ms
from reprise.data.split import PART_CODES
from reprise.errors import DataError, did_you_mean

KINDS_LIMIT = 256
"""A kind is stored in one byte."""
ID_LIMIT = 2**63
"""Integer ids are stored with a sign."""


@dataclass(frozen=True)
class Log:
    """A log in Parquet files with numbered rows, canonical names, and what its ids and times are called."""

    engine: Engine
    table: ir.Table
    """user_id, item_id, timestamp, session_id, kind, value, part - those there are - and row, from 0."""
    events: Events
    key: str
    """The canonical column whose values are the sequences: user_id or session_id."""

    def name(self, canonical: str) -> str:
        """What the caller calls a column."""
        roles = {"user_id": "user", "item_id": "item", "timestamp": "time", "session_id": "session"}
        return str(asdict(self.events.columns)[roles.get(canonical, canonical)])


def numbered(engine: Engine, files: list[Path], names: dict[str, str]) -> ir.Table:
    """Columns of Parquet files as one table with a column `row`: the place of each row in the input, from 0.

    The reader numbers the rows of each file itself, whatever the number of threads; the rows of the files before
    are added. The columns get their new names first, so that none of the caller's is taken for one of ours.

    Args:
        engine: Reads the files.
        files: In the order of the input.
        names: For each column wanted, what it is called in the files.
    """
    source = engine.parquet(files)
    table = source.select(
        **{name: source[given] for name, given in names.items()},
        **{name: source[name] for name in NUMBERING if name in source.columns},
    )
    if len(files) == 1:
        return table.select(*names, row=table.file_row_number)
    lengths = [pq.read_metadata(path).num_rows for path in files]
    starts = [sum(lengths[:place]) for place in range(len(files))]
    known = engine.arrow_table(
        "files", pa.table({"known_file": [str(path) for path in files], "rows_before": starts})
    )
    joined = table.join(known, table.filename == known.known_file)
    return joined.select(*names, row=joined.file_row_number + joined.rows_before)


def code(log: Log, time_format: TimeFormat, *, cut: bool = False) -> dict[str, Any]:
    """Save the tables `sequences` and `items` (id, code) and `events`, the coded log in order; returns the facts.

    `events` has sequence, item, time_ms, kind, value, part and row, sorted by sequence, time and input order. Codes
    count from 0 in the order of first appearance. A log of one sequence is refused, unless it is to be `cut` in many.

    Raises:
        DataError: Ids that are missing, values that are infinite, too many kinds, an unknown part, one sequence.
    """
    sequences = _save_codes(log, "sequences", log.key)
    items = _save_codes(log, "items", "item_id")
    if sequences["count"] == 1 and not cut:
        raise DataError(
            f"the log is one sequence (a single {log.key} in {sequences['rows']} rows); "
            f"is {log.name(log.key)!r} the right column?"
        )
    kinds = _kinds(log)
    _check_values(log)
    _check_owners(log)
    # within one moment a marked part comes before the next; a longer key makes the sort half as slow again
    order = ["sequence", "time_ms", *(["part"] if "part" in log.table.columns else []), "row"]
    log.engine.save("events", _coded(log, time_format, kinds).order_by(order))
    return {"rows": sequences["rows"], "kinds": kinds, "integers": [sequences["integers"], items["integers"]]}


def _save_codes(log: Log, name: str, column: str) -> dict[str, Any]:
    table = log.table
    found = table.group_by(id=table[column]).aggregate(first=table.row.min(), rows=table.count())
    codes = found.mutate(code=ibis.row_number().over(order_by=found.first).cast(dt.int32))
    saved = log.engine.save(name, codes.select("id", "code", "rows"))
    facts = log.engine.row(
        saved.aggregate(
            count=saved.count(), rows=saved.rows.sum(), missing=saved.rows.sum(where=saved.id.isnull())
        )
    )
    if facts["missing"]:
        first = log.engine.row(table.aggregate(row=table.row.min(where=table[column].isnull())))
        raise DataError(
            f"column {log.name(column)!r} has no id in {facts['missing']} of {facts['rows']} rows, first in row "
            f"{first['row'] + 1}; drop these rows, or give each an id of its own"
        )
    _check_size(log, saved, column)
    return {**facts, "integers": _are_integers(log, saved)}


def _check_size(log: Log, saved: ir.Table, column: str) -> None:
    if not saved.id.type().is_unsigned_integer():
        return
    largest = log.engine.row(saved.aggregate(id=saved.id.max()))["id"]
    if largest >= ID_LIMIT:
        raise DataError(
            f"column {log.name(column)!r} has the id {largest}; integer ids are below 2^63: store larger ones as strings"
        )


def _are_integers(log: Log, saved: ir.Table) -> bool:
    """Whether ids are integers: by type, or, in a file of text, because each is written as an integer is."""
    if not log.events.source.text:
        return bool(saved.id.type().is_integer())
    as_written = saved.id.try_cast(dt.int64).cast(dt.string)
    return not log.engine.row(saved.aggregate(odd=(as_written.isnull() | (as_written != saved.id)).sum()))[
        "odd"
    ]


def _kinds(log: Log) -> list[str]:
    if "kind" not in log.table.columns:
        return [EVENT]
    kind = _kind(log.table)
    found = log.table.group_by(kind=kind).aggregate(count=log.table.count())
    kinds = log.engine.rows(found.order_by([ibis.desc("count"), "kind"]).limit(KINDS_LIMIT + 1))
    if len(kinds) > KINDS_LIMIT:
        raise DataError(
            f"column {log.name('kind')!r} has more than {KINDS_LIMIT} kinds (such as {kinds[-1]['kind']!r}); "
            f"{_another('kind')}"
        )
    return [row["kind"] for row in kinds]


def _kind(table: ir.Table) -> ir.StringValue:
    return table.kind.cast(dt.string).fill_null(EVENT)


def _check_values(log: Log) -> None:
    if "value" not in log.table.columns:
        return
    value = log.table["value"]
    if not (value.type().is_numeric() or value.type().is_string()):
        raise DataError(
            f"column {log.name('value')!r} is {value.type()}; values are numbers; {_another('value')}"
        )
    number = value.try_cast(dt.float64)
    bad = number.isinf() | (number.isnull() & value.notnull() & (value.cast(dt.string) != ""))
    wrong = log.table.filter(bad)
    first = log.engine.rows(
        wrong.order_by("row").limit(1).select("row", value=wrong["value"].cast(dt.string))
    )
    if first:
        raise DataError(
            f"row {first[0]['row'] + 1} of column {log.name('value')!r} is no finite number: {first[0]['value']!r}; "
            f"leave it empty or NaN where there is none; {_another('value')}"
        )


def _another(role: str) -> str:
    return f"name another column ({role}=NAME, --{role}-column NAME), or none ({role}='', --{role}-column '')"


def _check_owners(log: Log) -> None:
    """Sessions that are numbered user by user would silently become one another's."""
    if log.key != "session_id" or "user_id" not in log.table.columns:
        return
    owners = log.table.group_by("session_id").aggregate(
        low=log.table.user_id.min(), high=log.table.user_id.max(), row=log.table.row.min()
    )
    shared = log.engine.rows(owners.filter(owners.low != owners.high).order_by("row").limit(1))
    if shared:
        raise DataError(
            f"session {shared[0]['session_id']!r} has events of several users ({shared[0]['low']!r} and "
            f"{shared[0]['high']!r}); make the ids in {log.name('session_id')!r} unique, or leave the user column out"
        )


def _coded(log: Log, time_format: TimeFormat, kinds: list[str]) -> ir.Table:
    table, engine = log.table, log.engine
    sequences, items = engine.table("sequences"), engine.table("items")
    names = engine.arrow_table(
        "kinds", pa.table({"name": kinds, "code": pa.array(range(len(kinds)), pa.uint8())})
    )
    joined = table.join(sequences, table[log.key] == sequences.id).select(table, sequence=sequences.code)
    joined = joined.join(items, joined.item_id == items.id).select(joined, item=items.code)
    kind: ir.Value = ibis.literal(0, dt.uint8)
    if len(kinds) > 1:
        joined = joined.join(names, _kind(joined) == names["name"]).select(joined, kind_code=names.code)
        kind = joined.kind_code
    return joined.select(
        "sequence",
        "item",
        time_ms=to_ms(joined.timestamp, time_format, log.events.tz),
        kind=kind,
        value=_value(joined),
        part=_part(joined),
        row=joined.row,
    )


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


def check_marks(log: Log, name: str) -> None:
    """Raise a DataError unless the split column `name` marks every row with a known part."""
    part = log.table.part.cast(dt.string)
    odd = log.table.filter(part.isnull() | part.notin(list(PART_CODES)))
    first = log.engine.rows(odd.order_by("row").limit(1).select("row", part=odd.part.cast(dt.string)))
    if first:
        value = first[0]["part"]
        hint = did_you_mean(value or "", PART_CODES)
        raise DataError(f"row {first[0]['row'] + 1} of the split column {name!r} is {value!r}{hint}")


def check_order(log: Log, name: str) -> None:
    """Raise a DataError where a row of an earlier part is later in time than one of a later part, in one sequence."""
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
            "before it; a sequence's parts must follow each other in time"
        )
