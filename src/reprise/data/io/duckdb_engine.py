"""The DuckDB engine: tables in one database, with a memory limit. It is the default engine.

Row order matters, because events with equal timestamps keep their input order. With `preserve_insertion_order`, DuckDB
keeps the order through scans, filters, projections and windows with an empty OVER clause, on any number of threads.
Joins and aggregations do not keep it, so every expression with one of them is sorted by row number afterwards.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import duckdb
import ibis
import ibis.expr.builders as ib
import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.parquet as pq

from reprise.data.io.parquet_files.row_queries import ERASED_ID, ErasedIds
from reprise.errors import ConfigError, DataError

DEFAULT_MEMORY = "2GB"
MEMORY_PATTERN = r"\d+(\.\d+)? ?[KMGT]i?B"
BATCH_ROWS = 1_000_000
NUMBERING = ("file_row_number", "filename")
"""Columns that number the rows of Parquet files; the engine adds them when it reads the files."""
INTERRUPTED = "Query interrupted"
"""Text of the `RuntimeError` that DuckDB raises if a signal such as Ctrl-C arrives during a query."""
DISK_FULL = ("No space left on device", "max_temp_directory_size", "failed to offload")


class StoppedError(DataError):
    """The engine stopped for a reason outside the log. Finished steps are kept, and the same call continues after them."""


class DiskFullError(DataError):
    """The disk is full. Finished steps are kept, and the same call continues after them."""


class BusyError(DataError):
    """Another process is using the same work directory."""


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise `KeyboardInterrupt` if the keyboard interrupts a query in the block; DuckDB raises another error."""
    try:
        yield
    except RuntimeError as error:
        if str(error) == INTERRUPTED:  # DuckDB replaces the exception of the signal handler
            raise KeyboardInterrupt from None
        raise


class _Stream:
    """Rows that can be read repeatedly, for DuckDB; remembers the error that ended a read, which DuckDB turns into text."""

    def __init__(self, schema: pa.Schema, read: Callable[[], Iterator[pa.RecordBatch]]) -> None:
        self.schema = schema
        self.read = read
        self.failure: BaseException | None = None

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        reader = pa.RecordBatchReader.from_batches(self.schema, self._batches())
        return reader.__arrow_c_stream__(requested_schema)

    def _batches(self) -> Iterator[pa.RecordBatch]:
        try:
            yield from self.read()
        except GeneratorExit:  # DuckDB needs no more rows
            raise
        except BaseException as error:  # also an interruption by the keyboard
            self.failure = error
            raise


