"""JSON lines: one object per line. Columns and their types are settled over all rows before any row is used.

A column is every key of any object. Its type follows from all of its values: integers, numbers, booleans, or text as
written if they are mixed. Numbers beyond the exact range of a type stay text, so that no digit is lost.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv

from reprise.data.io.arrow_columns import MAX_EXACT_INTEGER
from reprise.data.io.column_names import check_column_names
from reprise.data.io.duckdb_engine import interruptible
from reprise.data.io.text_formats.text_blocks import SHOWN, STAND_IN, Block, read_blocks
from reprise.errors import DataError

BATCH_ROWS = 50_000
LINE_SCHEMA = pa.schema([("line", pa.string())])
KINDS = {
    "UBIGINT": "integer",
    "BIGINT": "integer",
    "DOUBLE": "float",
    "VARCHAR": "text",
    "BOOLEAN": "boolean",
    "ARRAY": "list",
    "OBJECT": "object",
}
"""Kind of each JSON type of DuckDB; null is a missing value."""
WIDE, BIG = "integer beyond 2^53", "integer beyond 2^63"
"""Kinds of integers that float64 or int64 cannot hold exactly."""
NOT_IDS = {"float": "floats", "boolean": "booleans", "list": "lists", "object": "objects"}
"""Kinds of values that are not ids, in words."""
BLANKS = " \t"
"""Characters of lines that are not rows."""


@dataclass
class JsonColumn:
    """A key of JSON objects, and the kinds of its values in all rows."""

    name: str
    """The key."""
    kinds: set[str] = field(default_factory=set)
    """Kinds of its values: the values of `KINDS`, `WIDE` and `BIG`; empty if all values are null."""
    not_id: tuple[str, str] | None = None
    """Kind of the first value that cannot be an id, in words, and this value with file and line; None: there is none."""

    @property
    def sql_type(self) -> str:
        """DuckDB type that holds all values without loss."""
        if self.kinds == {"boolean"}:
            return "BOOLEAN"
        if self.kinds and self.kinds <= {"integer", WIDE}:
            return "BIGINT"
        return "DOUBLE" if self.kinds and self.kinds <= {"integer", "float"} else "VARCHAR"

    @property
    def path(self) -> str:
        """JSON pointer to the value, as an SQL literal."""
        pointer = "/" + self.name.replace("~", "~0").replace("/", "~1")
        return "'" + pointer.replace("'", "''") + "'"


def scan_columns(files: Sequence[Path]) -> list[JsonColumn]:
    """Read all rows and return the columns, in the order of their first occurrence.

    Raises:
        DataError: A line is not a JSON object, or has a key twice; no row has a key; or keys differ only in case.
    """
    columns: dict[str, JsonColumn] = {}
    with interruptible(), duckdb.connect() as connection:
        for path in files:
            for block in read_blocks(path, None):
                if block.rows:
                    _scan_block(connection, block, columns)
    if not columns:
        raise DataError(f"{str(files[0])!r} has no rows; write one JSON object per line")
    check_column_names(list(columns), repr(str(files[0])))
    return list(columns.values())


def read_lines(files: Sequence[Path]) -> Iterator[pa.RecordBatch]:
    """Read the lines of files in order, as the text column `line`."""
    for path in files:
        for block in read_blocks(path, None):
            if block.rows:
                yield from _split(block).select(["line"]).to_batches()


def select_columns(columns: Sequence[JsonColumn], lines: str) -> str:
    """Return the SQL query that converts the lines of the table `lines` to columns."""
    types = json.dumps({column.name: column.sql_type for column in columns}).replace("'", "''")
    return f"SELECT unnest(json_transform(line, '{types}')) FROM {lines}"


def _split(block: Block) -> pa.Table:
    """Return the lines of a block that are not blank, and the row of each; check their number."""
    if STAND_IN in block.data:
        raise block.error(
            block.data.index(STAND_IN), "the line contains the control character 0x1f; remove it"
        )
    table = arrow_csv.read_csv(
        pa.py_buffer(block.data),
        read_options=arrow_csv.ReadOptions(
            column_names=LINE_SCHEMA.names, use_threads=False, block_size=len(block.data) + 1
        ),
        parse_options=arrow_csv.ParseOptions(delimiter=STAND_IN.decode(), quote_char=False),
        convert_options=arrow_csv.ConvertOptions(
            column_types=LINE_SCHEMA, null_values=[], strings_can_be_null=False, check_utf8=False
        ),
    )
    block.check_rows(len(table))
    table = table.append_column("number", pa.array(np.arange(len(table), dtype=np.int32)))
    first = np.frombuffer(block.data, np.uint8)[block.starts]
    if np.isin(first, [ord(blank) for blank in BLANKS]).any():
        table = table.filter(pc.not_equal(pc.ascii_trim(table.column("line"), BLANKS), ""))
    return table


def _scan_block(connection: duckdb.DuckDBPyConnection, block: Block, columns: dict[str, JsonColumn]) -> None:
    # several batches, so that DuckDB reads them in parallel
    lines = _split(block)
    connection.register("given", pa.Table.from_batches(lines.to_batches(BATCH_ROWS), lines.schema))
    _check_json(connection, block)
    found = connection.execute("SELECT json_keys(line), min(number) FROM given GROUP BY ALL").fetchall()
    found.sort(key=lambda one: one[1])
    for keys, row in found:
        _check_keys(block, keys, row)
        for key in keys:
            columns.setdefault(key, JsonColumn(key))
    here = list(dict.fromkeys(key for keys, _ in found for key in keys))
    if here:
        _scan_kinds(connection, block, [columns[key] for key in here])


def _check_json(connection: duckdb.DuckDBPyConnection, block: Block) -> None:
    """Check that every line is a JSON object."""
    [(wrong,)] = connection.execute(
        "SELECT min(number) FROM given WHERE NOT json_valid(line) OR NOT starts_with(ltrim(line), '{')"
    ).fetchall()
    if wrong is None:
        return
    try:
        connection.execute("SELECT json_keys(line) FROM given WHERE number = ?", [wrong]).fetchall()
        reason = ""
    except duckdb.Error as error:
        match = re.search(r"Malformed JSON at byte (\d+) of input: ([^.]*)", str(error))
        reason = f" ({match[2]} at character {int(match[1]) + 1})" if match else ""
    raise block.error(
        int(block.starts[wrong]),
        f"this is not a JSON object{reason}: {block.row_text(wrong)!r}; write one object per line",
    )


def _check_keys(block: Block, keys: list[str], row: int) -> None:
    twice = next((key for key in keys if keys.count(key) > 1), None)
    if twice is not None:
        raise block.error(
            int(block.starts[row]), f"the object has the key {twice!r} twice; remove one of them"
        )
    if "" in keys:
        raise block.error(int(block.starts[row]), "the object has an empty key; name it")


def _scan_kinds(connection: duckdb.DuckDBPyConnection, block: Block, columns: Sequence[JsonColumn]) -> None:
    """Add the kinds of the values in a block to its columns."""
    paths = ", ".join(column.path for column in columns)
    found = connection.execute(
        f"SELECT json_type(line, [{paths}]), min(number) FROM given GROUP BY ALL"
    ).fetchall()
    first: dict[tuple[int, str], int] = {}
    for kinds, row in found:
        for place, kind in enumerate(kinds):
            if kind in KINDS:
                key = (place, KINDS[kind])
                first[key] = min(row, first.get(key, row))
    long = _has_long_number(block.data)
    numeric = {place for place, kind in first if kind in ("integer", "float")}
    for place in sorted(numeric) if long else ():
        _scan_long_numbers(connection, place, columns[place], first)
    for (place, kind), row in sorted(first.items(), key=lambda one: one[1]):
        column = columns[place]
        column.kinds.add(kind)
        if column.not_id is None and kind in NOT_IDS:
            column.not_id = _describe(connection, block, column, kind, row)


def _has_long_number(data: bytes) -> bool:
    """Return whether 16 digits follow each other; most files have no such numbers and need no exact check."""
    # bytes below "0" wrap around, so one comparison finds the digits
    run = (np.frombuffer(data, np.uint8) - np.uint8(ord("0"))) < 10
    for length in (1, 2, 4, 8):
        run = run[:-length] & run[length:]
    return bool(run.any())


def _scan_long_numbers(
    connection: duckdb.DuckDBPyConnection, place: int, column: JsonColumn, first: dict[tuple[int, str], int]
) -> None:
    """Replace the kinds of a column of numbers by those that distinguish integers beyond 2^53 and 2^63."""
    found = connection.execute(
        f"""
        SELECT kind, min(number) FROM (
            SELECT number, CASE
                WHEN type IS NULL OR type NOT IN ('UBIGINT', 'BIGINT', 'DOUBLE') THEN NULL
                WHEN NOT regexp_full_match(value, '-?[0-9]+') THEN 'float'
                WHEN try_cast(value AS BIGINT) IS NULL THEN '{BIG}'
                WHEN value::BIGINT NOT BETWEEN -{MAX_EXACT_INTEGER} AND {MAX_EXACT_INTEGER} THEN '{WIDE}'
                ELSE 'integer' END AS kind
            FROM (SELECT number, json_type(line, {column.path}) AS type,
                  json_extract_string(line, {column.path}) AS value FROM given))
        WHERE kind IS NOT NULL GROUP BY kind
        """
    ).fetchall()
    for kind in ("integer", "float"):
        first.pop((place, kind), None)
    first.update({(place, kind): row for kind, row in found})


def _describe(
    connection: duckdb.DuckDBPyConnection, block: Block, column: JsonColumn, kind: str, row: int
) -> tuple[str, str]:
    [(value,)] = connection.execute(
        f"SELECT json_extract_string(line, {column.path}) FROM given WHERE number = ?", [row]
    ).fetchall()
    line = block.line(int(block.starts[row]))
    shown = value if len(value) <= SHOWN else value[:SHOWN] + "..."
    return NOT_IDS[kind], f"{str(block.path)!r}, line {line}: {shown}"
