"""The description of a dataset matches its content."""

import json
from pathlib import Path

import pytest

from reprise.data import description as module
from reprise.data.description import describe
from reprise.data.preparing.prepare import prepare
from reprise.testing.worlds import world

DAY_S = 86_400


def test_counts_of_a_small_dataset() -> None:
    facts = describe(world([["a", "b", "a", "c"], ["b", "b", "a", "d"], ["a", "b"]]))
    assert (facts["sequences"], facts["events"]) == (3, 10)
    assert facts["items"] == {"vocabulary": 4, "warm": 2, "cold": 2, "ids": "string"}
    assert facts["repeat_share"] == 2 / 10
    assert facts["tied_share"] == 0.0
    assert facts["density"] == 10 / (3 * 4)
    assert facts["length"]["50%"] == 4.0
    assert facts["length"]["100%"] == 4.0
    assert facts["kinds"] == {"event": 10}


def test_targets_follow_another_event_and_may_be_cold() -> None:
    """Two of the four training events are the first of their sequence; two of three test targets are cold."""
    facts = describe(world([["a", "b", "a", "c"], ["b", "b", "a", "d"], ["a", "b"]]))["parts"]
    assert facts["train"] == {"events": 4, "sequences": 2, "targets": 2, "cold_target_share": 0.0}
    assert facts["valid"] == {"events": 3, "sequences": 3, "targets": 2, "cold_target_share": 0.0}
    assert facts["test"] == {"events": 3, "sequences": 3, "targets": 3, "cold_target_share": 2 / 3}


def test_ties_values_and_warnings_of_a_prepared_log(write_log, days, tmp_path: Path) -> None:
    rows = [(*row, 1.0 if place < 25 else None) for place, row in enumerate(days)]
    tied = [(user, "i9", time_s, None) for user, _, time_s, _ in rows[:5]]
    columns = ("user_id", "item_id", "timestamp", "value")
    dataset = prepare(write_log([*rows, *tied], columns), tmp_path / "out", split="last:2d,2d")
    facts = describe(dataset)
    assert facts["tied_share"] == 5 / 55 == dataset.facts["tied_events"] / dataset.events
    assert facts["value_share"] == 25 / 55
    assert facts["times"] == {"first": "2023-11-14T22:13:20+00:00", "last": "2023-11-23T22:13:24+00:00"}
    assert facts["split"]["kind"] == "time"
    assert facts["warnings"] == [
        "9.1% of the events have the same time as the event before them; these keep the order of the input"
    ]
    assert facts["facts"]["rows_read"] == 55


def test_a_description_can_be_written_as_json(write_log, days, tmp_path: Path) -> None:
    facts = describe(prepare(write_log(days), tmp_path / "out", split="last:2d,2d"))
    assert json.loads(json.dumps(facts)) == facts


def test_a_description_does_not_depend_on_the_block_size(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = world([["a", "b", "a", "c"], ["b"] * 7, ["a", "b", "c"], ["d"]])
    whole = describe(dataset)
    monkeypatch.setattr(module, "BLOCK_EVENTS", 2)
    assert describe(dataset) == whole
