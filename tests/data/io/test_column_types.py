"""Types of columns are described in plain words, without those of the table engine."""

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from reprise.data.io.column_types import is_integer_text
from reprise.data.io.duckdb_engine import DuckDBEngine
from reprise.data.io.events import read_events
from reprise.errors import DataError

S = 1_700_000_000


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([True], "booleans"),
        ([1.5], "floats"),
        ([Decimal("1.5")], "decimal numbers"),
        ([b"a"], "bytes"),
        ([datetime(2024, 3, 1)], "timestamps"),
        (pa.array([0], pa.timestamp("ns", "UTC")), "timestamps"),
        ([date(2024, 3, 1)], "dates"),
        ([time(12)], "times of day"),
        (pa.array([0], pa.time64("ns")), "times of day"),
        ([timedelta(1)], "durations"),
        ([["a"]], "lists"),
        ([{"a": 1}], "structures"),
        (pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())), "mappings"),
        (pa.array([[]]), "values of a type that cannot be read"),
    ],
)
@pytest.mark.parametrize("role", ["user_id", "item_id", "session_id"])
def test_ids_of_other_types_are_refused_in_plain_words(values: Any, words: str, role: str) -> None:
    table = {"item_id": [1], "timestamp": [S], role: values}
    if role == "item_id":
        table["user_id"] = [1]
    with pytest.raises(
        DataError, match=f"ids must be text or integers, but column '{role}' contains {words}; "
    ):
        read_events(pa.table(table))


@pytest.mark.parametrize("role", ["user_id", "item_id", "session_id"])
def test_an_empty_column_of_ids_is_refused(role: str) -> None:
    table = {"item_id": [1], "timestamp": [S], role: pa.nulls(1)}
    if role == "item_id":
        table["user_id"] = [1]
    with pytest.raises(DataError, match=f"column '{role}' has no value in any row, but ids are needed"):
        read_events(pa.table(table))


def test_only_canonical_integers_of_64_bits_are_integer_ids() -> None:
    written = ["0", "17", "-17", str(2**63 - 1), str(-(2**63))]
    other = ["", "017", "00", "-0", "+17", " 17", "17 ", "1.7", "17.0", "1e3", "x", "1_000", str(2**63), None]
    engine = DuckDBEngine()
    table = engine.arrow_table("ids", pa.table({"id": [*written, *other]}))
    found = engine.arrow(table.select(integer=is_integer_text(table["id"]))).column("integer").to_pylist()
    assert found == [True] * len(written) + [False] * len(other)
