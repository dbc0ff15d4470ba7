"""DuckDB, spoken to in Ibis expressions: the one place that runs them.

Row order matters here (equal timestamps keep input order). DuckDB keeps it through scans, filters, projections and
windows with an empty OVER clause, on any number of threads, while `preserve_insertion_order` is on; joins and
groups do not, so every expression that holds one sorts by the row number afterwards.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import duckdb
import ibis
import ibis.expr.types as ir
import pyarrow as pa

from reprise.errors import ConfigError, DataError

DEFAULT_MEMORY = "2GB"
SIZE = r"\d+(\.\d+)? ?[KMGT]i?B"
BATCH_ROWS = 1_000_000
NUMBERING = ("file_row_number", "filename")
"""Columns that Parquet files are read with besides their own."""
DISK_FULL = ("No space left on device", "max_temp_directory_size", "failed to offload")


class DiskFullError(DataError):
    """There is no room to go on; what was finished is kept and the same call goes on from there."""


class BusyError(DataError):
    """Another process is at work in the same folder."""


class Engine:
    """An embedded database that keeps to a memory limit: beyond it, it spills into its folder."""

    def __init__(self, folder: Path | None = None, memory_limit: str = DEFAULT_MEMORY) -> None:
        """Open the database in `folder`, or one in memory.

        Raises:
            BusyError: Another process is at work in the folder.
            ConfigError: The limit is no size.
        """
        if not isinstance(memory_limit, str) or not re.fullmatch(SIZE, memory_limit):
            raise ConfigError(f"memory_limit={memory_limit!r} is no size; write it like '512MB' or '2GB'")
        self.memory_limit = memory_limit
        config = {
            "memory_limit": memory_limit,
            "preserve_insertion_order": "true",
            "temp_directory": str(folder / "spill") if folder else "",
        }
        with self._plain_errors():
            self.backend = ibis.duckdb.connect(folder / "work.duckdb" if folder else ":memory:", **config)
        self._run("SET TimeZone = 'UTC'")

    def close(self) -> None:
        """Let go of the file."""
        self.backend.disconnect()

    def limit(self, memory_limit: str) -> None:
        """Keep to another limit from now on."""
        self.memory_limit = memory_limit
        self._run(f"SET memory_limit = {_quoted(memory_limit)}")

    def parquet(self, files: Sequence[Path], *, number: bool = True) -> ir.Table:
        """Parquet files as one table, with `file_row_number` and, where there are several, `filename`.

        Files with such columns of their own can only be read without (`number=False`).
        """
        several = len(files) > 1
        options: dict[str, bool] = {"union_by_name": True} if several else {}
        if number:
            options |= {"file_row_number": True, **({"filename": True} if several else {})}
        with self._plain_errors():
            return self.backend.read_parquet([_literal(path) for path in files], **options)

    def text(self, files: Sequence[Path], delimiter: str | None) -> ir.Table:
        """Delimited files with a header as one table of text: every value as it is written."""
        options: dict[str, Any] = {"delim": delimiter} if delimiter else {}
        several = {"union_by_name": True} if len(files) > 1 else {}
        with self._plain_errors():
            return self.backend.read_csv(
                [_literal(path) for path in files], header=True, all_varchar=True, **several, **options
            )

    def json_lines(self, files: Sequence[Path]) -> ir.Table:
        """Files of one JSON object a line as one table; times stay text, so that their zones are not lost."""
        paths = [_literal(path) for path in files]
        with self._plain_errors():
            found = self.backend.read_json(paths, format="newline_delimited").schema()
            types = {name: _json_type(kind) for name, kind in found.items()}
            return self.backend.read_json(paths, format="newline_delimited", columns=types)

    def arrow_table(self, name: str, table: pa.Table) -> ir.Table:
        """An Arrow table that expressions can use, without a copy."""
        self.backend.con.register(name, table)
        return self.backend.table(name)

    def table(self, name: str) -> ir.Table:
        """A table that was saved."""
        return self.backend.table(name)

    def save(self, name: str, expression: ir.Table) -> ir.Table:
        """Run an expression and keep its rows, in their order, as the table `name`."""
        self._run(f"CREATE OR REPLACE TABLE {name} AS {self.backend.compile(expression)}")
        return self.table(name)

    def copy(self, expression: ir.Table, path: Path) -> None:
        """Run an expression and write its rows, in their order, to a Parquet file."""
        self._run(f"COPY ({self.backend.compile(expression)}) TO {_quoted(str(path))} (FORMAT parquet)")

    def delete(self, name: str, column: str, values: ir.Table) -> int:
        """Delete the rows of a saved table whose `column` is among `values`, one column; returns how many.

        What is left keeps its order, and nothing is written anew: this is why it is not a filtered copy.
        """
        done = self._run(f"DELETE FROM {name} WHERE {column} IN ({self.backend.compile(values)})")
        return int(done[0][0])

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is saved and deleted in the block is kept together, or, after an error or a kill, none of it."""
        self._run("BEGIN TRANSACTION")
        try:
            yield
        except BaseException:
            with suppress(DataError):  # a failed commit has rolled back by itself
                self._run("ROLLBACK")
            raise
        self._run("COMMIT")

    def write_note(self, name: str, text: str) -> None:
        """Keep a text with the tables; `notes` has them."""
        self._run("CREATE TABLE IF NOT EXISTS notes (name VARCHAR, body VARCHAR)")
        self._run(f"INSERT INTO notes VALUES ({_quoted(name)}, {_quoted(text)})")

    def notes(self) -> dict[str, str]:
        """What `write_note` kept."""
        if not self._run("SELECT 1 FROM duckdb_tables() WHERE table_name = 'notes'"):
            return {}
        return dict(self._run("SELECT name, body FROM notes"))

    def rows(self, expression: ir.Table) -> list[dict[str, Any]]:
        """The rows of a small result."""
        rows: list[dict[str, Any]] = self.arrow(expression).to_pylist()
        return rows

    def row(self, expression: ir.Table) -> dict[str, Any]:
        """The only row of an aggregate."""
        return self.rows(expression)[0]

    def arrow(self, expression: ir.Table) -> pa.Table:
        """A result that fits in memory."""
        return pa.Table.from_batches(self.batches(expression), schema=expression.schema().to_pyarrow())

    def batches(self, expression: ir.Table) -> Iterator[pa.RecordBatch]:
        """A result of any size, in order, about a million rows at a time."""
        schema = expression.schema().to_pyarrow()
        with self._plain_errors():
            relation = self.backend.con.sql(self.backend.compile(expression))
            # duckdb 1.4 calls it so, duckdb 2 only `to_arrow_reader`
            open_reader = getattr(relation, "to_arrow_reader", None) or relation.fetch_record_batch
            for batch in open_reader(BATCH_ROWS):
                yield batch.cast(schema)

    def _run(self, sql: str) -> list[tuple[Any, ...]]:
        with self._plain_errors():
            done: list[tuple[Any, ...]] = self.backend.con.execute(sql).fetchall()
            return done

    @contextmanager
    def _plain_errors(self) -> Iterator[None]:
        try:
            yield
        except duckdb.Error as error:
            raise self._plain(error) from error

    def _plain(self, error: duckdb.Error) -> DataError:
        text = " ".join(str(error).split("\n\n")[0].split())
        if any(sign in text for sign in DISK_FULL):
            return DiskFullError(f"the disk is full: {text}")
        if isinstance(error, duckdb.OutOfMemoryException):
            return DataError(
                f"memory_limit={self.memory_limit!r} is too little for this log; allow more ({text})"
            )
        if "lock" in text and isinstance(error, duckdb.IOException):
            return BusyError(
                f"another process is preparing in the same place; wait for it, or choose another ({text})"
            )
        return DataError(f"the data cannot be read: {text}")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _literal(path: Path) -> str:
    """The path such that DuckDB takes no character of it for a wildcard."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in str(path))


def _json_type(kind: Any) -> str:
    if kind.is_integer():
        return "BIGINT"
    return "DOUBLE" if kind.is_floating() else "VARCHAR"
