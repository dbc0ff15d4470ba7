"""Tables in memory keep every value and its type; what a conversion would merge, cut or guess is refused."""

from datetime import UTC, date, datetime
from typing import Any

import ibis
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from reprise.data.io.data_frames import to_arrow
from reprise.data.io.events import read_events
from reprise.errors import DataError

S = 1_700_000_000
ITEMS = ["mug", "pot", "mug"]


def columns(item: Any) -> dict[str, Any]:
    return {"user_id": [1, 1, 2], "item_id": item, "timestamp": [S, S + 1, S + 2]}


def items_of(source: Any) -> list:
    return read_events(source).table.to_pyarrow().column("item_id").to_pylist()


DICTIONARY = pa.array(ITEMS).dictionary_encode()
SOURCES = {
    "polars Categorical": lambda: pl.DataFrame(columns(pl.Series(ITEMS, dtype=pl.Categorical))),
    "polars Enum": lambda: pl.DataFrame(columns(pl.Series(ITEMS, dtype=pl.Enum(["pot", "mug"])))),
    "polars String": lambda: pl.DataFrame(columns(ITEMS)),
    "pandas Categorical": lambda: pd.DataFrame(columns(pd.Categorical(ITEMS))),
    "pandas object": lambda: pd.DataFrame(columns(np.array(ITEMS, dtype=object))),
    "pandas string": lambda: pd.DataFrame(columns(pd.array(ITEMS, dtype="string"))),
    "Arrow dictionary": lambda: pa.table(columns(DICTIONARY)),
    "Arrow dictionary of string_view": lambda: pa.table(
        columns(
            pa.DictionaryArray.from_arrays(DICTIONARY.indices, DICTIONARY.dictionary.cast(pa.string_view()))
        )
    ),
    "Arrow dictionary of large_string": lambda: pa.table(
        columns(
            pa.DictionaryArray.from_arrays(DICTIONARY.indices, DICTIONARY.dictionary.cast(pa.large_string()))
        )
    ),
    "Arrow dictionary of a dictionary": lambda: pa.table(
        columns(
            pa.DictionaryArray.from_arrays(pa.array([0, 1, 0]), pa.array(["mug", "pot"]).dictionary_encode())
        )
    ),
    "Arrow run-end encoded": lambda: pa.table(
        columns(pa.RunEndEncodedArray.from_arrays(pa.array([1, 2, 3], pa.int32()), pa.array(ITEMS)))
    ),
    "Arrow string_view": lambda: pa.table(columns(pa.array(ITEMS, pa.string_view()))),
    "Arrow large_string": lambda: pa.table(columns(pa.array(ITEMS, pa.large_string()))),
    "Arrow record batch": lambda: pa.record_batch(columns(ITEMS)),
    "Arrow reader": lambda: pa.table(columns(ITEMS)).to_reader(),
    "dict of lists": lambda: columns(ITEMS),
    "dict of arrays": lambda: {name: np.array(values) for name, values in columns(ITEMS).items()},
    "dict of Arrow arrays": lambda: {name: pa.array(values) for name, values in columns(ITEMS).items()},
    "dict of series": lambda: {name: pd.Series(values) for name, values in columns(ITEMS).items()},
    "list of dicts": lambda: pa.table(columns(ITEMS)).to_pylist(),
    "structured array": lambda: np.array(
        list(zip(*columns(ITEMS).values(), strict=True)),
        dtype=[("user_id", "i8"), ("item_id", "U5"), ("timestamp", ">i8")],
    ),
    "record array": lambda: pd.DataFrame(columns(ITEMS)).to_records(index=False),
    "Ibis table": lambda: ibis.memtable(pa.table(columns(ITEMS))),
}


@pytest.mark.parametrize("name", SOURCES)
def test_every_kind_of_table_gives_the_same_ids(name: str) -> None:
    assert items_of(SOURCES[name]()) == ITEMS


def test_keys_that_only_later_rows_have_are_columns() -> None:
    rows = [{"user_id": 1, "item_id": "a"}, {"user_id": 1, "item_id": "b", "timestamp": S, "price": 2.5}]
    table = to_arrow(rows)
    assert table.column_names == ["user_id", "item_id", "timestamp", "price"]
    assert table.column("price").to_pylist() == [None, 2.5]


def test_dictionaries_within_lists_and_structures_become_values() -> None:
    genres = pa.ListArray.from_arrays(pa.array([0, 2, 3, 3], pa.int32()), DICTIONARY)
    nested = pa.StructArray.from_arrays([DICTIONARY], names=["name"])
    table = to_arrow(pa.table({"genres": genres, "nested": nested}))
    assert table.schema.types == [pa.list_(pa.string()), pa.struct([("name", pa.string())])]
    assert table.column("genres").to_pylist() == [["mug", "pot"], ["mug"], []]


def twice(names: list[str]) -> pa.Table:
    return pa.Table.from_arrays([pa.array([1])] * len(names), names=names)


