"""The item table as bytes and back, for files that travel with a model."""

from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from reprise.errors import DataError

Table: TypeAlias = pa.Table
"""An Arrow table; floors above hold it and ask for its columns by the functions here."""


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


def column(table: Table, name: str) -> list[Any]:
    """A column as a list, or a list of None where the table has no such column."""
    if name not in table.column_names:
        return [None] * len(table)
    values: list[Any] = table.column(name).to_pylist()
    return values
