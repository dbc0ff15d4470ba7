"""The item table as bytes and back, for files that travel with a model, and its columns as arrays that can be asked.

Shape letters: I rows.
"""

from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from reprise.errors import DataError

Table: TypeAlias = pa.Table
"""An Arrow table; floors above hold it and ask for its columns by the functions here."""
Kind = Literal["text", "integer", "number", "boolean", "time", "date", "nothing", "other"]
"""What a column holds. `nothing`: no value at all; `other`: lists, structures and whatever else cannot be compared."""

MAX_EXACT_INTEGER = 2**53
"""Integers beyond it are not all told apart by a float64."""
TIMES_US = (-62_135_596_800_000_000, 253_402_300_799_999_999)
"""The years 1 to 9999, in microseconds since 1970: what a calendar has."""


class EncodedColumn(NamedTuple):
    """A column as numbers."""

    value_I: np.ndarray[Any, np.dtype[Any]]
    """Text: the place of each value among the words, int32, -1 where there is none. Else float64, NaN where there is none;
    times and dates are microseconds since 1970, in UTC where they name no zone, and truths are 0 and 1."""
    words: list[str]
    """The values of a column of text, each once."""


def write_table(table: Table) -> bytes:
    """The table as a Parquet file."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    data: bytes = sink.getvalue().to_pybytes()
    return data


def read_table(data: bytes) -> Table:
    """The table of a Parquet file.

    Raises:
        DataError: the bytes are no Parquet file.
    """
    try:
        table: Table = pq.read_table(pa.BufferReader(data))
    except pa.ArrowException as error:
        raise DataError(f"this is no Parquet file ({error}); write it again") from None
    return table


def column_values(table: Table, name: str) -> list[Any]:
    """A column as a list, or a list of None where the table has no such column."""
    if name not in table.column_names:
        return [None] * len(table)
    values: list[Any] = table.column(name).to_pylist()
    return values


def value_at(table: Table, name: str, row: int) -> Any:
    """One value, None where there is none."""
    return table.column(name)[row].as_py()


def column_kind(table: Table, name: str) -> Kind:
    """What a column of the table holds."""
    values = table.column(name)
    if values.null_count == len(values):
        return "nothing"
    kind = values.type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    tests: dict[Kind, list[Any]] = {
        "text": [pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view],
        "integer": [pa.types.is_integer],
        "number": [pa.types.is_floating, pa.types.is_decimal],
        "boolean": [pa.types.is_boolean],
        "time": [pa.types.is_timestamp],
        "date": [pa.types.is_date],
    }
    return next((name for name, several in tests.items() if any(test(kind) for test in several)), "other")


def encode_column(table: Table, name: str, kind: Kind) -> EncodedColumn:
    """A column of the table as numbers.

    Args:
        table: The table.
        name: The column.
        kind: What it holds, or `text` for whatever can be written as such.

    Raises:
        DataError: it holds integers that a float64 cannot tell apart.
    """
    values = table.column(name)
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if kind == "text":
        return _encode_text(values)
    if kind in ("time", "date"):
        values = values.cast(pa.timestamp("us", getattr(values.type, "tz", None)), safe=False).cast(
            pa.int64()
        )
    if kind == "integer":
        _check_exact(name, values)
    if values.type in (pa.float16(), pa.float32()):
        values = values.cast(
            pa.string()
        )  # 19.99 is then what a person calls so, and not the float32 nearest to it
    value_I = values.cast(pa.float64(), safe=False).to_numpy().copy()
    unknown_I = ~np.isfinite(value_I)
    if kind in ("time", "date"):
        unknown_I |= (value_I < TIMES_US[0]) | (value_I > TIMES_US[1])
    value_I[unknown_I] = np.nan
    return EncodedColumn(value_I, [])


def _encode_text(values: pa.ChunkedArray) -> EncodedColumn:
    if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
        values = pa.chunked_array(
            [[None if value is None else str(value) for value in values.to_pylist()]], pa.string()
        )
    # large, so that no text is too long to stand in one piece
    found = values.cast(pa.large_string()).combine_chunks().dictionary_encode()
    code_I = found.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32)
    return EncodedColumn(code_I, found.dictionary.to_pylist())


def _check_exact(name: str, values: pa.ChunkedArray) -> None:
    for end in pc.min_max(values).as_py().values():
        if abs(end) > MAX_EXACT_INTEGER:
            raise DataError(
                f"column {name!r} of the item table holds integers beyond 2^53 ({end}), which cannot be compared exactly; "
                "store them as text"
            )
