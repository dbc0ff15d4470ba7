"""Rows of Parquet files are read in shares, with the types of all files, by workers of the same versions."""

from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reprise.data.io.parquet_files import row_queries
from reprise.data.io.parquet_files.row_queries import (
    FileColumn,
    FilePart,
    RowQuery,
    file_parts,
    installed_versions,
)
from reprise.errors import ConfigError, DataError

SCHEMA = pa.schema([("n", pa.string()), ("row", pa.int64())])
COLUMNS = (FileColumn("n", "n", "VARCHAR"),)


def query(
    *parts: FilePart, columns: tuple[FileColumn, ...] = COLUMNS, versions: tuple[str, str] | None = None
) -> RowQuery:
    return RowQuery((parts,), columns, "SELECT n, row FROM log", SCHEMA, versions or installed_versions())


def read(rows: RowQuery) -> list[dict]:
    batches = rows.read_shares(iter([pa.record_batch({"id": [0]})]))
    return [row for batch in batches for row in batch.to_pylist()]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(0, 9), max_size=3), min_size=1, max_size=3), st.integers(1, 9))
def test_shares_contain_each_row_once_in_order(sizes: list[list[int]], shares: int) -> None:
    groups = {f"{number}.parquet": rows for number, rows in enumerate(sizes)}

    class Metadata:
        def __init__(self, rows: list[int]) -> None:
            self.rows, self.num_row_groups = rows, len(rows)

        def row_group(self, place: int) -> "Metadata":
            found = Metadata([])
            found.num_rows = self.rows[place]
            return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_queries.pq, "read_metadata", lambda path: Metadata(groups[str(path)]))
        found = file_parts([Path(name) for name in groups], shares)
    assert len(found) <= shares
    rows = [
        (part.path, row, part.before + row)
        for share in found
        for part in share
        for row in range(part.first, part.end)
    ]
    names = [(name, row) for name, counts in groups.items() for row in range(sum(counts))]
    assert rows == [(name, row, place) for place, (name, row) in enumerate(names)]


def test_a_part_is_read_with_its_rows_numbered_in_the_whole_input(tmp_path: Path) -> None:
    """One file lacks the column, and its name has characters that are wildcards elsewhere."""
    files = [tmp_path / "a[1]*.parquet", tmp_path / "b'.parquet"]
    pq.write_table(pa.table({"N": pa.array(range(10), pa.int16())}), files[0], row_group_size=4)
    pq.write_table(pa.table({"other": [7]}), files[1])
    parts = [FilePart(str(files[0]), 4, 8, 100), FilePart(str(files[1]), 0, 1, 110)]
    assert read(query(*parts)) == [
        *({"n": str(n), "row": 100 + n} for n in range(4, 8)),
        {"n": None, "row": 110},
    ]


def test_another_version_on_a_worker_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        read(query(FilePart("log.parquet", 0, 1, 0), versions=("9.9", duckdb.__version__)))
    mine = f"Reprise {installed_versions()[0]} with DuckDB {duckdb.__version__}"
    assert str(caught.value) == (
        f"a worker of Spark has {mine}, but this process has Reprise 9.9 with DuckDB {duckdb.__version__}; install the same "
        "versions"
    )


def test_a_file_that_a_worker_does_not_have_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read(query(FilePart(str(tmp_path / "log.parquet"), 0, 1, 0)))
    assert str(caught.value) == (
        f"a worker of Spark does not find the file '{tmp_path}/log.parquet'; put the events and --out in a directory that all "
        "workers have"
    )


def test_a_damaged_file_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    pq.write_table(pa.table({"n": ["word"] * 1000}), path, compression="zstd", use_dictionary=False)
    data = bytearray(path.read_bytes())
    data[30:60] = bytes(30)
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"^cannot read the data: "):
        read(query(FilePart(str(path), 0, 1000, 0)))
