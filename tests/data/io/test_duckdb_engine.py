"""The engine keeps the order of rows, has atomic transactions, and translates DuckDB errors."""

from pathlib import Path

import duckdb
import ibis
import pyarrow as pa
import pytest

from reprise.data.io import duckdb_engine as module
from reprise.data.io.duckdb_engine import DiskFullError, DuckDBEngine, interruptible
from reprise.errors import ConfigError, DataError


@pytest.fixture
def engine(tmp_path: Path) -> DuckDBEngine:
    return DuckDBEngine(tmp_path)


def numbers(engine: DuckDBEngine, count: int = 100_000) -> ibis.Table:
    return engine.save("numbers", engine.arrow_table("given", pa.table({"n": range(count)})))


def test_saved_rows_keep_their_order(engine: DuckDBEngine, monkeypatch) -> None:
    monkeypatch.setattr(module, "BATCH_ROWS", 1000)
    table = numbers(engine)
    backwards = engine.save("backwards", table.order_by(ibis.desc("n")))
    read = [n for batch in engine.batches(backwards) for n in batch.column("n").to_pylist()]
    assert read == list(range(99_999, -1, -1))


def test_a_window_without_an_order_uses_the_saved_order(engine: DuckDBEngine) -> None:
    """All cleaning steps depend on this."""
    backwards = engine.save("backwards", numbers(engine).order_by(ibis.desc("n")))
    step = backwards.n.lag().over(ibis.window()) - backwards.n
    assert engine.rows(backwards.select(step=step).distinct().order_by("step")) == [
        {"step": 1},
        {"step": None},
    ]


def test_the_remaining_rows_keep_their_order_after_a_deletion(engine: DuckDBEngine) -> None:
    table = numbers(engine)
    assert engine.delete("numbers", "n", table.filter(table.n % 3 == 1).select("n")) == 33_333
    assert engine.arrow(engine.table("numbers")).column("n").to_pylist() == [
        n for n in range(100_000) if n % 3 != 1
    ]


def test_a_failed_transaction_changes_nothing(engine: DuckDBEngine) -> None:
    table = numbers(engine)
    with pytest.raises(KeyboardInterrupt), engine.transaction():
        engine.delete("numbers", "n", table.select("n"))
        engine.write_note("step", "done")
        raise KeyboardInterrupt
    assert engine.row(engine.table("numbers").aggregate(count=table.count())) == {"count": 100_000}
    assert engine.notes() == {}


def test_notes_are_kept_when_the_database_is_reopened(engine: DuckDBEngine, tmp_path: Path) -> None:
    engine.write_note("it's", 'a "note"')
    engine.close()
    assert DuckDBEngine(tmp_path).notes() == {"it's": 'a "note"'}


@pytest.mark.parametrize("limit", ["lots", "2", "-1GB", "50%", 5])
def test_an_invalid_memory_limit_is_refused(limit) -> None:
    with pytest.raises(ConfigError) as caught:
        DuckDBEngine(memory_limit=limit)
    assert str(caught.value) == f"memory_limit={limit!r} is not a size; write it like '512MB' or '2GB'"


@pytest.mark.parametrize(
    "text",
    [
        'Could not write file "x": No space left on device',
        "failed to offload data block of size 256.0 KiB (5.0 GiB/5.0 GiB used). This limit was set by max_temp_directory_size",
    ],
)
def test_a_full_disk_is_recognised(engine: DuckDBEngine, text: str) -> None:
    assert isinstance(engine._translate(duckdb.IOException(text)), DiskFullError)


def test_out_of_memory_is_reported_with_the_limit(engine: DuckDBEngine) -> None:
    error = engine._translate(duckdb.OutOfMemoryException("Out of Memory Error: could not allocate block"))
    assert str(error).startswith("memory_limit='2GB' is too small for this log; allow more (")
    assert isinstance(error, DataError) and not isinstance(error, DiskFullError)


def test_an_error_of_a_stream_reaches_the_caller_unchanged(engine: DuckDBEngine, tmp_path: Path) -> None:
    def read():
        yield pa.record_batch({"n": [1, 2]})
        raise DataError("line 3 is wrong")

    table = engine.stream("stream", pa.schema({"n": pa.int64()}), read)
    for use in (engine.rows, lambda rows: engine.copy(rows, tmp_path / "n.parquet")):
        with pytest.raises(DataError, match=r"^line 3 is wrong$"):
            use(table)


def test_a_stream_is_read_again_for_every_expression(engine: DuckDBEngine) -> None:
    def read():
        for n in range(100):
            yield pa.record_batch({"n": pa.array([n] * 5000)})

    table = engine.stream("stream", pa.schema({"n": pa.int64()}), read)
    assert engine.rows(table.limit(1)) == [{"n": 0}]
    assert engine.row(table.aggregate(rows=table.count(), last=table.n.max())) == {
        "rows": 500_000,
        "last": 99,
    }
    assert engine.arrow(table).column("n").to_pylist() == [n for n in range(100) for _ in range(5000)]


def test_the_keyboard_interrupts_a_stream(engine: DuckDBEngine) -> None:
    def read():
        raise KeyboardInterrupt
        yield

    table = engine.stream("stream", pa.schema({"n": pa.int64()}), read)
    with pytest.raises(KeyboardInterrupt):
        engine.rows(table)


@pytest.mark.parametrize(
    ("text", "expected"), [("Query interrupted", KeyboardInterrupt), ("another fault", RuntimeError)]
)
def test_the_error_of_duckdb_for_the_keyboard_is_translated(text: str, expected: type) -> None:
    with pytest.raises(expected), interruptible():
        raise RuntimeError(text)
