"""What is not a list of values is refused, and never iterated over by column names or letters."""

import re
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from reprise.errors import DataError
from reprise.recommender.items.list_arguments import history_events, history_list, id_list

IDS = ["a", "b", "c"]
COLUMNS = {"item_id": IDS, "timestamp": [1, 2, 3]}
LISTS: dict[str, Callable[[], Any]] = {
    "list": lambda: IDS,
    "tuple": lambda: tuple(IDS),
    "generator": lambda: (one for one in IDS),
    "deque": lambda: deque(IDS),
    "values of a dict": lambda: dict(enumerate(IDS)).values(),
    "NumPy array": lambda: np.array(IDS),
    "NumPy array of objects": lambda: np.array(IDS, dtype=object),
    "pandas series": lambda: pd.Series(IDS),
    "pandas categories": lambda: pd.Series(IDS, dtype="category"),
    "pandas index": lambda: pd.Index(IDS),
    "polars series": lambda: pl.Series(IDS),
    "Arrow array": lambda: pa.array(IDS),
    "Arrow column": lambda: pa.chunked_array([IDS[:1], IDS[1:]]),
}
TABLES = {
    "pandas frame": pd.DataFrame(COLUMNS),
    "polars frame": pl.DataFrame(COLUMNS),
    "lazy polars frame": pl.LazyFrame(COLUMNS),
    "Arrow table": pa.table(COLUMNS),
    "Arrow batch": pa.RecordBatch.from_pydict(COLUMNS),
    "structured array": np.array([("a", 1)], dtype=[("item_id", "U1"), ("timestamp", "i8")]),
    "row of a pandas frame": pd.DataFrame({"item_id": [3, 4], "timestamp": [1, 2]}).iloc[0],
}
OTHERS: dict[str, Any] = {
    **TABLES, "text": "abc", "bytes": b"abc", "bytearray": bytearray(b"abc"), "None": None, "number": 7, "float": 7.0,
    "bool": True, "path": Path("a.csv"), "mapping": {"item_id": "a"}, "columns": COLUMNS, "scalar array": np.array(3),
    "object": object(),
}  # fmt: skip
each_list = pytest.mark.parametrize("make", LISTS.values(), ids=LISTS)
each_table = pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
each_other = pytest.mark.parametrize("value", OTHERS.values(), ids=OTHERS)


@each_list
def test_all_forms_of_a_list_are_read(make: Callable[[], Any]) -> None:
    for found in (history_events(make()), history_list(make()), id_list("deny", make())):
        assert list(map(str, found)) == IDS


def test_integers_of_an_arrow_array_are_python_integers() -> None:
    assert [type(one) for one in history_events(pa.array([3, 4]))] == [int, int]


@each_other
def test_what_is_not_a_list_is_refused(value: Any) -> None:
    with pytest.raises(DataError, match=r"^a history is a list of events, oldest first, got "):
        history_events(value)
    with pytest.raises(DataError, match=r"^recommend_many takes a list of histories, got "):
        history_list(value)
    with pytest.raises(DataError, match=r"^allow is a list of item ids, got "):
        id_list("allow", value)


@each_table
def test_the_message_about_a_table_names_its_columns(table: Any) -> None:
    for read in (history_events, history_list, lambda value: id_list("deny", value)):
        with pytest.raises(DataError, match=r"with the columns \['item_id', 'timestamp'\]; "):
            read(table)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (TABLES["pandas frame"], "kind, value (table.to_dict('records'))"),
        (TABLES["polars frame"], "kind, value (table.to_dicts())"),
        (TABLES["Arrow table"], "kind, value (table.to_pylist())"),
        (TABLES["structured array"], "optionally timestamp, kind, value"),
        (TABLES["row of a pandas frame"], "pass [row.to_dict()], or the rows of the whole table as mappings"),
        ({"item_id": "a"}, "got {'item_id': 'a'}; pass [{'item_id': 'a'}]"),
        (COLUMNS, "[1, 2, 3]}; pass a list of item ids, of (item_id, timestamp) pairs, or of mappings with item_id"),
        ({"a": 1}, "got {'a': 1}; pass a list of item ids, of (item_id, timestamp) pairs, or of mappings with item_id"),
        ({"a"}, "got a set ({'a'}), which has no order; pass a list of item ids, of (item_id, timestamp) pairs, or of "
         "mappings with item_id"),
        ({"a": 1}.keys(), "got a set (dict_keys(['a'])), which has no order; pass a list of item ids, of (item_id, timestamp) "
         "pairs, or of mappings with item_id"),
        (np.zeros((2, 2)), "got an array with 2 axes; pass a list of item ids, of (item_id, timestamp) pairs, or of mappings "
         "with item_id"),
        ("x" * 200, f"got '{'x' * 59}... of type str; put it in a list"),
    ],
)  # fmt: skip
def test_the_message_about_a_history_names_the_remedy(value: Any, message: str) -> None:
    with pytest.raises(DataError, match=f"{re.escape(message)}$"):
        history_events(value)


def test_a_mapping_of_users_to_histories_is_refused_with_its_remedy() -> None:
    with pytest.raises(
        DataError, match=r"; pass list\(histories\.values\(\)\); the answers come in the same order$"
    ):
        history_list({"ann": ["a"]})


def test_an_open_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("a\nb\n")
    with (tmp_path / "ids.txt").open() as file, pytest.raises(DataError, match="got an open file; "):
        history_events(file)


def test_lists_of_ids_may_be_sets_and_lists_of_histories_may_be_arrays() -> None:
    assert id_list("deny", {"a"}) == ["a"]
    assert history_events(pd.Series(["a", "b"], index=[10, 20])) == ["a", "b"]
    assert [list(row) for row in history_list(np.array([[1, 2], [3, 4]]))] == [[1, 2], [3, 4]]
    with pytest.raises(DataError, match=r"^deny is a list of item ids, got 2; pass \[2\]$"):
        id_list("deny", 2)
    with pytest.raises(DataError, match=r"^deny is a list of item ids, got None; pass \[\]$"):
        id_list("deny", None)
