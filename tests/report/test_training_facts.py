import json
from pathlib import Path
from typing import Any

import pytest

from reprise.errors import ArtefactError
from reprise.report.training_facts import training_of

RECIPE = {"training": {"metric": "mrr@5"}}


def write(run: Path, *records: dict[str, Any]) -> Path:
    run.mkdir(parents=True)
    (run / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return run


def epoch(number: int, seconds: float, value: float) -> dict[str, Any]:
    return {"epoch": number, "loss": 3.0, "valid mrr@5": value, "valid ndcg@5": 0.9, "seconds": seconds}


def test_seconds_add_up_and_what_comes_after_the_epochs_is_no_point(tmp_path: Path) -> None:
    run = write(tmp_path / "run", epoch(1, 2.5, 0.1), epoch(2, 2.0, 0.3), {"refit": {"passes": 4}})
    found = training_of([run], RECIPE)
    assert (found["seconds"], found["metric"]) == (4.5, "mrr@5")
    assert found["curve"] == [
        [
            {"epoch": 1, "seconds": 2.5, "loss": 3.0, "value": 0.1},
            {"epoch": 2, "seconds": 4.5, "loss": 3.0, "value": 0.3},
        ]
    ]


def test_seeds_have_a_mean_and_a_curve_each(tmp_path: Path) -> None:
    runs = [write(tmp_path / name, epoch(1, seconds, 0.1)) for name, seconds in (("a", 2.0), ("b", 4.0))]
    found = training_of(runs, RECIPE)
    assert found["seconds"] == (2.0 + 4.0) / 2
    assert len(found["curve"]) == 2


def test_an_ensemble_takes_as_long_as_its_members_together(tmp_path: Path) -> None:
    run = write(tmp_path / "run", {"members": 2, "valid mrr@5": 0.4})
    for number, seconds in ((1, 2.0), (2, 3.0)):
        write(run / "members" / str(number), epoch(1, seconds, 0.1))
    found = training_of([run], RECIPE)
    assert found["seconds"] == 2.0 + 3.0
    assert len(found["curve"]) == 2


def test_without_records_nothing_is_known(tmp_path: Path) -> None:
    assert training_of([tmp_path], RECIPE) == {"seconds": None, "metric": "mrr@5", "curve": []}


def test_damaged_records_are_told(tmp_path: Path) -> None:
    run = write(tmp_path / "run", {"epoch": 1})
    with pytest.raises(ArtefactError, match=r"metrics\.jsonl is damaged \(KeyError\('seconds'\)\)"):
        training_of([run], RECIPE)