@pytest.mark.parametrize(
    "frame",
    [
        twice(["user_id", "item_id", "timestamp", "item_id"]),
        pd.DataFrame([(1, 2, S, 3)], columns=["user_id", "item_id", "timestamp", "item_id"]),
        {"user_id": [1], "item_id": [1], 7: [1], "7": [1]},
    ],
)
def test_two_columns_of_one_name_are_refused(frame: Any) -> None:
    with pytest.raises(
        DataError, match=r"has 2 columns named '(item_id|7)'; rename or drop all but one of them"
    ):
        read_events(frame)


def test_names_that_differ_only_in_case_are_refused() -> None:
    """The table engine ignores case, and would rename one of them."""
    with pytest.raises(DataError) as caught:
        read_events(twice(["User_ID", "item_id", "timestamp", "user_id"]))
    assert str(caught.value) == (
        "the table has the columns 'User_ID' and 'user_id', whose names differ only in case; rename or drop one of them"
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1, 2, "a"], "1 in row 1 is an int, 'a' in row 3 is a str"),
        (["a", None, 2], "'a' in row 1 is a str, 2 in row 3 is an int"),
        ([True, 2, 3], "True in row 1 is a bool, 2 in row 2 is an int"),
        (["a", b"b", "c"], "'a' in row 1 is a str, b'b' in row 2 is a bytes"),
        ([float("nan"), "a", 3], "'a' in row 2 is a str, 3 in row 3 is an int"),
    ],
)
@pytest.mark.parametrize("frame", [dict, pd.DataFrame])
def test_values_of_several_types_in_a_column_are_refused(values: list, message: str, frame: Any) -> None:
    with pytest.raises(DataError) as caught:
        read_events(frame(columns(values)))
    assert str(caught.value) == (
        f"column 'item_id' holds values of several types: {message}; convert all of them to one type"
    )


@pytest.mark.parametrize(
    "values",
    [
        [datetime(2024, 3, 1, tzinfo=UTC), datetime(2024, 3, 1), None],
        [datetime(2024, 3, 1), datetime(2024, 3, 1, tzinfo=UTC), None],
        [date(2024, 3, 1), datetime(2024, 3, 1, 12), None],
    ],
)
def test_times_of_several_types_are_not_cut_or_moved(values: list) -> None:
    """Arrow would take a time without a zone for UTC, and keep the date of a time that follows a date."""
    with pytest.raises(DataError, match="column 'timestamp' holds values of several types: datetime"):
        read_events(columns(ITEMS) | {"timestamp": values})


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (None, "cannot read a table from None; give paths, "),
        (7, "cannot read a table from a value of type int; give paths, "),
        (b"log.csv", "cannot read a table from a value of type bytes; give paths, "),
        (iter([{"user_id": 1}]), "type list_iterator with values of type dict; give paths, "),
        (({"user_id": n} for n in range(2)), "type generator with values of type dict; give paths, "),
        ([(1, 2, S)], "type list with values of type tuple; give paths, "),
        (np.zeros((2, 3)), "type ndarray with values of type ndarray; give paths, "),
        (pl.DataFrame({"user_id": [1]}).lazy(), r"type LazyFrame; call .collect\(\) on it first"),
        (pd.Series([1]), "a Series is one column; give a table"),
        (pl.Series([1]), "a Series is one column; give a table"),
        (
            {"user_id": [1], "item_id": [1, 2]},
            r"different lengths \('user_id' 1, 'item_id' 2\); give one value per row",
        ),
        ({"user_id": "ann"}, "column 'user_id' is a str, not a sequence; give one value per row"),
        ({"user_id": 1}, "column 'user_id' is an int, not a sequence; give one value per row"),
        ({"user_id": [1j]}, "column 'user_id' cannot be read "),
        ({"user_id": [2**63]}, r"column 'user_id' holds integers of 2\^63 or more; store them as text"),
        ({"user_id": np.zeros((2, 2))}, "column 'user_id' cannot be read "),
        (pd.DataFrame({"user_id": [1j]}), "column 'user_id' cannot be read "),
        ({}, "the table has no columns; give a table with a user, an item and a time column"),
        (pd.DataFrame(), "the table has no columns; give a table with a user, an item and a time column"),
        ([], "no files to read: the list is empty"),
    ],
)
def test_what_is_not_a_table_is_refused_with_the_remedy(source: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_events(source)


def test_column_names_that_are_not_text_become_text() -> None:
    frame = pd.DataFrame(np.array([[1, 2, S]]))
    assert read_events(frame, user="0", item="1", time="2").columns.item == "1"


def test_columns_that_are_not_needed_may_have_any_type() -> None:
    table = columns(ITEMS) | {
        "select": pa.array([1, 2, 3], pa.duration("s")),
        'a "b" c': pa.array([1, 2, 3]).cast(pa.float16()),
        "where": pa.nulls(3),
        "huge": pa.array([1, 2, 3]).cast(pa.decimal256(50, 0)),
        **{f"feature {number}": [number] * 3 for number in range(300)},
    }
    assert items_of(pa.table(table)) == ITEMS
