"""The item table has the order of the vocabulary and keeps the columns of the caller."""

from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from reprise.data.dataset import SequenceDataset
from reprise.data.preparing.prepare import prepare
from reprise.errors import DataError

SPLIT = "last:2d,2d"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
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


@pytest.mark.parametrize("missing", [None, ""])
def test_missing_ids_are_refused(prepare_with_items, write_log, missing: str | None) -> None:
    with pytest.raises(DataError) as caught:
        prepare_with_items(write_log([*TITLES, (missing, "x", 1.0)], COLUMNS, "items.parquet"))
    assert str(caught.value) == "column 'item_id' of the item table has no id in 1 rows; drop these rows"


def test_ids_of_another_type_than_in_the_events_are_refused(prepare_with_items, write_log) -> None:
    with pytest.raises(DataError) as caught:
        prepare_with_items(write_log([(1, "Mug")], ("item_id", "title"), "items.parquet"))
    assert str(caught.value) == (
        "item ids are text in the events ('i0') and integers in column 'item_id' of the item table (1); make them the same"
    )


def test_text_ids_are_refused_if_the_events_have_integers(prepare_with_items, write_log, days) -> None:
    rows = [(user, int(item[1:]), time_s) for user, item, time_s in days]
    with pytest.raises(
        DataError,
        match=r"integers in the events, but column 'item_id' of the item table has 'i1' \(row 1\): it is not written as",
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


def integer_days(days: list) -> list:
    return [(user, int(item[1:]), time_s) for user, item, time_s in days]


@pytest.mark.parametrize(
    ("log", "spelling"),
    [
        ("log.csv", "001"),
        ("log.csv", " 1"),
        ("log.parquet", "1.0"),
        ("log.parquet", "001"),
        ("log.jsonl", "+1"),
    ],
)
def test_another_spelling_of_an_integer_id_does_not_join_it(
    write_log, days, tmp_path: Path, log: str, spelling: str
) -> None:
    items = write_log([("2", "Mug"), (spelling, "Pot")], ("item_id", "title"), "items.csv")
    with pytest.raises(DataError) as caught:
        prepare(write_log(integer_days(days), name=log), tmp_path / "out", items=items, split=SPLIT)
    assert str(caught.value) == (
        f"item ids are integers in the events, but column 'item_id' of the item table has {spelling!r} (row 2): it does not "
        "join 1; write the same id the same way in both, or give both as text in Parquet"
    )


@pytest.mark.parametrize("name", ["items.parquet", "items.jsonl"])
def test_text_ids_with_zeros_do_not_join_an_item_table_of_integers(
    write_log, days, tmp_path: Path, name: str
) -> None:
    rows = [(user, f"00{item[1:]}", time_s) for user, item, time_s in days]
    items = write_log([(1, "Mug"), (2, "Pot")], ("item_id", "title"), name)
    with pytest.raises(
        DataError, match=r"item ids are text in the events \('000'\) and integers in column 'item_id'"
    ):
        prepare(write_log(rows, name="log.csv"), tmp_path / "out", items=items, split=SPLIT)


@pytest.mark.parametrize("name", ["items.parquet", "items.csv"])
def test_a_table_whose_ids_differ_only_in_zeros_is_refused(
    write_log, days, tmp_path: Path, name: str
) -> None:
    rows = [(user, f"00{item[1:]}", time_s) for user, item, time_s in days]
    items = write_log([("1", "Mug"), ("2", "Pot")], ("item_id", "title"), name)
    with pytest.raises(DataError) as caught:
        prepare(write_log(rows, name="log.csv"), tmp_path / "out", items=items, split=SPLIT)
    assert str(caught.value) == (
        "item ids must be equal letter by letter: '001' of the events and '1' of the item table (column 'item_id') do not "
        "join, and neither does any other id; write the same id the same way in both"
    )


def test_some_ids_that_differ_only_in_zeros_are_noted(prepare_with_items, write_log) -> None:
    dataset = prepare_with_items(
        write_log([("i0", "Mug"), ("I1 ", "Pot")], ("item_id", "title"), "items.parquet")
    )
    assert dataset.facts["warnings"][-1] == (
        "item ids must be equal letter by letter: 'i1' of the events and 'I1 ' of the item table (column 'item_id') do not "
        "join; 1 ids are of this kind"
    )


def test_a_catalogue_with_text_ids_makes_the_ids_of_two_text_files_text(
    write_log, days, tmp_path: Path
) -> None:
    items = write_log([("2", "Mug"), ("A4", "Pot"), ("009", "Cup")], ("item_id", "title"), "items.csv")
    dataset = prepare(
        write_log(integer_days(days), name="log.csv"), tmp_path / "out", items=items, split=SPLIT
    )
    assert sorted(dataset.items.ids.tolist()) == ["0", "009", "1", "2", "3", "A4"]
    assert dataset.titles()[dataset.items.index("2") - 1] == "Mug"


def test_a_table_without_any_id_of_the_events_is_noted(prepare_with_items, write_log) -> None:
    dataset = prepare_with_items(write_log([("x", "Mug")], ("item_id", "title"), "items.parquet"))
    assert "no id of the item table occurs in the events" in dataset.facts["warnings"]


def test_infinite_values_are_noted(prepare_with_items, write_log) -> None:
    rows = [("i0", float("inf")), ("i1", float("nan")), ("i2", -float("inf"))]
    dataset = prepare_with_items(write_log(rows, ("item_id", "price"), "items.parquet"))
    assert dataset.facts["warnings"][-1] == (
        "column 'price' of the item table has 2 infinite values; filters treat them as missing"
    )


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.nulls(2), [None, None]),
        (pa.array([[], []]), [None, None]),
        (pa.array(["a", "b"]).dictionary_encode(), ["a", "b"]),
        (pa.array([0, 1], pa.timestamp("ns", "UTC")), [EPOCH, EPOCH]),
        (pa.array([1, 2]).cast(pa.float16()), [1.0, 2.0]),
        (pa.array([["a"], ["b", "c"]]), [["a"], ["b", "c"]]),
    ],
)
def test_columns_of_any_type_that_can_be_stored_are_kept(
    prepare_with_items, values: pa.Array, expected: list
) -> None:
    dataset = prepare_with_items(pa.table({"item_id": ["i0", "i1"], "column": values}))
    kept = dict(zip(dataset.items.ids.tolist(), dataset.table.column("column").to_pylist(), strict=True))
    assert [kept["i0"], kept["i1"]] == expected