class DuckDBEngine:
    """An embedded database with a memory limit; beyond the limit it spills to disk."""

    def __init__(self, directory: Path | None = None, memory_limit: str = DEFAULT_MEMORY) -> None:
        """Open the database in a directory, or a new one in memory.

        Args:
            directory: Directory of the database and of spilled data, or None.
            memory_limit: Largest memory use, such as `2GB`.

        Raises:
            BusyError: Another process is using the directory.
            ConfigError: The limit is not a size.
        """
        if not isinstance(memory_limit, str) or not re.fullmatch(MEMORY_PATTERN, memory_limit):
            raise ConfigError(f"memory_limit={memory_limit!r} is not a size; write it like '512MB' or '2GB'")
        self.memory_limit = memory_limit
        self._streams: dict[str, _Stream] = {}
        config = {
            "memory_limit": memory_limit,
            "preserve_insertion_order": "true",
            "temp_directory": str(directory / "spill") if directory else "",
        }
        with self._translate_errors():
            self.backend = ibis.duckdb.connect(
                directory / "work.duckdb" if directory else ":memory:", **config
            )
        self._run("SET TimeZone = 'UTC'")

    @property
    def driver(self) -> "DuckDBEngine":
        """This engine."""
        return self

    def close(self) -> None:
        """Close the database, so that its file can be opened or moved."""
        self.backend.disconnect()

    def set_memory_limit(self, memory_limit: str) -> None:
        """Change the memory limit."""
        self.memory_limit = memory_limit
        self._run(f"SET memory_limit = {_quoted(memory_limit)}")

    def parquet(self, files: Sequence[Path], *, number: bool = True, partitions: bool = False) -> ir.Table:
        """Open Parquet files as one table.

        Args:
            files: The files.
            number: Whether to add the columns `file_row_number` and, for several files, `filename`. Files that have such
                columns must be opened without them.
            partitions: Whether directories named `key=value` are columns, which replace columns of the same name in the
                files. All files must have the same keys.
        """
        several = len(files) > 1
        # stated, because by default DuckDB takes columns from any directory of this form, also one that contains the output
        options: dict[str, bool] = {"hive_partitioning": partitions}
        options |= {"union_by_name": True} if several else {}
        if number:
            options |= {"file_row_number": True, **({"filename": True} if several else {})}
        with self._translate_errors():
            return self.backend.read_parquet([_literal(path) for path in files], **options)

    def stream(self, name: str, schema: pa.Schema, read: Callable[[], Iterator[pa.RecordBatch]]) -> ir.Table:
        """Return a table whose rows are read, in order, by calling `read` each time that an expression needs them.

        An error that `read` raises reaches the caller of the engine unchanged.
        """
        self._streams[name] = _Stream(schema, read)
        self._open_streams()
        return self.backend.table(name)

    def number_rows(
        self, files: Sequence[Path], names: dict[str, str], erased: ErasedIds | None = None
    ) -> ir.Table:
        """Open Parquet files as one table with a column `row`, the position of each row in the input, counted from 0.

        Args:
            files: Files in the order of the input.
            names: Name in the files of each column, by its new name.
            erased: Rows that are left out. The others keep their positions.
        """
        table = self._numbered(files, names)
        if erased is None:
            return table
        # the join loses the order of the rows, which `row` keeps
        ids = self.parquet([erased.path], number=False)
        return table.anti_join(ids, table[erased.column] == ids[ERASED_ID])

    def _numbered(self, files: Sequence[Path], names: dict[str, str]) -> ir.Table:
        """Open Parquet files as one table with the column `row`."""
        # The Parquet reader itself numbers the rows of each file, on any number of threads. Adding the lengths of the
        # files before it gives the position in the whole input.
        source = self.parquet(files)
        # rename first, so that a column of the caller that is named like one of ours cannot be taken for it
        table = source.select(
            **{name: source[given] for name, given in names.items()},
            **{name: source[name] for name in NUMBERING if name in source.columns},
        )
        if len(files) == 1:
            return table.select(*names, row=table.file_row_number)
        lengths = [pq.read_metadata(path).num_rows for path in files]
        starts = [sum(lengths[:position]) for position in range(len(files))]
        known = self.arrow_table(
            "files", pa.table({"known_file": [str(path) for path in files], "rows_before": starts})
        )
        joined = table.join(known, table.filename == known.known_file)
        return joined.select(*names, row=joined.file_row_number + joined.rows_before)

    def row_wise(self, expression: ir.Table) -> ir.Table:
        """Return the expression itself, because DuckDB evaluates it with the expression that contains it."""
        return expression

    def sql_types(self, table: ir.Table) -> dict[str, str]:
        """Return the DuckDB type of each column of a table."""
        return {name: kind for name, kind, *_ in self._run(f"DESCRIBE {self.backend.compile(table)}")}

    def view(self, name: str, query: str) -> ir.Table:
        """Return the result of an SQL query as a lazy table."""
        self._run(f"CREATE OR REPLACE TEMPORARY VIEW {name} AS {query}")
        return self.backend.table(name)

    def arrow_table(self, name: str, table: pa.Table) -> ir.Table:
        """Register an Arrow table under a name, without a copy, and return it as an Ibis table."""
        self.backend.con.register(name, table)
        return self.backend.table(name)

    def table(self, name: str) -> ir.Table:
        """Return a saved table."""
        return self.backend.table(name)

    def small_table(self, name: str, table: pa.Table) -> ir.Table:
        """Return a table in memory as an Ibis table."""
        return self.arrow_table(name, table)

    def save(self, name: str, expression: ir.Table, *, order: Sequence[str] = ()) -> ir.Table:
        """Evaluate an expression and save its rows as the table `name`, sorted by `order` or as they are computed."""
        expression = expression.order_by(list(order)) if order else expression
        self._run(f"CREATE OR REPLACE TABLE {name} AS {self.backend.compile(expression)}")
        return self.table(name)

    def copy(self, expression: ir.Table, path: Path) -> None:
        """Evaluate an expression and write its rows, in order, to a Parquet file."""
        self._run(f"COPY ({self.backend.compile(expression)}) TO {_quoted(str(path))} (FORMAT parquet)")

    def delete(self, name: str, column: str, values: ir.Table) -> int:
        """Delete the rows of a saved table whose `column` is among the one-column table `values`; return their number.

        The remaining rows keep their order and are not rewritten, which makes this cheaper than a filtered copy.
        """
        result = self._run(f"DELETE FROM {name} WHERE {column} IN ({self.backend.compile(values)})")
        return int(result[0][0])

    def neighbours(self) -> ib.LegacyWindowBuilder:
        """Return the window over all rows as they are stored, which DuckDB computes without another sort."""
        return ibis.window()

    def count_marked(self, events: ir.Table, mark: str) -> ir.Table:
        """Return a table with the column `marked`, the number of marked rows up to each row, in place of `mark`."""
        return events.mutate(marked=events[mark].sum().over(ibis.cumulative_window())).drop(mark)

    def event_batches(self, name: str, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Return columns of a saved table of events as they are stored, which is their order."""
        return self.batches(self.table(name).select(*columns))

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Run the block in a transaction: all its changes are kept, or none after an error or a kill."""
        self._run("BEGIN TRANSACTION")
        try:
            yield
        except BaseException:
            with suppress(DataError):  # a failed commit has already rolled back
                self._run("ROLLBACK")
            raise
        self._run("COMMIT")

    def write_note(self, name: str, text: str) -> None:
        """Store a text under a name in the database; `notes` returns all of them."""
        self._run("CREATE TABLE IF NOT EXISTS notes (name VARCHAR, body VARCHAR)")
        self._run(f"INSERT INTO notes VALUES ({_quoted(name)}, {_quoted(text)})")

    def notes(self) -> dict[str, str]:
        """Return the texts that `write_note` stored, by name."""
        if not self._run("SELECT 1 FROM duckdb_tables() WHERE table_name = 'notes'"):
            return {}
        return dict(self._run("SELECT name, body FROM notes"))

    def rows(self, expression: ir.Table) -> list[dict[str, Any]]:
        """Evaluate an expression with a small result and return its rows."""
        rows: list[dict[str, Any]] = self.arrow(expression).to_pylist()
        return rows

    def row(self, expression: ir.Table) -> dict[str, Any]:
        """Evaluate an expression with one row, such as an aggregate, and return the row."""
        return self.rows(expression)[0]

    def arrow(self, expression: ir.Table) -> pa.Table:
        """Evaluate an expression whose result fits in memory."""
        return pa.Table.from_batches(self.batches(expression), schema=expression.schema().to_pyarrow())

    def batches(self, expression: ir.Table) -> Iterator[pa.RecordBatch]:
        """Evaluate an expression of any size and return its rows in order, about a million at a time."""
        schema = expression.schema().to_pyarrow()
        for batch in self.original_batches(expression):
            yield batch.cast(schema)

    def original_batches(self, expression: ir.Table) -> Iterator[pa.RecordBatch]:
        """Return the rows of an expression in the types of DuckDB, also in those that Ibis does not know."""
        with self._translate_errors():
            self._open_streams()
            relation = self.backend.con.sql(self.backend.compile(expression))
            # duckdb 1.4 has `fetch_record_batch`, duckdb 2 only `to_arrow_reader`
            open_reader = getattr(relation, "to_arrow_reader", None) or relation.fetch_record_batch
            yield from open_reader(BATCH_ROWS)

    def _open_streams(self) -> None:
        """Open the streams again before a query, because DuckDB 1.4 reads each only once."""
        for name, stream in self._streams.items():
            self.backend.con.register(name, stream)

    def _run(self, sql: str) -> list[tuple[Any, ...]]:
        with self._translate_errors():
            self._open_streams()
            rows: list[tuple[Any, ...]] = self.backend.con.execute(sql).fetchall()
            return rows

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            with interruptible():
                yield
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            for stream in self._streams.values():
                failure, stream.failure = stream.failure, None
                if failure is not None:
                    raise failure from None
            if not isinstance(error, duckdb.Error):
                raise
            raise self._translate(error) from error

    def _translate(self, error: duckdb.Error) -> DataError:
        text = " ".join(str(error).split("\n\n")[0].split())
        if any(phrase in text for phrase in DISK_FULL):
            return DiskFullError(f"the disk is full: {text}")
        if isinstance(error, duckdb.OutOfMemoryException):
            return DataError(
                f"memory_limit={self.memory_limit!r} is too small for this log; allow more ({text})"
            )
        if "lock" in text and isinstance(error, duckdb.IOException):
            return BusyError(
                f"another process is preparing a dataset in the same directory; wait for it, or choose another "
                f"directory ({text})"
            )
        return DataError(f"cannot read the data: {text}")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _literal(path: Path) -> str:
    """Escape a path so that DuckDB does not interpret any character as a wildcard."""
    return "".join(f"[{char}]" if char in "*?[" else char for char in str(path))
