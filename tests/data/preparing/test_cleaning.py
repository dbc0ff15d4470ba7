"""Duplicates, sessions by gap, and minimum counts, each compared with a simple loop."""

from collections import Counter
from pathlib import Path

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from reprise.data.io.duckdb_engine import DuckDBEngine
from reprise.data.preparing.cleaning import cut_sessions, drop_duplicates, keep_frequent
from reprise.data.preparing.prepare import prepare

Event = tuple[int, int, int, int]
"""(sequence, time, item, kind)."""
events = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 6), st.integers(0, 3), st.integers(0, 1)),
    min_size=1,
    max_size=60,
)


def saved(rows: list[Event]) -> tuple[DuckDBEngine, list[Event]]:
    """Return an engine with the sorted rows as table `events`, and the rows in that order."""
    engine = DuckDBEngine()
    ordered = sorted(rows, key=lambda row: row[:2])
    columns = ("sequence", "time_ms", "item", "kind")
    table = pa.table(
        {name: pa.array([row[column] for row in ordered], pa.int32()) for column, name in enumerate(columns)}
    )
    table = table.append_column("row", pa.array(range(len(ordered)), pa.int64()))
    engine.save("events", engine.arrow_table("given", table))
    return engine, ordered


def remaining(engine: DuckDBEngine, name: str = "events") -> list[Event]:
    rows = engine.rows(engine.table(name).select("sequence", "time_ms", "item", "kind"))
    return [tuple(row.values()) for row in rows]


@settings(max_examples=15, deadline=None)
@given(events)
def test_the_first_of_equal_events_is_kept_in_order(rows: list[Event]) -> None:
    engine, ordered = saved(rows)
    dropped = drop_duplicates(engine, "events")
    expected = list(dict.fromkeys(ordered))
    assert remaining(engine) == expected
    assert dropped == len(ordered) - len(expected)


@settings(max_examples=15, deadline=None)
@given(events, st.integers(1, 4))
def test_sessions_begin_after_pauses_longer_than_the_gap(rows: list[Event], gap: int) -> None:
    engine, ordered = saved(rows)
    sessions, before = [], None
    for row in ordered:
        begins = before is None or row[0] != before[0] or row[1] - before[1] > gap
        sessions.append(len(set(sessions)) if begins else sessions[-1])
        before = row
    assert cut_sessions(engine, "events", gap) == len(set(sessions))
    assert [row[0] for row in remaining(engine, "sessions")] == sessions


def test_sessions_are_numbered_within_their_original_sequence() -> None:
    engine, _ = saved([(5, 0, 1, 0), (5, 100, 1, 0), (7, 0, 1, 0)])
    cut_sessions(engine, "events", 10)
    found = engine.rows(engine.table("session_of").order_by("sequence"))
    assert [(row["owner"], row["number"]) for row in found] == [(5, 1), (5, 2), (7, 1)]


@settings(max_examples=15, deadline=None)
@given(events, st.integers(1, 4), st.integers(1, 5))
def test_keep_frequent_drops_exactly_what_the_minimums_require(
    rows: list[Event], min_item: int, min_sequence: int
) -> None:
    engine, expected = saved(rows)
    dropped = keep_frequent(engine, "events", min_item, min_sequence)
    while True:
        items, sequences = Counter(row[2] for row in expected), Counter(row[0] for row in expected)
        kept = [row for row in expected if items[row[2]] >= min_item and sequences[row[0]] >= min_sequence]
        if kept == expected:
            break
        expected = kept
    assert remaining(engine) == expected
    assert sum(dropped.values()) == len(rows) - len(expected)


def test_dropped_events_are_counted_by_reason(write_log, days, tmp_path: Path) -> None:
    rows = [*days, days[0], days[0], ("once", "i0", 1_700_000_000), ("u0", "rare", 1_700_000_000)]
    facts = prepare(write_log(rows), tmp_path / "out", split="last:2d,2d", min_item_events=2).facts
    assert facts["dropped"] == {"duplicates": 2, "short_sequences": 1, "rare_items": 1}
    assert facts["rows_read"] == 54
    assert facts["events"] == 50


def test_duplicates_can_be_kept(write_log, days, tmp_path: Path) -> None:
    dataset = prepare(write_log([*days, days[0]]), tmp_path / "out", split="last:2d,2d", duplicates="keep")
    assert dataset.events == 51
    assert dataset.facts["dropped"]["duplicates"] == 0
