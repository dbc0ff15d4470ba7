"""A history is cleaned as `prepare` cleans the log."""

from math import inf, nan
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reprise.data.dataset import EVENT, SequenceDataset
from reprise.data.history_rules import HistoryRules, round_to_ms
from reprise.data.preparing.prepare import prepare

START_S = 1_700_000_000
Row = tuple[str, str, float, str | None]
"""User, item, seconds since 1970, kind."""


def random_log(seed: int, *, users: int = 60) -> list[Row]:
    """Rows in any order, with many equal times, pauses around a minute, repeated items and rows without a kind."""
    generator = np.random.default_rng(seed)
    rows: list[Row] = []
    for user in range(users):
        count = int(generator.integers(1, 14))
        pauses = generator.choice([0, 0, 0, 0.25, 1, 59.999, 60, 60.001, 3_600], size=count)
        rows += [
            (f"u{user}", f"i{item}", START_S + second, [None, EVENT, "view", "buy"][kind])
            for item, second, kind in zip(
                generator.integers(3, size=count).tolist(),
                pauses.cumsum().tolist(),
                generator.integers(4, size=count).tolist(),
                strict=True,
            )
        ]
    rows += [rows[place] for place in generator.integers(len(rows), size=len(rows) // 3)]
    return [rows[place] for place in generator.permutation(len(rows)).tolist()]


def last_sequences(dataset: SequenceDataset) -> dict[str, list[tuple]]:
    """Return (item, milliseconds, kind) of the last sequence of each user; sessions of `u7` are `u7/1`, `u7/2`, ..."""
    found = {}
    for row, key in enumerate(dataset.users.tolist()):
        events = slice(dataset.offset[row], dataset.offset[row + 1])
        kinds = [dataset.kinds[code] for code in dataset.kind[events].tolist()]
        items = dataset.items.item_ids(dataset.item[events])
        found[key.split("/")[0]] = list(zip(items, dataset.time_ms[events].tolist(), kinds, strict=True))
    return found


@pytest.mark.parametrize(
    ("duplicates", "gap", "kinds"),
    [
        ("drop", None, True),
        ("drop", "1min", True),
        ("keep", None, True),
        ("keep", "1min", True),
        ("drop", "1min", False),
    ],
)
def test_the_selected_events_are_the_last_sequence_that_prepare_makes(
    tmp_path: Path, duplicates: str, gap: str | None, kinds: bool
) -> None:
    rows = random_log(seed=len(duplicates) + bool(gap))
    names = ("user_id", "item_id", "timestamp", "kind" if kinds else "other")
    pq.write_table(pa.table(dict(zip(names, zip(*rows, strict=True), strict=True))), tmp_path / "log.parquet")
    dataset = prepare(
        tmp_path / "log.parquet", tmp_path / "out", split="leave-one-out", min_sequence_events=1,
        duplicates=duplicates, session_gap=gap, allow_leaks=["duplicate"],
    )  # fmt: skip
    rules = HistoryRules.from_facts(dataset.facts)
    assert rules == HistoryRules(duplicates == "drop", 60_000 if gap else None, kinds, "user")
    expected = last_sequences(dataset)
    for user in {row[0] for row in rows}:
        own = sorted((row for row in rows if row[0] == user), key=lambda row: row[2])
        time_ms = round_to_ms([row[2] for row in own])
        kept = rules.select(time_ms, [row[1] for row in own], [row[3] for row in own])
        selected = [
            (own[place][1], int(time_ms[place]), (kinds and own[place][3]) or EVENT)
            for place in kept.tolist()
        ]
        assert selected == expected[user]


def test_without_a_record_of_prepare_the_rules_change_nothing() -> None:
    time_ms = np.array([0.0, 0.0, 1e12])
    for rules in (HistoryRules.from_facts({}), HistoryRules.from_dict(None)):
        assert rules == HistoryRules()
        assert rules.select(time_ms, ["a", "a", "a"]).tolist() == [0, 1, 2]
        assert not rules.starts_session(0.0, 1e12)


def test_rules_can_be_stored_as_json_values() -> None:
    rules = HistoryRules(drop_duplicates=True, session_gap_ms=1_800_000, sequence_by="user")
    assert HistoryRules.from_dict(rules.to_dict()) == rules


def test_a_log_with_session_ids_is_not_divided_by_time() -> None:
    options = {"duplicates": "drop", "session_gap": None}
    facts = {"options": options, "sequence_by": "session", "columns": {"item": "item_id"}}
    assert HistoryRules.from_facts(facts) == HistoryRules(True, None, False, "session")


def test_an_event_without_a_time_is_kept_unless_a_later_session_starts() -> None:
    rules = HistoryRules(drop_duplicates=True, session_gap_ms=1_000)
    time_ms = np.array([nan, nan, 0.0, nan, 0.0, nan])
    assert rules.select(time_ms, list("aaaaab")).tolist() == [0, 1, 2, 3, 5]
    time_ms[-1] = 1_001.0
    assert rules.select(time_ms, list("aaaaab")).tolist() == [5]


def test_only_events_with_the_same_item_time_and_kind_are_duplicates() -> None:
    rules = HistoryRules(drop_duplicates=True)
    time_ms = np.array([5.0, 5.0, 5.0, 5.0, 6.0])
    assert rules.select(time_ms, ["a", "b", "a", "a", "a"], ["view", "view", "buy", "view", "view"]).tolist() == [
        0, 1, 2, 4,
    ]  # fmt: skip


def test_a_history_without_events_stays_empty() -> None:
    assert HistoryRules(True, 1_000).select(np.array([]), []).tolist() == []


@pytest.mark.parametrize(
    ("last_ms", "time_ms", "starts"),
    [(0.0, 1_000.0, False), (0.0, 1_001.0, True), (-inf, 1e12, False), (nan, 1e12, False), (0.0, nan, False)],
)
def test_a_session_starts_only_after_a_known_pause_longer_than_the_gap(
    last_ms: float, time_ms: float, starts: bool
) -> None:
    assert HistoryRules(session_gap_ms=1_000).starts_session(last_ms, time_ms) is starts
