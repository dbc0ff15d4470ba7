"""Duplicates, busy users, sessions by gap, and minimum counts, each compared with a simple loop."""

from collections import Counter
from pathlib import Path

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from reprise.data.io.duckdb_engine import DuckDBEngine
from reprise.data.preparing.cleaning import (
    DAY_MS,
    cut_sessions,
    drop_busy_users,
    drop_duplicates,
    keep_frequent,
)
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


@settings(max_examples=15, deadline=None)
@given(events, st.integers(1, 6), st.booleans())
def test_users_with_more_events_on_a_day_are_dropped_as_a_whole(
    rows: list[Event], maximum: int, by_session: bool
) -> None:
    """Three and a half days begin before 1970. By session, two sequences belong to each user."""
    engine, ordered = saved([(row[0], (row[1] - 3) * DAY_MS // 2, *row[2:]) for row in rows])
    user_of = {sequence: sequence // 2 if by_session else sequence for sequence in range(4)}
    users = pa.table({"session": [*user_of], "user": [*user_of.values()]})
    counts = Counter((user_of[row[0]], row[1] // DAY_MS) for row in ordered)
    busy = {user for (user, _), count in counts.items() if count > maximum}
    sessions = engine.arrow_table("session_users", users) if by_session else None
    found = drop_busy_users(engine, "events", maximum, sessions)
    expected = [row for row in ordered if user_of[row[0]] not in busy]
    assert remaining(engine) == expected
    assert found == (len(busy), len(ordered) - len(expected))


def test_a_bot_is_dropped_with_its_items_and_counted(write_log, days, tmp_path: Path) -> None:
    """The second day of u0 has two events, and a repetition that does not count."""
    bot = [("bot", f"spam{minute}", 1_700_006_400 + 60 * minute) for minute in range(3)]
    once = [("u0", "i1", 1_700_006_400), ("u0", "i1", 1_700_006_400)]
    log = write_log([*days, *bot, *once])
    dataset = prepare(log, tmp_path / "out", split="last:2d,2d", max_events_per_day=2)
    assert dataset.facts["dropped"] == {
        "duplicates": 1, "busy_users": 3, "short_sequences": 0, "rare_items": 0,
    }  # fmt: skip
    assert dataset.facts["users_dropped"] == 1
    assert dataset.facts["options"]["max_events_per_day"] == 2
    assert dataset.events == len(days) + 1
    assert dataset.items.index("spam0") == 0
    unlimited = prepare(log, tmp_path / "all", split="last:2d,2d")
    assert unlimited.items.index("spam0") > 0
    assert "max_events_per_day" not in unlimited.facts["options"]
    assert unlimited.fingerprint != dataset.fingerprint


def test_a_bot_with_many_short_sessions_is_dropped(write_log, days, tmp_path: Path) -> None:
    rows = [(user, f"{user}/{time}", item, time) for user, item, time in days]
    rows += [(user, f"{user}/{time}", "i0", time + 1) for user, _, time in days]
    bot = [
        ("bot", f"bot/{visit}", f"spam{step}", 1_700_006_400 + visit) for visit in range(4) for step in (0, 1)
    ]
    columns = ("user_id", "session_id", "item_id", "timestamp")
    log = write_log([*rows, *bot], columns)
    facts = prepare(
        log, tmp_path / "out", split="last:2d,2d", sequence_by="session", max_events_per_day=4
    ).facts
    assert (facts["users_dropped"], facts["dropped"]["busy_users"]) == (1, 8)
    assert facts["events"] == 2 * len(days)


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
