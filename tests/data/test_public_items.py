from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reprise.data.public_items import (
    KINDS,
    PublicFacts,
    items_of_log,
    read_public_items,
    read_written_items,
    vocabulary_of,
    with_public_items,
    without_events,
    write_public_items,
)
from reprise.errors import ArtefactError, ConfigError, DataError
from reprise.testing import worlds

LOG = [["b", "a", "b", "c"], ["b", "x", "a", "b"], ["new", "a", "b", "new"]]


def written(folder: Path, text: str, name: str = "items.csv") -> Path:
    (folder / name).write_text(text)
    return folder / name


def ids(table: pa.Table) -> list[object]:
    found: list[object] = table.column("item_id").to_pylist()
    return found


def test_the_rows_keep_the_order_of_the_file(tmp_path: Path) -> None:
    file = written(tmp_path, "product_id,title,count\nc,Cup,3\na,Ant,9\nb,Bee,1\n")
    table = read_public_items(file, integer_ids=False)
    assert ids(table) == ["c", "a", "b"]
    assert table.column("count").to_pylist() == [0, 0, 0]
    assert table.column("title").to_pylist() == ["Cup", "Ant", "Bee"]


def test_the_ids_get_the_type_of_the_log(tmp_path: Path) -> None:
    file = written(tmp_path, "item_id\n7\n3\n")
    assert ids(read_public_items(file, integer_ids=True)) == [7, 3]
    assert ids(read_public_items(file, integer_ids=False)) == ["7", "3"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name\na\n", "no column 'item_id'"),
        ("item_id\na\nb\na\n", "1 repeated item ids"),
        ("item_id,title\na,A\n,B\n", "1 rows without an item id"),
        ("item_id\n", "no items|empty"),
    ],
)
def test_a_list_that_is_not_one_of_items_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_public_items(written(tmp_path, text), integer_ids=False)


def test_text_ids_are_refused_for_a_log_with_integers(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not those of the log"):
        read_public_items(written(tmp_path, "item_id\na\n"), integer_ids=True)


def test_the_items_of_a_log_are_sorted_and_have_no_counts() -> None:
    table = items_of_log(worlds.world(LOG))
    assert ids(table) == ["a", "b", "c", "new", "x"]
    assert set(table.column("count").to_pylist()) == {0}


def test_a_view_has_the_public_items_first_and_the_same_events() -> None:
    data = worlds.world(LOG)
    view = with_public_items(data, pa.table({"item_id": ["z", "b", "a"], "count": [0, 0, 0]}))
    assert view.items.ids[:3].tolist() == ["z", "b", "a"] and view.items.warm == 3
    assert view.items.item_ids(view.item) == data.items.item_ids(data.item)
    assert view.table.column("item_id").to_pylist() == view.items.ids.tolist()


def test_nothing_of_the_events_is_left_without_them() -> None:
    view = with_public_items(worlds.world(LOG), items_of_log(worlds.world(LOG)))
    empty = without_events(view, PublicFacts({KINDS: ["buy"]}, items_of_log(worlds.world(LOG))))
    assert len(empty) == 0 and empty.events == 0 and len(empty.users) == 0
    assert empty.kinds == ("buy",) and empty.fingerprint == "" and empty.split == {"kind": "world"}


def test_a_dataset_with_the_items_of_the_log_is_refused() -> None:
    with pytest.raises(ConfigError, match="load_run"):
        without_events(worlds.world(LOG), PublicFacts({KINDS: []}, items_of_log(worlds.world(LOG))))


def test_a_table_survives_writing(tmp_path: Path) -> None:
    table = items_of_log(worlds.world(LOG, titles={"a": "Ant"}))
    write_public_items(table, tmp_path / "catalogue.parquet")
    assert read_written_items(tmp_path / "catalogue.parquet").equals(table)
    assert np.array_equal(vocabulary_of(table).ids, np.array(["a", "b", "c", "new", "x"], dtype=object))


def test_a_damaged_table_is_refused(tmp_path: Path) -> None:
    written(tmp_path, "not parquet", "catalogue.parquet")
    with pytest.raises(ArtefactError, match="damaged"):
        read_written_items(tmp_path / "catalogue.parquet")
    pq.write_table(pa.table({"other": [1]}), tmp_path / "catalogue.parquet")
    with pytest.raises(ArtefactError, match="damaged"):
        read_written_items(tmp_path / "catalogue.parquet")
