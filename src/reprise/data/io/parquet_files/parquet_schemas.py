"""Checks of Parquet files by their schemas and paths: names that the engine would change, types that differ, partitions."""

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
            names = schema.names  # Parquet does not ensure that they are UTF-8
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise DataError(
                f"{str(path)!r} cannot be read as a Parquet file ({' '.join(str(error).split())}); write it again"
            ) from None
        check_column_names(names, repr(str(path)))
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
        for column in schema:
            if column.name.lower() == name.lower():  # the table engine ignores case
                first.setdefault(_group(column.type), (path, column.type))
    first.pop("null", None)
    if len(first) > 1:
        (path, kind), (other_path, other) = list(first.values())[:2]
        raise DataError(
            f"column {name!r} is {kind} in {str(path)!r} and {other} in {str(other_path)!r}; write one type in all files"
        )


def partition_keys(files: Sequence[Path], schemas: Sequence[pa.Schema]) -> dict[str, bool]:
    """Return the keys of directories named `key=value`, such as those of Spark, and whether the values of each differ.

    The result is empty if all values are equal, the files have different keys, or a file has a column named like a key:
    the directories are then only places, and the columns of the files are complete.

    Args:
        files: The files.
        schemas: The schema of each file.
    """
    values = [
        dict(part.split("=", 1) for part in path.parent.parts if "=" in part.strip("=")) for path in files
    ]
    differ = {key: len({one.get(key) for one in values}) > 1 for key in values[0]}
    columns = {name.lower() for schema in schemas for name in schema.names}
    same_keys = all(one.keys() == differ.keys() for one in values)
    if same_keys and any(differ.values()) and columns.isdisjoint(key.lower() for key in differ):
        return differ
    return {}


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
