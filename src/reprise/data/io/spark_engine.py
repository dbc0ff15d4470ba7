"""The Spark engine: tables of Parquet files in the work directory, computed on the workers of Spark.

Spark joins, groups, sorts and divides what grows with the events. DuckDB of the driver reads the tables of sequences and
items, which end in files of the driver. The log is read by DuckDB on the workers; see `row_queries`.
"""

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.builders as ib
import ibis.expr.datatypes as dt
import ibis.expr.operations as ops
import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.parquet as pq

from reprise.atomic_files import write_text
from reprise.data.io.duckdb_engine import BATCH_ROWS, DiskFullError, DuckDBEngine, StoppedError
from reprise.data.io.parquet_files.row_queries import (
    LOG,
    ErasedIds,
    FileColumn,
    RowQuery,
    escaped,
    file_parts,
    identifier,
    installed_versions,
    quoted,
)
from reprise.data.io.spark_session import open_session, without_pandas_warning
from reprise.errors import ConfigError, DataError, RepriseError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

EVENT_ORDER = ("sequence", "time_ms", "part", "row")
"""Columns that sort a table of events; the last one is different in every row."""
ROWS_PER_SHARE = 1_000_000
"""Rows of the log that a task reads, if there are more than the tasks that run at the same time need."""
SHARES_PER_CORE = 2
UINT64_CARRIER = pa.decimal128(20, 0)
"""Type that holds unsigned integers of 64 bits in Spark, which has none."""
STATE = "state.json"
DRIVER = "driver-"
"""Start of the name of the directory in which DuckDB spills, in one process."""
RAISED_BY_WORKER = re.compile(r"reprise\.errors\.(DataError|ConfigError): (.*)")
WILDCARDS = re.compile(r"([\\*?\[\]{}])")
DISK_FULL = "No space left on device"
CONTINUES = "run the same command again, which continues after the last finished step"


