"""What a dataset is said to hold is what it holds."""

import json
from pathlib import Path

import pytest

from reprise.data import description as module
from reprise.data.description import describe
from reprise.data.preparing.prepare import prepare
from reprise.testing.worlds import world

DAY_S = 86_400


def test_counts_of_a_small_world() -> None:
    said = describe(world([["a", "b", "a", "c"], ["b", "b", "a", "d"], ["a", "b"]]))
    assert (said["sequences"], said["events"]) == (3, 10)
    assert said["items"] == {"vocabulary": 4, "warm": 2, "cold": 2, "ids": "string"}
    assert said["repeat_share"] == 2 / 10
    assert said["tied_share"] == 0.0
    assert said["density"] == 10 / (3 * 4)
    assert said["length"]["50%"] == 4.0
    assert said["length"]["100%"] == 4.0
    assert said["kinds"] == {"event": 10}


def test_targets_have_an_event_before_them_and_may_be_cold() -> None:
    """Of the four train events two have no event before them; both test items with one before occur in no training."""
    said = describe(world([["a", "b", "a", "c"], ["b", "b", "a", "d"], ["a", "b"]]))["parts"]
    assert said["train"] == {"events": 4, "sequences": 2, "targets": 2, "cold_target_share": 0.0}
    assert said["valid"] == {"events": 3, "sequences": 3, "targets": 2, "cold_target_share": 0.0}
    assert said["test"] == {"events": 3, "sequences": 3, "targets": 3, "cold_target_share": 2 / 3}


def test_ties_values_and_notes_of_a_prepared_log(write_log, days, tmp_path: Path) -> None:
    rows = [(*row, 1.0 if place < 25 else None) for place, row in enumerate(days)]
    tied = [(user, "i9", time_s, None) for user, _, time_s, _ in rows[:5]]
    columns = ("user_id", "item_id", "timestamp", "value")
    dataset = prepare(write_log([*rows, *tied], columns), tmp_path / "out", split="last:2d,2d")
    said = describe(dataset)
    assert said["tied_share"] == 5 / 55 == dataset.facts["tied_events"] / dataset.events
    assert said["value_share"] == 25 / 55
    assert said["times"] == {"first": "2023-11-14T22:13:20+00:00", "last": "2023-11-23T22:13:24+00:00"}
    assert said["split"]["kind"] == "time"
    assert said["warnings"] == [
        "9.1% of the events share their time with the one before; these keep the order of the input"
    ]
    assert said["facts"]["rows_read"] == 55


def test_it_can_be_written_as_json(write_log, days, tmp_path: Path) -> None:
    said = describe(prepare(write_log(days), tmp_path / "out", split="last:2d,2d"))
    assert json.loads(json.dumps(said)) == said


def test_it_is_the_same_however_many_events_are_looked_at_together(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = world([["a", "b", "a", "c"], ["b"] * 7, ["a", "b", "c"], ["d"]])
    whole = describe(dataset)
    monkeypatch.setattr(module, "BLOCK_EVENTS", 2)
    assert describe(dataset) == whole
