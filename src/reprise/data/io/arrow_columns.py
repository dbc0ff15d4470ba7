"""The item table as an Arrow table: conversion to and from Parquet bytes, and its columns as NumPy arrays.

Shape letters: I rows.
"""

from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from reprise.arrays import AnyArray
from reprise.errors import DataError

Table: TypeAlias = pa.Table
"""An Arrow table. Higher layers do not import pyarrow; they read columns with the functions of this module."""
Kind = Literal["text", "integer", "number", "boolean", "time", "date", "nothing", "other"]
"""Type of the values of a column. `nothing`: all values are missing; `other`: lists, structures and similar types."""

MAX_EXACT_INTEGER = 2**53
"""Largest integer up to which float64 represents every integer exactly."""
TIME_RANGE_US = (-62_135_596_800_000_000, 253_402_300_799_999_999)
"""First and last time that `datetime` can represent (years 1 to 9999), in microseconds since 1970."""
MIN_DECODED_BYTES = 2**26
"""Bytes that a table may take in memory, however small its Parquet file is."""
MAX_EXPANSION = 1000
"""Further bytes that a table may take in memory for each byte of its Parquet file."""
MAX_BATCH_ROWS = 65_536
"""Largest number of rows that are decoded together."""


class EncodedColumn(NamedTuple):
    """A column encoded as numbers."""

    value_I: AnyArray
    """For text: the index of each value in `words`, int32, -1 if it is missing. For other types: float64, NaN if it is
    missing; times and dates are microseconds since 1970 (UTC if they have no time zone), booleans are 0 and 1."""
    words: list[str]
    """Distinct values of a text column; empty for other types."""


def write_table(table: Table) -> bytes:
    """Write a table as the bytes of a Parquet file."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    data: bytes = sink.getvalue().to_pybytes()
    return data


def read_table(data: bytes, *, rows: int) -> Table:
    """Read a table from the bytes of a Parquet file.

    A few bytes of Parquet can decode to gigabytes, because repeated values are stored once. So the number of rows is compared
    before anything is decoded, and decoding stops at a size that no real table reaches.

    Args:
        data: Content of the file.
        rows: Number of rows that the table must have.

    Raises:
        DataError: The bytes are not a Parquet file, or the table has another number of rows or is too large.
    """
    max_bytes = MIN_DECODED_BYTES + MAX_EXPANSION * len(data)
    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        if file.metadata.num_rows != rows:
            raise DataError(f"the table has {file.metadata.num_rows} rows instead of {rows}; write it again")
        batches, size = [], 0
        for batch in file.iter_batches(_rows_per_batch(file.metadata, max_bytes)):
            batches.append(batch)
            size += sum(map(_decoded_bytes, batch.columns))
            if size > max_bytes:
                raise DataError(
                    f"the table has {len(data)} bytes and would take more than {max_bytes} in memory; write it again"
                )
        table: Table = pa.Table.from_batches(batches, file.schema_arrow)
        table.validate(full=True)  # Parquet does not ensure that text and names are UTF-8
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"this is not a Parquet file ({error}); write it again") from None
    return table


def _decoded_bytes(column: Any) -> int:
    """Return the memory of a column in bytes; in a dictionary column, the value of each row counts, as if it were a copy."""
    if not isinstance(column, pa.DictionaryArray) or not len(column.dictionary):
        return int(column.nbytes)
    if pa.types.is_string(column.type.value_type) or pa.types.is_large_string(column.type.value_type):
        length = pc.binary_length(column.dictionary)
        return int(column.nbytes + (pc.sum(length.take(column.indices)).as_py() or 0))
    return int(column.nbytes + column.dictionary.nbytes // len(column.dictionary) * len(column))


def _rows_per_batch(metadata: Any, max_bytes: int) -> int:
    """Return a number of rows that decode to at most `max_bytes`: no value is larger than the decompressed file."""
    groups = [metadata.row_group(position) for position in range(metadata.num_row_groups)]
    largest = max((group.total_byte_size for group in groups), default=0)
    return int(min(MAX_BATCH_ROWS, max(1, max_bytes // max(1, largest))))


def column_values(table: Table, name: str) -> list[Any]:
    """Return a column as a list, or a list of None if the table does not have the column."""
    if name not in table.column_names:
        return [None] * len(table)
    values: list[Any] = table.column(name).to_pylist()
    return values


def value_at(table: Table, name: str, row: int) -> Any:
    """Return one value of a column, None if it is missing."""
    return table.column(name)[row].as_py()


def column_kind(table: Table, name: str) -> Kind:
    """Return the type of the values of a column."""
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
    """Encode a column as numbers.

    Args:
        table: The table.
        name: Name of the column.
        kind: Type of its values, or `text` to encode the values of any type as text.

    Raises:
        DataError: The column contains integers that float64 cannot represent exactly.
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
        # via text, so that 19.99 becomes the float64 19.99 and not the float32 nearest to it, 19.9899998
        values = values.cast(pa.string())
    value_I = values.cast(pa.float64(), safe=False).to_numpy().copy()
    missing_I = ~np.isfinite(value_I)
    if kind in ("time", "date"):
        missing_I |= (value_I < TIME_RANGE_US[0]) | (value_I > TIME_RANGE_US[1])
    value_I[missing_I] = np.nan
    return EncodedColumn(value_I, [])


def _encode_text(values: pa.ChunkedArray) -> EncodedColumn:
    if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
        values = pa.chunked_array(
            [[None if value is None else str(value) for value in values.to_pylist()]], pa.string()
        )
    # large_string, because one chunk of string values is limited to 2 GB
    encoded = values.cast(pa.large_string()).combine_chunks().dictionary_encode()
    code_I = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32)
    return EncodedColumn(code_I, encoded.dictionary.to_pylist())


def _check_exact(name: str, values: pa.ChunkedArray) -> None:
    for end in pc.min_max(values).as_py().values():
        if abs(end) > MAX_EXACT_INTEGER:
            raise DataError(
                f"column {name!r} of the item table holds integers beyond 2^53 ({end}), which cannot be compared exactly; "
                "store them as text"
            )


def frequent_values(column: pa.ChunkedArray, limit: int) -> list[Any]:
    """Return the `limit` most frequent values of a column, most frequent first.

    The list is empty if the values are not texts, integers or booleans.
    """
    kind = column.type
    if not (is_text(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
        return []
    counts = pc.drop_null(column).value_counts().to_pylist()
    return [one["values"] for one in sorted(counts, key=lambda one: -one["counts"])[:limit]]


def value_numbers(column: pa.ChunkedArray, values: list[Any]) -> AnyArray:
    """Return the position in `values` of the value of each row, [I], int64; -1 if the value is missing or not in the list."""
    place = pc.index_in(column, pa.array(values, column.type))
    return np.asarray(pc.fill_null(place, -1), dtype=np.int64)


def is_text(kind: pa.DataType) -> bool:
    """Return whether a type is text."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def is_number(kind: pa.DataType) -> bool:
    """Return whether a type is an integer, a float or a decimal number."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def is_list(kind: pa.DataType) -> bool:
    """Return whether a type is a list, of any or of a fixed length."""
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))
