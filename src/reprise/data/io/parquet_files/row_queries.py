"""Queries that compute the rows of Parquet files one by one, run by DuckDB on the workers of Spark.

Each worker reads its part of the files. So every conversion of a text, a time or a number is the one that `prepare` uses
on one machine, and the type of a column is what DuckDB finds in the file. This module does not import Ibis or Spark.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from reprise.errors import ConfigError, DataError

LOG = "log"
"""Name of the table in a query."""
ERASED_ID = "erased_id"
"""Column of ids in a file of `ErasedIds`."""
BATCH_ROWS = 50_000
MEMORY = "1GB"
"""Memory limit of DuckDB in a worker, which computes rows one after the other."""


class FilePart(NamedTuple):
    """Consecutive rows of a Parquet file: whole row groups."""

    path: str
    """The file."""
    first: int
    """First row in the file, counted from 0."""
    end: int
    """Row after the last one."""
    before: int
    """Number of rows of the input before the file."""


class FileColumn(NamedTuple):
    """A column of the table of a query."""

    name: str
    """Name in the query."""
    given: str
    """Name in the files; a file may lack the column."""
    sql_type: str
    """DuckDB type that holds the values of all files."""


class ErasedIds(NamedTuple):
    """Rows that are left out: those whose id is in a file."""

    column: str
    """Column of ids of the table, by its new name."""
    path: Path
    """Parquet file with the column `ERASED_ID`, of the same type."""


@dataclass(frozen=True)
class RowQuery:
    """A query over numbered rows of Parquet files, evaluated for some parts of the files at a time."""

    shares: tuple[tuple[FilePart, ...], ...]
    """Parts of the files that are read together, by number."""
    columns: tuple[FileColumn, ...]
    """Columns of the table `log`, which has the column `row` too."""
    sql: str
    """The query, in SQL of DuckDB."""
    schema: pa.Schema
    """Schema of the result."""
    versions: tuple[str, str]
    """Versions of Reprise and DuckDB of the driver, which all workers must have."""
    erased: ErasedIds | None = None
    """Rows that are left out. Its column is among `columns`."""

    def read_shares(self, numbers: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yield the result for the shares whose numbers are in the first column of some batches.

        Raises:
            ConfigError: The worker has another version of Reprise or DuckDB, or does not find a file.
            DataError: A file cannot be read.
        """
        if self.versions != (found := installed_versions()):
            needed, present = (f"Reprise {one[0]} with DuckDB {one[1]}" for one in (self.versions, found))
            raise ConfigError(
                f"a worker of Spark has {present}, but this process has {needed}; install the same versions"
            )
        with duckdb.connect(config={"threads": "1", "memory_limit": MEMORY}) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            for batch in numbers:
                for number in batch.column(0).to_pylist():
                    for part in self.shares[number]:
                        yield from self._read(connection, part)

    def _read(self, connection: duckdb.DuckDBPyConnection, part: FilePart) -> Iterator[pa.RecordBatch]:
        try:
            connection.execute(f"CREATE OR REPLACE TEMPORARY VIEW {LOG} AS {self._rows(connection, part)}")
            relation = connection.sql(self.sql)
            # duckdb 1.4 has `fetch_record_batch`, duckdb 2 only `to_arrow_reader`
            open_reader = getattr(relation, "to_arrow_reader", None) or relation.fetch_record_batch
            for batch in open_reader(BATCH_ROWS):
                yield batch.cast(self.schema)
        except duckdb.Error as error:
            needed = [part.path, *([] if self.erased is None else [str(self.erased.path)])]
            absent = [path for path in needed if not Path(path).exists()]
            if absent:
                raise ConfigError(
                    f"a worker of Spark does not find the file {absent[0]!r}; put the events and --out in a directory that "
                    "all workers have"
                ) from None
            raise DataError(f"cannot read the data: {first_paragraph(error)}") from None

    def _rows(self, connection: duckdb.DuckDBPyConnection, part: FilePart) -> str:
        """Return the query for the numbered rows of a part, with the types that hold the values of all files."""
        source = (
            f"read_parquet([{quoted(escaped(part.path))}], file_row_number = true, hive_partitioning = false)"
        )
        present = {
            name.lower() for name, *_ in connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()
        }
        columns = [
            f"CAST({identifier(given) if given.lower() in present else 'NULL'} AS {sql_type}) AS {identifier(name)}"
            for name, given, sql_type in self.columns
        ]
        columns.append(f"file_row_number + {part.before} AS row")
        rows = (
            f"SELECT {', '.join(columns)} FROM {source} "
            f"WHERE file_row_number >= {part.first} AND file_row_number < {part.end}"
        )
        if self.erased is None:
            return rows
        return (
            f"SELECT numbered.* FROM ({rows}) AS numbered ANTI JOIN read_parquet([{quoted(escaped(self.erased.path))}], "
            f"hive_partitioning = false) AS erased ON numbered.{identifier(self.erased.column)} = erased.{ERASED_ID}"
        )


@cache
def installed_versions() -> tuple[str, str]:
    """Return the versions of Reprise and DuckDB of this process."""
    return version("reprise"), duckdb.__version__


def file_parts(files: Sequence[Path], shares: int) -> tuple[tuple[FilePart, ...], ...]:
    """Divide Parquet files at row groups into about as many shares of about as many rows; rows keep their order.

    Args:
        files: Files in the order of the input.
        shares: Number of shares that is wanted. There are fewer if there are fewer row groups.
    """
    groups, before = [], 0
    for path in files:
        metadata, first = pq.read_metadata(path), 0
        for group in range(metadata.num_row_groups):
            end = first + metadata.row_group(group).num_rows
            if end > first:
                groups.append(FilePart(str(path), first, end, before))
            first = end
        before += first
    chosen: list[list[FilePart]] = []
    for part in groups:
        middle = part.before + (part.first + part.end) // 2
        share = middle * shares // max(before, 1)
        while len(chosen) <= share:
            chosen.append([])
        same = chosen[share] and chosen[share][-1].path == part.path and chosen[share][-1].end == part.first
        if same and chosen[share][-1].before == part.before:
            chosen[share][-1] = chosen[share][-1]._replace(end=part.end)
        else:
            chosen[share].append(part)
    return tuple(tuple(share) for share in chosen if share)


def first_paragraph(error: Exception) -> str:
    """Return the first paragraph of the text of an error in one line."""
    return " ".join(str(error).split("\n\n")[0].split())


def quoted(text: str) -> str:
    """Return a text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """Return a name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def escaped(path: Path | str) -> str:
    """Escape a path so that DuckDB does not interpret any character as a wildcard."""
    return "".join(f"[{char}]" if char in "*?[" else char for char in str(path))