class SparkEngine:
    """Tables in a directory that the driver and all workers share."""

    def __init__(self, directory: Path, memory_limit: str, master: str | None = None) -> None:
        """Start Spark, or use the Spark that runs in this process, and open the tables of a directory.

        Args:
            directory: Directory of the tables, which the workers must see under the same path.
            memory_limit: Memory limit of DuckDB in the driver. Spark has its own settings.
            master: Where tasks run; see `open_session`.

        Raises:
            ConfigError: Spark cannot be started, or the limit is not a size.
        """
        # a session of its own, so that names of views and settings do not change those of the caller
        self._session = open_session(master).newSession()
        self._session.conf.set("spark.sql.caseSensitive", "true")
        with without_pandas_warning():
            self._backend = ibis.pyspark.connect(self._session)
        self._directory = directory
        self._tables_directory = directory / "tables"
        self._tables: dict[str, Path] = {}
        self._notes: dict[str, str] = {}
        self._sorted: dict[Path, list[Path]] = {}
        self._queries = 0
        self._files: dict[str, tuple[Sequence[Path], tuple[FileColumn, ...], ErasedIds | None]] = {}
        self._read_state()
        for old in directory.glob(f"{DRIVER}*"):
            shutil.rmtree(old)
        self._driver = DuckDBEngine(Path(mkdtemp(prefix=DRIVER, dir=directory)), memory_limit)

    @property
    def memory_limit(self) -> str:
        """Memory limit of DuckDB in the driver."""
        return self._driver.memory_limit

    @property
    def driver(self) -> DuckDBEngine:
        """DuckDB of this process, with the saved tables as views."""
        for name, path in self._tables.items():
            files = _part_files(path)
            columns = [
                f"CAST({identifier(field.name)} AS UBIGINT) AS {identifier(field.name)}"
                if field.type == UINT64_CARRIER
                else identifier(field.name)
                for field in pq.read_schema(files[0])
            ]
            listed = ", ".join(quoted(escaped(file)) for file in files)
            self._driver.view(
                name,
                f"SELECT {', '.join(columns)} FROM read_parquet([{listed}], hive_partitioning = false)",
            )
        return self._driver

    def close(self) -> None:
        """Close the driver's database. Spark keeps running, because the caller may use it too."""
        self._driver.close()

    def number_rows(
        self, files: Sequence[Path], names: dict[str, str], erased: ErasedIds | None = None
    ) -> ir.Table:
        """Open Parquet files as one table with a column `row`; only `row_wise` can evaluate it."""
        table = self._driver.number_rows(files, names)
        types = self._driver.sql_types(table)
        columns = tuple(FileColumn(name, given, types[name]) for name, given in names.items())
        self._files[LOG] = (files, columns, erased)
        return ibis.table(table.schema(), name=LOG)

    def row_wise(self, expression: ir.Table) -> ir.Table:
        """Return the table that an expression computes from a table of `number_rows`, evaluated by DuckDB on the workers."""
        carried = {name: _carried(kind) for name, kind in expression.schema().items()}
        query = self._driver.backend.compile(expression)
        casts = [
            f"CAST({identifier(name)} AS {kind[0]}) AS {identifier(name)}" for name, kind in carried.items()
        ]
        schema = pa.schema([(name, kind[1]) for name, kind in carried.items()])
        files, columns, erased = self._files[LOG]
        needed = _used_columns(expression) | ({erased.column} if erased else set())
        used = tuple(column for column in columns if column.name in needed)
        rows = sum(pq.read_metadata(path).num_rows for path in files)
        cores = self._session.sparkContext.defaultParallelism
        shares = max(SHARES_PER_CORE * cores, rows // ROWS_PER_SHARE)
        reader = RowQuery(
            file_parts(files, shares),
            used,
            f"SELECT {', '.join(casts)} FROM ({query})",
            schema,
            installed_versions(),
            erased,
        )
        count = len(reader.shares)
        with self._translate_errors():
            numbers = self._session.range(0, count, 1, count)
            frame = numbers.mapInArrow(reader.read_shares, _spark_schema(carried))
        self._queries += 1
        return self._view(f"rows_{self._queries}", frame)

    def table(self, name: str) -> ir.Table:
        """Return a saved table."""
        return self._backend.table(self._tables[name].name)

    def small_table(self, name: str, table: pa.Table) -> ir.Table:
        """Return a table of a few rows in memory as an Ibis table. Unsigned integers become int64."""
        signed = [
            field.with_type(pa.int64()) if pa.types.is_unsigned_integer(field.type) else field
            for field in table.schema
        ]
        with self._translate_errors():
            frame = self._session.createDataFrame(table.cast(pa.schema(signed)))
        return self._view(name, frame)

    def save(self, name: str, expression: ir.Table, *, order: Sequence[str] = ()) -> ir.Table:
        """Evaluate an expression and save its rows as the table `name`; `event_batches` sorts them."""
        frame = self._frame(expression)
        path = self._write(name, frame)
        self._tables[name] = path
        self._open(path)
        return self.table(name)

    def delete(self, name: str, column: str, values: ir.Table) -> int:
        """Replace a saved table by one without the rows whose `column` is among `values`; return their number."""
        found = self.save(f"{name}_deleted", values)
        if not _count(self._tables[f"{name}_deleted"]):
            return 0
        before = _count(self._tables[name])
        table = self.table(name)
        self.save(name, table.anti_join(found, table[column] == found[found.columns[0]]))
        return before - _count(self._tables[name])

    def neighbours(self) -> ib.LegacyWindowBuilder:
        """Return the window over each sequence, sorted by the order of events."""
        return ibis.window(group_by=EVENT_ORDER[0], order_by=list(EVENT_ORDER[1:]))

    def count_marked(self, events: ir.Table, mark: str) -> ir.Table:
        """Return a table of events with the column `marked`, the number of marked events up to each, in place of `mark`.

        Events are counted in each sequence. Only the counts of the sequences are added up in one task.
        """
        order = list(EVENT_ORDER[1:])
        within = ibis.window(group_by=EVENT_ORDER[0], order_by=order, preceding=None, following=0)
        counted = events.mutate(within=events[mark].sum().over(within))
        totals = events.group_by(EVENT_ORDER[0]).aggregate(total=events[mark].sum())
        until = totals.total.sum().over(ibis.cumulative_window(order_by=EVENT_ORDER[0]))
        starts = totals.select(counted_sequence=totals[EVENT_ORDER[0]], start=until - totals.total)
        joined = counted.join(starts, counted[EVENT_ORDER[0]] == starts.counted_sequence)
        return joined.mutate(marked=joined.start + joined.within).drop(
            mark, "within", "start", "counted_sequence"
        )

    def event_batches(self, name: str, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Return columns of a saved table of events in its order. Spark sorts the table once, into files in this order."""
        path = self._tables[name]
        if path not in self._sorted:
            with self._translate_errors():
                frame = self._session.table(path.name).orderBy(*EVENT_ORDER)
            self._sorted[path] = _part_files(self._write(f"{name}_sorted", frame))
        for file in self._sorted[path]:
            with pq.ParquetFile(file) as part:
                yield from part.iter_batches(BATCH_ROWS, columns=list(columns))

    def rows(self, expression: ir.Table) -> list[dict[str, Any]]:
        """Evaluate an expression with a small result and return its rows."""
        with self._translate_errors():
            table = self._frame(expression).toArrow()
        for place, field in enumerate(table.schema):
            if field.type == UINT64_CARRIER:
                table = table.set_column(place, field.name, table.column(place).cast(pa.uint64()))
        rows: list[dict[str, Any]] = table.to_pylist()
        return rows

    def row(self, expression: ir.Table) -> dict[str, Any]:
        """Evaluate an expression with one row, such as an aggregate, and return the row."""
        return self.rows(expression)[0]

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Run the block, then write notes and names of tables to one file: all changes are kept, or none."""
        tables, notes = dict(self._tables), dict(self._notes)
        try:
            yield
        except BaseException:
            self._tables, self._notes = tables, notes
            raise
        self._write_state()
        self._remove_others()

    def write_note(self, name: str, text: str) -> None:
        """Store a text under a name; in a transaction, when it ends."""
        self._notes[name] = text

    def notes(self) -> dict[str, str]:
        """Return the texts that `write_note` stored, by name."""
        return dict(self._notes)

    def _read_state(self) -> None:
        """Read the notes and tables of the last finished transaction; a damaged file is like none."""
        with suppress(OSError, ValueError, TypeError, AttributeError):
            state = json.loads((self._directory / STATE).read_text(encoding="utf-8"))
            self._notes = dict(state["notes"])
            self._tables = {name: self._tables_directory / path for name, path in state["tables"].items()}
        self._tables_directory.mkdir(parents=True, exist_ok=True)
        self._remove_others()
        self._queries = max((int(path.name.rpartition("_")[2]) for path in self._tables.values()), default=0)
        for path in self._tables.values():
            self._open(path)

    def _write_state(self) -> None:
        tables = {name: path.name for name, path in self._tables.items()}
        write_text(self._directory / STATE, json.dumps({"notes": self._notes, "tables": tables}))

    def _remove_others(self) -> None:
        """Remove the files of tables that were replaced, or that belong to a step that did not finish."""
        kept = set(self._tables.values())
        for path in self._tables_directory.iterdir():
            if path not in kept:
                shutil.rmtree(path)

    def _frame(self, expression: ir.Table) -> "DataFrame":
        with self._translate_errors():
            return self._session.sql(self._backend.compile(expression))

    def _view(self, name: str, frame: "DataFrame") -> ir.Table:
        with self._translate_errors():
            frame.createOrReplaceTempView(name)
            return self._backend.table(name)

    def _write(self, name: str, frame: "DataFrame") -> Path:
        """Write a data frame as a directory of Parquet files with a new name."""
        self._queries += 1
        path = self._tables_directory / f"{name}_{self._queries}"
        with self._translate_errors():
            frame.write.mode("overwrite").parquet(f"file://{path}")
        return path

    def _open(self, path: Path) -> None:
        """Open a written table as a view. Each version has its own name, so that older expressions keep their meaning."""
        with self._translate_errors():
            self._session.read.parquet("file://" + WILDCARDS.sub(r"\\\1", str(path))).createOrReplaceTempView(
                path.name
            )

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        from py4j.protocol import Py4JError
        from pyspark.errors import PySparkException

        try:
            yield
        except (PySparkException, Py4JError, ConnectionError) as error:
            raise _translated(error) from error


def _translated(error: Exception) -> RepriseError:
    """Return the error of a worker, or the error that names the fault in Spark."""
    text = str(error)
    raised = RAISED_BY_WORKER.search(text)
    if raised:
        kinds: dict[str, type[RepriseError]] = {"DataError": DataError, "ConfigError": ConfigError}
        return kinds[raised[1]](raised[2])
    if DISK_FULL in text:
        return DiskFullError("the disk is full: No space left on device")
    first = next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)
    first = first.rstrip(".;")
    if "ModuleNotFoundError: No module named 'reprise'" in text:
        return ConfigError("the workers of Spark have no Reprise; install the same version in their Python")
    return StoppedError(f"Spark stopped: {first}; {CONTINUES}")


def _carried(kind: dt.DataType) -> tuple[str, pa.DataType, str]:
    """Return the types of DuckDB, Arrow and Spark that hold the values of a column of `row_wise`."""
    if kind.is_boolean():
        return "BOOLEAN", pa.bool_(), "boolean"
    if kind.is_uint64():
        return "DECIMAL(20, 0)", UINT64_CARRIER, "decimal(20, 0)"
    if kind.is_integer():
        return "BIGINT", pa.int64(), "bigint"
    if kind.is_float32():
        return "FLOAT", pa.float32(), "float"
    if kind.is_floating():
        return "DOUBLE", pa.float64(), "double"
    if kind.is_decimal():
        name = f"DECIMAL({kind.precision or 38}, {kind.scale or 0})"
        return name, pa.decimal128(kind.precision or 38, kind.scale or 0), name.lower()
    assert kind.is_string() or kind.is_uuid(), kind
    return "VARCHAR", pa.string(), "string"


def _spark_schema(carried: dict[str, tuple[str, pa.DataType, str]]) -> str:
    return ", ".join(f"`{name}` {kind[2]}" for name, kind in carried.items())


def _used_columns(expression: ir.Table) -> set[str]:
    """Return the names of the columns that an expression uses, of the log and of its own steps."""
    return {field.name for field in expression.op().find(ops.Field)}


def _part_files(path: Path) -> list[Path]:
    """Return the files of a written table in the order of its partitions."""
    return sorted(path.glob("part-*.parquet"), key=lambda file: int(file.name.split("-")[1]))


def _count(path: Path) -> int:
    """Return the number of rows of a written table."""
    return sum(pq.read_metadata(file).num_rows for file in _part_files(path))
