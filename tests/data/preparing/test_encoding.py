"""Codes count from 0 in the order of first appearance, and the coded log is sorted."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reprise.data.io.duckdb_engine import Engine
from reprise.data.io.events import read_events
from reprise.data.preparing.encoding import Log, code, numbered

S = 1_700_000_000
rows = st.lists(
    st.tuples(st.sampled_from("abcde"), st.sampled_from("xyz"), st.integers(S, S + 9)),
    min_size=2,
    max_size=50,
).filter(lambda found: len({row[0] for row in found}) > 1)


def coded(found: list[tuple[str, str, int]]) -> Engine:
    columns = dict(zip(("user_id", "item_id", "timestamp"), map(list, zip(*found, strict=True)), strict=True))
    table, engine = pa.table(columns), Engine()
    numbers = engine.arrow_table("log", table.append_column("row", pa.array(range(len(found)))))
    code(Log(engine, numbers, read_events(table), "user_id"), "s")
    return engine


@settings(max_examples=12, deadline=None)
@given(rows)
def test_the_coded_log_is_the_log_sorted_by_sequence_time_and_input_order(
    found: list[tuple[str, str, int]],
) -> None:
    engine = coded(found)
    users, items = (list(dict.fromkeys(row[at] for row in found)) for at in (0, 1))
    expected = sorted(
        (users.index(user), time_s * 1000, at, items.index(item))
        for at, (user, item, time_s) in enumerate(found)
    )
    events = engine.rows(engine.table("events").select("sequence", "time_ms", "row", "item"))
    assert [tuple(event.values()) for event in events] == expected


def test_rows_are_numbered_through_all_files_whatever_their_names(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("z.parquet", "a.parquet", "m.parquet")]
    for place, file in enumerate(files):
        pq.write_table(pa.table({"n": range(place * 1000, place * 1000 + 1000)}), file, row_group_size=100)
    engine = Engine()
    table = numbered(engine, files, {"n": "n"})
    found = engine.row(table.aggregate(count=table.count(), wrong=(table.n != table.row).sum()))
    assert found == {"count": 3000, "wrong": 0}


@pytest.mark.parametrize("name", ["start", "rows_before", "known_file", "row", "input_row", "file", "Row"])
@pytest.mark.parametrize("count", [1, 2])
def test_no_column_of_the_callers_is_taken_for_one_of_ours(tmp_path: Path, name: str, count: int) -> None:
    files = [tmp_path / f"{place}.parquet" for place in range(count)]
    for file in files:
        pq.write_table(pa.table({"n": [7, 8], name: [70, 80]}), file)
    engine = Engine()
    found = engine.rows(numbered(engine, files, {"item_id": "n", "value": name}).order_by("row"))
    assert [tuple(row.values()) for row in found] == [
        (7 + place % 2, 70 + place % 2 * 10, place) for place in range(2 * count)
    ]
