"""Parquet files whose columns the table engine would rename, convert or replace."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reprise.data.io.events import read_events
from reprise.data.io.sources import open_source
from reprise.data.preparing.item_table import open_items
from reprise.data.preparing.prepare import prepare
from reprise.data.split import LeaveOneOut
from reprise.errors import DataError

S = 1_700_000_000


def write(path: Path, *columns: tuple[str, list]) -> Path:
    pq.write_table(
        pa.Table.from_arrays([pa.array(values) for _, values in columns], [name for name, _ in columns]), path
    )
    return path


@pytest.mark.parametrize("second", ["item_id", "Item_ID"])
def test_two_columns_of_one_name_are_refused(tmp_path: Path, second: str) -> None:
    path = write(tmp_path / "log.parquet", ("item_id", [1]), (second, [2]))
    with pytest.raises(DataError, match="rename or drop"):
        open_source(path)


@pytest.mark.parametrize("more", [{}, {"filename": ["x"]}], ids=["in place", "written again"])
@pytest.mark.parametrize(
    ("name", "first", "second"),
    [("item_id", [1], ["001"]), ("user_id", [1], ["a"]), ("timestamp", [S], [float(S)])],
)
def test_a_column_of_different_types_in_two_files_is_refused(
    tmp_path: Path, name: str, first: list, second: list, more: dict
) -> None:
    whole = {"user_id": [1], "item_id": [1], "timestamp": [S], **more}
    for number, values in enumerate((first, second)):
        write(tmp_path / f"{number}.parquet", *(whole | {name: values}).items())
    with pytest.raises(
        DataError, match=f"column '{name}' is .* in '.*0.parquet' and .* in '.*1.parquet'; write one type"
    ):
        read_events(tmp_path)


def test_ids_of_different_types_in_an_item_table_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "0.parquet", ("item_id", [1]))
    write(tmp_path / "1.parquet", ("item_id", ["001"]))
    with pytest.raises(DataError, match=r"column 'item_id' is int64 in .* and string in"):
        open_items(tmp_path, "item_id")


def test_types_that_differ_in_columns_whose_names_differ_in_case_are_refused(tmp_path: Path) -> None:
    others = [("user_id", [1]), ("timestamp", [S])]
    write(tmp_path / "0.parquet", ("item_id", [1]), *others)
    write(tmp_path / "1.parquet", ("ITEM_ID", ["001"]), *others)
    with pytest.raises(DataError, match=r"column 'item_id' is int64 in .* and string in"):
        read_events(tmp_path)


@pytest.mark.parametrize("key", ["user_id", "USER_ID", "item_id", "timestamp", "user"])
@pytest.mark.parametrize("names", [["a"], ["day=1/a", "day=2/b"]], ids=["file", "partitions"])
def test_a_directory_named_like_a_column_does_not_replace_it(
    tmp_path: Path, key: str, names: list[str]
) -> None:
    directory = tmp_path / f"{key}=7"
    for name in names:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        write(directory / f"{name}.parquet", ("user_id", [1, 2]), ("item_id", [3, 4]), ("timestamp", [S, S]))
    table = read_events(str(directory)).table
    assert table.columns == ("user_id", "item_id", "timestamp")
    rows = sorted(map(tuple, table.to_pyarrow().to_pandas().itertuples(index=False)))
    assert rows == sorted([(1, 3, S), (2, 4, S)] * len(names))


@pytest.mark.parametrize("key", ["user_id", "item_id", "timestamp", "row"])
def test_a_dataset_can_be_in_a_directory_named_like_a_column(
    write_log, days, tmp_path: Path, key: str
) -> None:
    log = write_log(days, name="log.csv")
    expected = prepare(log, tmp_path / "shop", split="last:2d,2d")
    dataset = prepare(log, tmp_path / f"{key}=7" / "shop", split="last:2d,2d")
    assert dataset.fingerprint == expected.fingerprint


def test_directories_of_partitions_give_a_column_with_ids_as_written(tmp_path: Path) -> None:
    for user in ("001", "2"):
        (tmp_path / "year=2026" / f"user_id={user}").mkdir(parents=True)
        write(
            tmp_path / "year=2026" / f"user_id={user}" / "a.parquet",
            ("item_id", [1, 2, 3, 4]),
            ("timestamp", [S, S + 1, S + 2, S + 3]),
        )
    table = read_events(tmp_path / "year=2026").table
    assert set(table.columns) == {"user_id", "item_id", "timestamp"}
    dataset = prepare(tmp_path / "year=2026", tmp_path / "shop", split=LeaveOneOut())
    assert sorted(dataset.users) == ["001", "2"]
    assert dataset.facts["rows_read"] == 8


@pytest.mark.parametrize("name", ["timestamp", "colour"])
def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path, name: str) -> None:
    columns = [
        ("user_id", ["a", "b"]),
        ("item_id", ["x", "y"]),
        ("timestamp", [1_700_000_000] * 2),
        ("colour", ["red"] * 2),
    ]
    path = write(tmp_path / "log.parquet", *columns)
    path.write_bytes(path.read_bytes().replace(name.encode(), b"\xbe\x80" + name.encode()[2:]))
    for source in (lambda: read_events(path), lambda: open_source(path)):
        with pytest.raises(DataError, match=r"log.parquet' cannot be read as a Parquet file \(.*utf-8"):
            source()
