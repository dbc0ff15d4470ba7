"""The item table: one row per item of the vocabulary, in its order, with the columns of the caller."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.types as ir
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from reprise.data.io.arrow_columns import MAX_EXACT_INTEGER
from reprise.data.io.column_types import (
    UNREADABLE,
    is_integer_text,
    is_zoned_nanoseconds,
    type_words,
)
from reprise.data.io.duckdb_engine import DuckDBEngine
from reprise.data.io.events import find_column
from reprise.data.io.sources import Source, open_source
from reprise.data.preparing.array_writer import Ranking
from reprise.errors import DataError, did_you_mean

ID, COUNT = "item_id", "count"
"""Columns of the table besides those of the caller."""
CODE = r"^(\+|-?0\d|-?\d{16})"
"""Start of text that is a code rather than a number: as a float it would lose a sign, leading zeros or last digits."""
ID_LIMIT = 2**63
"""Integer ids must be smaller, because they are stored as signed 64-bit integers."""


class LogIds(NamedTuple):
    """The type of the item ids in the events."""

    integers: bool
    """Whether they are integers."""
    text: bool
    """Whether they were read from text files, which do not show the type."""


@dataclass(frozen=True)
class ItemTable:
    """A table of the caller with one row per item, or per user."""

    source: Source
    """The table."""
    id_column: str
    """Name of its column of ids."""
    noun: str = "item table"
    """What the table is, for messages."""

    @property
    def integers(self) -> bool:
        """Whether the type of the id column is an integer type."""
        return bool(self.source.table[self.id_column].type().is_integer())

    def load(self) -> pa.Table:
        """Load the rows, with the id column first and named `item_id`."""
        names = [name for name in self.source.table.columns if name != self.id_column]
        source = self.source.table
        table = source.select(self.id_column, **{name: _loadable(source, name, self.noun) for name in names})
        rows = self.source.engine.arrow(table) if self.source.engine else table.to_pyarrow()
        rows = rows.rename_columns([ID, *(_free_name(name, names) for name in names)])
        return _typed(rows) if self.source.text else rows


def _loadable(table: ir.Table, name: str, noun: str) -> ir.Value:
    """Return a column as a type that an Arrow table and a Parquet file can hold.

    Raises:
        DataError: There is no such type.
    """
    column = table[name]
    kind = column.type()
    if is_zoned_nanoseconds(kind):
        return column.cast(dt.Timestamp(timezone="UTC"))
    if "NULL" in str(kind):  # no row has a value, also in lists
        return ibis.null(dt.string)
    if kind.is_interval() or (kind.is_struct() and not len(kind)) or type_words(kind) == UNREADABLE:
        raise DataError(
            f"column {name!r} of the {noun} contains {type_words(kind)}, which cannot be stored; convert it to "
            "numbers or text, or drop it"
        )
    return column


def _free_name(name: str, names: list[str]) -> str:
    """Return the name of a column, or `given_NAME` if the name is used by one of our columns."""
    if name not in (ID, COUNT):
        return name
    renamed = f"given_{name}"
    while renamed in names:
        renamed = f"given_{renamed}"
    return renamed


def _typed(rows: pa.Table) -> pa.Table:
    """Convert text columns of numbers to int64 or float64. A column that has codes, such as `0012`, stays text."""
    for position, name in enumerate(rows.column_names):
        if name != ID:
            rows = rows.set_column(position, name, _number_or_text(rows.column(name)))
    return rows


def _number_or_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    try:
        whole = column.cast(pa.int64())
        return whole if whole.cast(column.type).equals(column) else column
    except pa.ArrowInvalid:
        pass
    if pc.any(pc.match_substring_regex(column, CODE)).as_py():
        return column
    try:
        return column.cast(pa.float64())
    except pa.ArrowInvalid:
        return column


def open_items(items: Any, item_column: str) -> ItemTable:
    """Open an item table; its id column has the same name as in the events, or a known name.

    Raises:
        DataError: The table cannot be read, or has no column of ids.
    """
    source = open_source(items)
    names = list(source.table.columns)
    column = item_column if item_column in names else find_column("item", names)
    if column is None:
        raise DataError(f"the item table has no column {item_column!r}{did_you_mean(item_column, names)}")
    source.check_ids(column, where=" of the item table")
    return ItemTable(source, column)


def write_items(
    engine: DuckDBEngine, given: ItemTable | None, ranking: Ranking, log_ids: LogIds, path: Path
) -> dict[str, Any]:
    """Write the item table; return the number of added items (`added`), of items that the caller's table lacks
    (`unknown`), and notes.

    Items that occur only in the caller's table are appended as cold items.
    """
    rows, integers = (None, log_ids.integers) if given is None else load_items(engine, given, log_ids)
    index_I = np.arange(1, len(ranking.code_I) + 1)
    ranks = pa.table({"code": pa.array(ranking.code_I, pa.int32()), "index": index_I, COUNT: ranking.count_I})
    items, order = engine.table("items"), engine.arrow_table("ranks", ranks)
    ids = items.id.cast(dt.int64 if integers else dt.string)
    # saved, because Ibis would merge the join below into this one and lose the cast
    known = engine.save("known", items.join(order, "code").select("index", COUNT, item_id=ids))
    if given is None or rows is None:
        pq.write_table(engine.arrow(known.order_by("index").select(ID, COUNT)), path, compression="zstd")
        return {"added": 0, "unknown": 0, "notes": []}
    joined = _join_rows(engine, known, rows.column(ID), len(ranking.code_I))
    row = joined.column("row")
    # only the ids go through the engine, so that the caller's column names cannot clash with ours
    columns = rows.drop_columns([ID]).take(row)
    written = joined.drop_columns(["row"])
    for name in columns.column_names:
        written = written.append_column(name, columns.column(name))
    pq.write_table(written, path, compression="zstd")
    return {
        "added": written.num_rows - len(ranking.code_I),
        "unknown": row.null_count,
        "notes": [*_join_notes(joined, len(ranking.code_I), given), *_value_notes(columns)],
    }


def _join_rows(engine: DuckDBEngine, known: ir.Table, ids: pa.ChunkedArray, count: int) -> pa.Table:
    """Return `item_id`, `count` and `row`, the row of the caller's table or null, of the known and of the added items."""
    given = engine.arrow_table("given", pa.table({ID: ids, "row": np.arange(len(ids))}))
    joined = known.left_join(given, ID).select("index", ID, COUNT, "row")
    added = given.anti_join(known, ID)
    added = added.select(ID, "row", index=added.row + count + 1, **{COUNT: ibis.literal(0, dt.int64)}).select(
        "index", ID, COUNT, "row"
    )
    return engine.arrow(ibis.union(joined, added).order_by("index").drop("index"))


