"""Parquet files whose columns the table engine would rename or convert are refused."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reprise.data.io.events import read_events
from reprise.data.io.sources import open_source
from reprise.data.preparing.item_table import open_items
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
