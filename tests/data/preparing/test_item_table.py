"""The item table has the order of the vocabulary and keeps the columns of the caller."""

from pathlib import Path

import pandas as pd
import pytest

from reprise.data.dataset import SequenceDataset
from reprise.data.preparing.prepare import prepare
from reprise.errors import DataError

SPLIT = "last:2d,2d"
TITLES = [("i3", "Pot", 3.5), ("i0", "Mug", 1.0), ("new", "Cup", 2.0)]
COLUMNS = ("item_id", "title", "price")


@pytest.fixture
def prepare_with_items(write_log, days, tmp_path: Path):
    def run(items: object, rows: list = days, **options: object) -> SequenceDataset:
        return prepare(write_log(rows), tmp_path / "out", items=items, split=SPLIT, **options)

    return run


@pytest.mark.parametrize("name", ["items.parquet", "items.csv", "items.jsonl"])
def test_rows_have_the_order_of_the_vocabulary_and_the_callers_columns(
    prepare_with_items, write_log, name: str
) -> None:
    dataset = prepare_with_items(write_log(TITLES, COLUMNS, name))
    assert dataset.table.column("item_id").to_pylist() == dataset.items.ids.tolist()
    assert dataset.table.column_names == ["item_id", "count", "title", "price"]
    known = dict(
        zip(dataset.items.ids.tolist(), dataset.table.select(["title", "price"]).to_pylist(), strict=True)
    )
    assert known["i3"] == {"title": "Pot", "price": 3.5}
    assert known["i1"] == {"title": None, "price": None}


def test_items_that_occur_only_in_the_table_are_cold(prepare_with_items, write_log) -> None:
    dataset = prepare_with_items(write_log(TITLES, COLUMNS, "items.parquet"))
    assert dataset.items.ids.tolist()[-1] == "new"
    assert dataset.items.index("new") > dataset.items.warm
    assert dataset.table.column("count").to_pylist()[-1] == 0
    assert dataset.facts["items_only_in_table"] == 1
    assert "2 of 4 items have no row in the item table" in dataset.facts["warnings"]


def test_the_id_column_may_have_the_same_name_as_in_the_events(write_log, days, tmp_path: Path) -> None:
    from reprise.data.io.events import read_events

    log = read_events(write_log(days, ("user_id", "article", "timestamp")), item="article")
    items = write_log([("i0", "Mug")], ("article", "title"), "items.parquet")
    dataset = prepare(log, tmp_path / "out", items=items, split=SPLIT)
    assert dataset.table.column_names == ["item_id", "count", "title"]


def test_a_data_frame_is_accepted(prepare_with_items) -> None:
    assert "Mug" in prepare_with_items(pd.DataFrame(TITLES, columns=list(COLUMNS))).titles()


def test_a_column_named_count_is_renamed(prepare_with_items, write_log) -> None:
    dataset = prepare_with_items(write_log([("i0", 7)], ("item_id", "count"), "items.parquet"))
    assert dataset.table.column_names == ["item_id", "count", "given_count"]


def test_repeated_ids_are_refused(prepare_with_items, write_log) -> None:
    with pytest.raises(DataError) as caught:
        prepare_with_items(write_log([*TITLES, TITLES[1], TITLES[1]], COLUMNS, "items.parquet"))
    assert str(caught.value) == (
        "the item table has 1 ids in more than one row, first 'i0' in 3 rows (column 'item_id'); keep one row each"
    )


def test_missing_ids_are_refused(prepare_with_items, write_log) -> None:
    with pytest.raises(DataError) as caught:
        prepare_with_items(write_log([*TITLES, (None, "x", 1.0)], COLUMNS, "items.parquet"))
    assert str(caught.value) == "column 'item_id' of the item table has no id in 1 rows; drop these rows"


def test_ids_of_another_type_than_in_the_events_are_refused(prepare_with_items, write_log) -> None:
    with pytest.raises(DataError) as caught:
        prepare_with_items(write_log([(1, "Mug")], ("item_id", "title"), "items.parquet"))
    assert str(caught.value) == (
        "item ids are strings in the events and integers in the item table (column 'item_id'); make them the same"
    )


def test_text_ids_are_refused_if_the_events_have_integers(prepare_with_items, write_log, days) -> None:
    rows = [(user, int(item[1:]), time_s) for user, item, time_s in days]
    with pytest.raises(
        DataError, match="item ids are integers in the events, but not in column 'item_id' of the item ta"
    ):
        prepare_with_items(write_log([("i1", "Mug")], ("item_id", "title"), "items.csv"), rows)


def test_ids_in_text_fit_the_type_of_the_events(prepare_with_items, write_log, days) -> None:
    rows = [(user, int(item[1:]), time_s) for user, item, time_s in days]
    dataset = prepare_with_items(write_log([(2, "Mug")], ("item_id", "title"), "items.csv"), rows)
    assert dataset.items.integer_ids
    assert "Mug" in dataset.titles()


def test_integers_in_two_text_files_are_integers(write_log, days, tmp_path: Path) -> None:
    rows = [(user, int(item[1:]), time_s) for user, item, time_s in days]
    items = write_log([(2, "Mug"), (9, "Cup")], ("item_id", "title"), "items.csv")
    dataset = prepare(write_log(rows, name="log.csv"), tmp_path / "out", items=items, split=SPLIT)
    assert dataset.items.integer_ids
    assert dataset.titles()[dataset.items.index(2) - 1] == "Mug"
    assert dataset.items.index(9) > dataset.items.warm


def test_text_events_take_the_id_type_of_the_item_table(write_log, days, tmp_path: Path) -> None:
    rows = [(user, int(item[1:]), time_s) for user, item, time_s in days]
    items = write_log([("2", "Mug")], ("item_id", "title"), "items.parquet")
    dataset = prepare(write_log(rows, name="log.csv"), tmp_path / "out", items=items, split=SPLIT)
    assert not dataset.items.integer_ids
    assert "Mug" in dataset.titles()


def test_a_table_without_an_id_column_suggests_a_similar_name(prepare_with_items, write_log) -> None:
    with pytest.raises(DataError) as caught:
        prepare_with_items(write_log([("i0", "Mug")], ("itm_id", "title"), "items.parquet"))
    assert str(caught.value) == "the item table has no column 'item_id'; did you mean 'itm_id'?"


def test_numbers_with_leading_zeros_stay_text(prepare_with_items, write_log) -> None:
    dataset = prepare_with_items(
        write_log([("i0", "007", 5), ("i1", "12", None)], ("item_id", "code", "stock"), "items.csv")
    )
    values = dict(zip(dataset.items.ids.tolist(), dataset.table.to_pylist(), strict=True))
    assert values["i0"]["code"] == "007"
    assert values["i0"]["stock"] == 5


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("item_id", "index", "place"), ["index", "place"]),
        (("item_id", "Index", "Count"), ["Index", "Count"]),
        (("item_id", "count", "given_count"), ["given_given_count", "given_count"]),
    ],
)
@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_columns_with_any_name_are_kept(
    prepare_with_items, write_log, names: tuple, expected: list[str], suffix: str
) -> None:
    dataset = prepare_with_items(write_log([("i3", 7, 8), ("new", 9, None)], names, f"items.{suffix}"))
    assert dataset.table.column_names == ["item_id", "count", *expected]
    rows = {row["item_id"]: [row[name] for name in expected] for row in dataset.table.to_pylist()}
    assert (rows["i3"], rows["new"], rows["i0"]) == ([7, 8], [9, None], [None, None])
