"""The item table: one row per item of the vocabulary, in its order, with the columns of the caller."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.types as ir
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from reprise.data.io.duckdb_engine import Engine
from reprise.data.io.events import check_id_type, find_column
from reprise.data.io.sources import Source, open_source
from reprise.data.preparing.array_writer import Ranking
from reprise.errors import DataError, did_you_mean

ID, COUNT = "item_id", "count"
"""Columns of the table besides those of the caller."""


@dataclass(frozen=True)
class ItemTable:
    """The item table of the caller."""

    source: Source
    """The table."""
    id_column: str
    """Name of its column of item ids."""

    @property
    def integers(self) -> bool:
        """Whether the type of the id column is an integer type."""
        return bool(self.source.table[self.id_column].type().is_integer())

    def load(self) -> pa.Table:
        """Load the rows, with the id column first and named `item_id`."""
        names = [name for name in self.source.table.columns if name != self.id_column]
        table = self.source.table.select(self.id_column, *names)
        rows = self.source.engine.arrow(table) if self.source.engine else table.to_pyarrow()
        rows = rows.rename_columns([ID, *(_free_name(name, names) for name in names)])
        return _typed(rows) if self.source.text else rows


def _free_name(name: str, names: list[str]) -> str:
    """Return the name of a column, or `given_NAME` if the name is used by one of our columns."""
    if name not in (ID, COUNT):
        return name
    renamed = f"given_{name}"
    while renamed in names:
        renamed = f"given_{renamed}"
    return renamed


def _typed(rows: pa.Table) -> pa.Table:
    """Convert text columns to numbers if every value is written like a number."""
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
    source.check_id_values(column)
    check_id_type(column, source.table[column].type())
    return ItemTable(source, column)


def common_id_type(given: ItemTable | None, integers: bool, events_text: bool) -> bool:
    """Return whether item ids are integers, given the types in the events and in the item table.

    Ids from text files fit either type: `17` is an integer or a string, depending on the other table.

    Args:
        given: Item table of the caller, or None.
        integers: Whether the ids of the events are integers.
        events_text: Whether the events were read from text files.

    Raises:
        DataError: The types differ.
    """
    if given is None or given.source.text or given.integers == integers:
        return integers
    if events_text and not given.integers:
        return False
    names = {True: "integers", False: "strings"}
    raise DataError(
        f"item ids are {names[integers]} in the events and {names[given.integers]} in the item table "
        f"(column {given.id_column!r}); make them the same"
    )


def write_items(
    engine: Engine, given: ItemTable | None, ranking: Ranking, integers: bool, path: Path
) -> dict[str, Any]:
    """Write the item table; return the number of added items, and of items that the caller's table lacks (`unknown`).

    Items that occur only in the caller's table are appended as cold items.
    """
    index_I = np.arange(1, len(ranking.code_I) + 1)
    ranks = pa.table({"code": pa.array(ranking.code_I, pa.int32()), "index": index_I, COUNT: ranking.count_I})
    items, order = engine.table("items"), engine.arrow_table("ranks", ranks)
    ids = items.id.cast(dt.int64 if integers else dt.string)
    # saved, because Ibis would merge the join below into this one and lose the cast
    known = engine.save("known", items.join(order, "code").select("index", COUNT, item_id=ids))
    if given is None:
        pq.write_table(engine.arrow(known.order_by("index").select(ID, COUNT)), path, compression="zstd")
        return {"added": 0, "unknown": 0}
    rows = _load_checked(given, integers)
    joined = _join_rows(engine, known, rows.column(ID), len(ranking.code_I))
    row = joined.column("row")
    # only the ids go through the engine, so that the caller's column names cannot clash with ours
    columns = rows.drop_columns([ID]).take(row)
    written = joined.drop_columns(["row"])
    for name in columns.column_names:
        written = written.append_column(name, columns.column(name))
    pq.write_table(written, path, compression="zstd")
    return {"added": written.num_rows - len(ranking.code_I), "unknown": row.null_count}


def _join_rows(engine: Engine, known: ir.Table, ids: pa.ChunkedArray, count: int) -> pa.Table:
    """Return `item_id`, `count` and `row`, the row of the caller's table or null, of the known and of the added items."""
    given = engine.arrow_table("given", pa.table({ID: ids, "row": np.arange(len(ids))}))
    joined = known.left_join(given, ID).select("index", ID, COUNT, "row")
    added = given.anti_join(known, ID)
    added = added.select(ID, "row", index=added.row + count + 1, **{COUNT: ibis.literal(0, dt.int64)}).select(
        "index", ID, COUNT, "row"
    )
    return engine.arrow(ibis.union(joined, added).order_by("index").drop("index"))


def _load_checked(given: ItemTable, integers: bool) -> pa.Table:
    rows, name = given.load(), given.id_column
    ids = rows.column(ID)
    if ids.null_count:
        raise DataError(
            f"column {name!r} of the item table has no id in {ids.null_count} rows; drop these rows"
        )
    try:
        ids = ids.cast(pa.int64() if integers else pa.string())
    except pa.ArrowInvalid as error:
        raise DataError(
            f"item ids are integers in the events, but not in column {name!r} of the item table ({error})"
        ) from None
    counts = ids.value_counts()
    repeated = counts.filter(pc.greater(counts.field("counts"), 1)).to_pylist()
    if repeated:
        first = repeated[0]
        raise DataError(
            f"the item table has {len(repeated)} ids in more than one row, first {first['values']!r} in "
            f"{first['counts']} rows (column {name!r}); keep one row each"
        )
    return rows.set_column(0, ID, ids)