def load_items(engine: DuckDBEngine, given: ItemTable, log_ids: LogIds) -> tuple[pa.Table, bool]:
    """Load the rows of an item table, with ids of the same type as in the events; return whether they are integers.

    Ids from text files fit either type: `17` is an integer or text, depending on the other table. An id that is written
    differently, such as `017`, is another id: it does not join 17.

    Args:
        engine: DuckDBEngine with the table `items` of the ids in the events.
        given: The item table.
        log_ids: Type of the item ids in the events.

    Raises:
        DataError: The types differ, ids are missing or repeated, or ids that are written differently would be equal as
            integers.
    """
    rows, name = given.load(), given.id_column
    ids = rows.column(ID)
    is_text = pa.types.is_string(ids.type) or pa.types.is_large_string(ids.type)
    missing = ids.null_count + (pc.sum(pc.equal(ids, "")).as_py() or 0 if is_text else 0)
    if missing:
        raise DataError(f"column {name!r} of the item table has no id in {missing} rows; drop these rows")
    integers = _common_type(engine, given, ids, log_ids)
    if ids.type == pa.uint64() and len(ids) and pc.max(ids).as_py() >= ID_LIMIT:
        raise DataError(
            f"column {name!r} of the item table has the id {pc.max(ids)}, but integer ids must be below 2^63; store larger "
            "ids as text"
        )
    ids = ids.cast(pa.int64() if integers else pa.string())
    counts = ids.value_counts()
    repeated = counts.filter(pc.greater(counts.field("counts"), 1)).to_pylist()
    if repeated:
        first = repeated[0]
        raise DataError(
            f"the item table has {len(repeated)} ids in more than one row, first {first['values']!r} in "
            f"{first['counts']} rows (column {name!r}); keep one row each"
        )
    return rows.set_column(0, ID, ids), integers