@pytest.mark.parametrize("values", [pa.array([1, 2], pa.duration("s")), pa.array([{}, {}])])
def test_columns_that_cannot_be_stored_are_refused(prepare_with_items, values: pa.Array) -> None:
    with pytest.raises(
        DataError, match=r"column 'column' of the item table contains .*, which cannot be stored"
    ):
        prepare_with_items(pa.table({"item_id": ["i0", "i1"], "column": values}))


def test_integers_that_filters_cannot_compare_are_noted(prepare_with_items) -> None:
    items = pa.table({"item_id": ["i0", "i1"], "big": pa.array([1, 2**64 - 1], pa.uint64())})
    assert (
        prepare_with_items(items)
        .facts["warnings"][-1]
        .startswith(
            f"column 'big' of the item table has integers beyond 2^53 ({2**64 - 1}), which filters cannot compare exactly; "
        )
    )


@pytest.mark.parametrize(
    "code", ["001", "-07", "+1", "12345678901234567890", "9007199254740993", "-12345678901234567890"]
)
@pytest.mark.parametrize("other", ["1.5", "2e3"])
def test_codes_of_digits_in_text_files_keep_every_digit(
    prepare_with_items, write_log, code: str, other: str
) -> None:
    rows = [("i0", code), ("i1", other), ("i2", ""), ("i3", "3")]
    dataset = prepare_with_items(write_log(rows, ("item_id", "code"), "items.csv"))
    kept = dict(zip(dataset.items.ids.tolist(), dataset.table.column("code").to_pylist(), strict=True))
    assert kept == {"i0": code, "i1": other, "i2": None, "i3": "3"}


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (["1", "-2"], [1, -2]),
        (["0.5", "-0.25"], [0.5, -0.25]),
        (["1e3", "0"], [1000.0, 0.0]),
        (["9007199254740993", "1"], [2**53 + 1, 1]),
    ],
)
def test_numbers_in_text_files_are_numbers(prepare_with_items, write_log, written: list, read: list) -> None:
    rows = list(zip(["i0", "i1"], written, strict=True))
    dataset = prepare_with_items(write_log(rows, ("item_id", "size"), "items.csv"))
    kept = dict(zip(dataset.items.ids.tolist(), dataset.table.column("size").to_pylist(), strict=True))
    assert [kept["i0"], kept["i1"]] == read
