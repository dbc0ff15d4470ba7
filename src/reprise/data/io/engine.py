"""The engine protocol: what the steps of `prepare` need from the program that holds and computes their tables.

Two engines implement it, `DuckDBEngine` and `SparkEngine`. Every step gives the same result on both. The log itself is
read only by `row_wise`, because engines convert texts, times and numbers differently.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import ibis.expr.builders as ib
import ibis.expr.types as ir
import pyarrow as pa

from reprise.argument_checks import choice
from reprise.data.io.duckdb_engine import DEFAULT_MEMORY, DuckDBEngine
from reprise.data.io.parquet_files.row_queries import ErasedIds
from reprise.errors import ConfigError

ENGINES = ("duckdb", "spark")


class QueryEngine(Protocol):
    """Evaluation of Ibis expressions over an event log."""

    def row_wise(self, expression: ir.Table) -> ir.Table:
        """Return the table that an expression computes row by row from the log, in any order.

        The expression selects, filters and renames; it has no aggregate, window, join or order. All engines evaluate it
        with DuckDB, so that they agree on texts of times and numbers, on time zones and on infinite values. Columns of
        the result are texts, numbers or booleans.
        """
        ...

    def rows(self, expression: ir.Table) -> list[dict[str, Any]]:
        """Evaluate an expression with a small result and return its rows."""
        ...

    def row(self, expression: ir.Table) -> dict[str, Any]:
        """Evaluate an expression with one row, such as an aggregate, and return the row."""
        ...


class Engine(QueryEngine, Protocol):
    """Tables of one `prepare` call, computed from Ibis expressions.

    A table of events has the columns `sequence`, `time_ms`, `part` and `row`, and this is the order of its events.
    """

    @property
    def memory_limit(self) -> str:
        """Memory limit of DuckDB in this process."""
        ...

    @property
    def driver(self) -> DuckDBEngine:
        """DuckDB of this process, with the saved tables: for tables of sequences and items, not of events."""
        ...

    def close(self) -> None:
        """Release the tables, so that their files can be opened or moved."""
        ...

    def number_rows(
        self, files: Sequence[Path], names: dict[str, str], erased: ErasedIds | None = None
    ) -> ir.Table:
        """Open Parquet files as one table with a column `row`, the position of each row in the input, counted from 0.

        The result is an input of `row_wise` only.

        Args:
            files: Files in the order of the input.
            names: Name in the files of each column, by its new name.
            erased: Rows that are left out. The others keep their positions.
        """
        ...

    def table(self, name: str) -> ir.Table:
        """Return a saved table."""
        ...

    def small_table(self, name: str, table: pa.Table) -> ir.Table:
        """Return a table of a few rows in memory as an Ibis table."""
        ...

    def save(self, name: str, expression: ir.Table, *, order: Sequence[str] = ()) -> ir.Table:
        """Evaluate an expression and save its rows as the table `name`.

        Args:
            name: Name of the table; an older one is replaced.
            expression: The rows. A saved table of events may be computed row by row from another one without a new sort.
            order: Columns that sort a table of events.
        """
        ...

    def delete(self, name: str, column: str, values: ir.Table) -> int:
        """Delete the rows of a saved table whose `column` is among the one-column table `values`; return their number."""
        ...

    def neighbours(self) -> ib.LegacyWindowBuilder:
        """Return the window over a saved table of events in which adjacent rows of a sequence are in its order.

        The row before the first event of a sequence is the last one of another sequence, or missing.
        """
        ...

    def count_marked(self, events: ir.Table, mark: str) -> ir.Table:
        """Return a table of events with the column `marked`: the number of marked events up to each event.

        Args:
            events: The table.
            mark: Column that is 1 in marked rows and 0 in others. It is dropped.
        """
        ...

    def event_batches(self, name: str, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Return columns of a saved table of events in its order, about a million rows at a time."""
        ...

    def transaction(self) -> AbstractContextManager[None]:
        """Run a block in a transaction: all its saved tables and notes are kept, or none after an error or a kill."""
        ...

    def write_note(self, name: str, text: str) -> None:
        """Store a text under a name; `notes` returns all of them."""
        ...

    def notes(self) -> dict[str, str]:
        """Return the texts that `write_note` stored, by name."""
        ...


@dataclass(frozen=True)
class EngineChoice:
    """The engine of a `prepare` call; the dataset does not depend on it."""

    name: str = "duckdb"
    """`duckdb` for this machine, or `spark`."""
    master: str | None = None
    """Where tasks of Spark run, such as `local[2]`; None: see `open_session`."""
    memory_limit: str = DEFAULT_MEMORY
    """Memory limit of DuckDB, such as `512MB`."""

    def __post_init__(self) -> None:
        choice("engine", self.name, ENGINES)
        if self.master is not None and self.name != "spark":
            raise ConfigError(
                f"master={self.master!r} is an option of Spark, but the engine is {self.name!r}; omit it, or choose "
                "engine='spark' (--engine spark)"
            )

    def open(self, directory: Path) -> Engine:
        """Open the engine with the tables of a directory.

        Raises:
            ConfigError: The memory limit is not a size, or Spark cannot be started.
            DataError: The tables cannot be opened.
        """
        if self.name == "duckdb":
            return DuckDBEngine(directory, self.memory_limit)
        # PySpark is an optional dependency
        from reprise.data.io.spark_engine import SparkEngine

        return SparkEngine(directory, self.memory_limit, self.master)