def _common_type(engine: DuckDBEngine, given: ItemTable, ids: pa.ChunkedArray, log_ids: LogIds) -> bool:
    """Return whether item ids are integers, given the types in the events and in the item table."""
    if not given.source.text:
        if given.integers == log_ids.integers:
            return log_ids.integers
        if log_ids.text and not given.integers:
            return False
        names = {True: "integers", False: "text"}
        raise DataError(
            f"item ids are {names[log_ids.integers]} in the events ({_example(engine)!r}) and {names[given.integers]} in "
            f"column {given.id_column!r} of the item table ({ids[0].as_py() if len(ids) else None!r}); make them the same"
        )
    if not log_ids.integers:
        return False
    other = _other_than_integers(engine, ids)
    if not len(other):
        return True
    equal = _equal_as_integers(engine, other)
    if equal is None and log_ids.text:
        return False  # two text files: the catalogue shows that ids are text
    value = equal["text"] if equal else other[0].as_py()
    reason = f"it does not join {equal['number']}" if equal else "it is not written as an integer"
    raise DataError(
        f"item ids are integers in the events, but column {given.id_column!r} of the item table has {value!r} "
        f"(row {pc.index(ids, value).as_py() + 1}): {reason}; write the same id the same way in both, or give both as "
        "text in Parquet"
    )


def _example(engine: DuckDBEngine) -> Any:
    return engine.row(engine.table("items").order_by("code").limit(1).select("id"))["id"]


def _other_than_integers(engine: DuckDBEngine, ids: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the ids that are not the usual text of an integer, such as `001`, `+1` and `a1`."""
    table = engine.arrow_table("item_ids", pa.table({"text": ids}))
    return engine.arrow(table.filter(~is_integer_text(table["text"]))).column("text")


def _equal_as_integers(engine: DuckDBEngine, ids: pa.ChunkedArray) -> dict[str, Any] | None:
    """Return the first `text` that is another spelling of an integer id (`number`) of the events, such as `001` of 1."""
    table = engine.arrow_table("spelt", pa.table({"text": ids, "row": np.arange(len(ids))}))
    number = table.text.re_replace(r"^\s*[+]?(-?)0*(\d+)(\.0*)?\s*$", r"\1\2").try_cast(dt.int64)
    spelt = table.mutate(number=number)
    items = engine.table("items")
    equal = spelt.join(items, spelt.number == items.id.try_cast(dt.int64)).order_by("row").limit(1)
    return next(iter(engine.rows(equal.select("text", "number"))), None)


def _join_notes(joined: pa.Table, known: int, given: ItemTable) -> list[str]:
    """Return a note if no id joins, and one if some ids do not join only because of leading zeros, blanks or case.

    Args:
        joined: Columns `item_id` and `row`: first the items of the events, then those that occur only in the table.
        known: Number of items in the events.
        given: The item table.

    Raises:
        DataError: No id of the item table joins, because of such differences.
    """
    ids, row = joined.column(ID), joined.column("row").slice(0, known)
    missing, added = ids.slice(0, known).filter(pc.is_null(row)), ids.slice(known)
    none = row.null_count == known
    if not len(missing) or not len(added):
        return []
    notes = ["no id of the item table occurs in the events"] if none else []
    if pa.types.is_integer(ids.type):
        return notes
    place = pc.index_in(_loose(missing), _loose(added))
    found = pc.indices_nonzero(pc.is_valid(place))
    if not len(found):
        return notes
    first = found[0].as_py()
    pair = f"{missing[first].as_py()!r} of the events and {added[place[first].as_py()].as_py()!r} of the item table"
    what = f"item ids must be equal letter by letter: {pair} (column {given.id_column!r}) do not join"
    if none:
        raise DataError(f"{what}, and neither does any other id; write the same id the same way in both")
    return [f"{what}; {len(found)} ids are of this kind"]


def _loose(ids: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return ids in lower case, without outer blanks, leading zeros and `.0`, which other programs add or remove."""
    text = pc.utf8_lower(pc.utf8_trim_whitespace(ids.cast(pa.string())))
    text = pc.replace_substring_regex(text, r"^0+([^.])", r"\1")
    return pc.replace_substring_regex(text, r"^(\d+)\.0*$", r"\1")


def _value_notes(columns: pa.Table) -> list[str]:
    """Return notes about numbers that filters cannot compare: infinite ones, and integers beyond 2^53."""
    notes = []
    for name in columns.column_names:
        values, start = columns.column(name), f"column {name!r} of the item table has"
        if pa.types.is_floating(values.type) and (count := pc.sum(pc.is_inf(values)).as_py()):
            notes.append(f"{start} {count} infinite values; filters treat them as missing")
        if pa.types.is_integer(values.type):
            ends = [end for end in pc.min_max(values).as_py().values() if end is not None]
            if any(abs(end) > MAX_EXACT_INTEGER for end in ends):
                notes.append(
                    f"{start} integers beyond 2^53 ({ends[-1]}), which filters cannot compare exactly; store them as text, or "
                    "drop the column, before a model is exported"
                )
    return notes
