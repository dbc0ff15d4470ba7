"""Codes count from 0 in the order of first appearance, and the encoded log is sorted."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reprise.data.io.duckdb_engine import DuckDBEngine
from reprise.data.io.events import read_events
from reprise.data.preparing.encoding import Log, code_ids, encode

S = 1_700_000_000
rows = st.lists(
    st.tuples(st.sampled_from("abcde"), st.sampled_from("xyz"), st.integers(S, S + 9)),
    min_size=2,
    max_size=50,
).filter(lambda found: len({row[0] for row in found}) > 1)


def encoded(log: list[tuple[str, str, int]]) -> DuckDBEngine:
    columns = dict(zip(("user_id", "item_id", "timestamp"), map(list, zip(*log, strict=True)), strict=True))
    table, engine = pa.table(columns), DuckDBEngine()
    numbers = engine.arrow_table("log", table.append_column("row", pa.array(range(len(log)))))
    log = Log(engine, numbers, read_events(table), "user_id")
    encode(log, "s", code_ids(log)["kinds"])
    return engine


@settings(max_examples=12, deadline=None)
@given(rows)
def test_the_encoded_log_is_sorted_by_sequence_time_and_input_order(
    log: list[tuple[str, str, int]],
) -> None:
    engine = encoded(log)
    users, items = (list(dict.fromkeys(row[position] for row in log)) for position in (0, 1))
    expected = sorted(
        (users.index(user), time_s * 1000, position, items.index(item))
        for position, (user, item, time_s) in enumerate(log)
    )
    events = engine.rows(engine.table("events").select("sequence", "time_ms", "row", "item"))
    assert [tuple(event.values()) for event in events] == expected


def test_rows_are_numbered_across_files_in_the_given_order(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("z.parquet", "a.parquet", "m.parquet")]
    for position, file in enumerate(files):
        pq.write_table(
            pa.table({"n": range(position * 1000, position * 1000 + 1000)}), file, row_group_size=100
        )
    engine = DuckDBEngine()
    table = engine.number_rows(files, {"n": "n"})
    found = engine.row(table.aggregate(count=table.count(), wrong=(table.n != table.row).sum()))
    assert found == {"count": 3000, "wrong": 0}


@pytest.mark.parametrize("name", ["start", "rows_before", "known_file", "row", "input_row", "file", "Row"])
@pytest.mark.parametrize("count", [1, 2])
def test_columns_named_like_ours_keep_their_values(tmp_path: Path, name: str, count: int) -> None:
    files = [tmp_path / f"{position}.parquet" for position in range(count)]
    for file in files:
        pq.write_table(pa.table({"n": [7, 8], name: [70, 80]}), file)
    engine = DuckDBEngine()
    found = engine.rows(engine.number_rows(files, {"item_id": "n", "value": name}).order_by("row"))
    assert [tuple(row.values()) for row in found] == [
        (7 + position % 2, 70 + position % 2 * 10, position) for position in range(2 * count)
    ]
