"""Checks of Parquet files by their schemas: column names that the table engine would change, and types that differ."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from reprise.data.io.column_names import check_column_names
from reprise.errors import DataError


def read_schemas(files: Sequence[Path]) -> tuple[pa.Schema, ...]:
    """Return the schema of each file, and check the names of its columns.

    Raises:
        DataError: A file is not a Parquet file, or has two columns of one name.
    """
    schemas = []
    for path in files:
        try:
            schema = pq.read_schema(path)
        except (pa.ArrowException, OSError) as error:
            raise DataError(
                f"{str(path)!r} cannot be read as a Parquet file ({' '.join(str(error).split())}); write it again"
            ) from None
        check_column_names(schema.names, repr(str(path)))
        schemas.append(schema)
    return tuple(schemas)


def check_same_type(files: Sequence[Path], schemas: Sequence[pa.Schema], name: str) -> None:
    """Check that a column has the same kind of type in all files that have it.

    The table engine would convert integers to text if another file has text in the column, so that ids change.

    Args:
        files: The files.
        schemas: The schema of each file.
        name: Name of the column.

    Raises:
        DataError: The column has, for example, integers in one file and text in another.
    """
    first: dict[str, tuple[Path, pa.DataType]] = {}
    for path, schema in zip(files, schemas, strict=True):
        if name in schema.names:
            kind = schema.field(name).type
            first.setdefault(_group(kind), (path, kind))
    first.pop("null", None)
    if len(first) > 1:
        (path, kind), (other_path, other) = list(first.values())[:2]
        raise DataError(
            f"column {name!r} is {kind} in {str(path)!r} and {other} in {str(other_path)!r}; write one type in all files"
        )


def _group(kind: pa.DataType) -> str:
    """Return a name that is equal for types whose values may share a column."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_integer(kind):
        return "integer"
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return "text"
    if pa.types.is_timestamp(kind):
        return "timestamp" if kind.tz is None else "timestamp with a zone"
    if pa.types.is_decimal(kind):
        return "decimal"
    return str(kind)
