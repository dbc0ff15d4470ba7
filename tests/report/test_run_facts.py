import json
from pathlib import Path
from typing import Any

import pytest

from reprise.errors import ArtefactError
from reprise.report.run_facts import read_search, read_training

RECIPE = {"training": {"metric": "mrr@5"}}


def write(run: Path, *records: dict[str, Any]) -> Path:
    run.mkdir(parents=True)
    (run / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return run


def epoch(number: int, seconds: float, value: float) -> dict[str, Any]:
    return {"epoch": number, "loss": 3.0, "valid mrr@5": value, "valid ndcg@5": 0.9, "seconds": seconds}


def test_epoch_times_add_up_and_later_records_are_ignored(tmp_path: Path) -> None:
    run = write(tmp_path / "run", epoch(1, 2.5, 0.1), epoch(2, 2.0, 0.3), {"refit": {"passes": 4}})
    found = read_training([run], RECIPE)
    assert (found["seconds"], found["metric"]) == (4.5, "mrr@5")
    assert found["curve"] == [
        [
            {"epoch": 1, "seconds": 2.5, "loss": 3.0, "value": 0.1},
            {"epoch": 2, "seconds": 4.5, "loss": 3.0, "value": 0.3},
        ]
    ]


def test_training_time_is_the_mean_over_seeds(tmp_path: Path) -> None:
    runs = [write(tmp_path / name, epoch(1, seconds, 0.1)) for name, seconds in (("a", 2.0), ("b", 4.0))]
    found = read_training(runs, RECIPE)
    assert found["seconds"] == (2.0 + 4.0) / 2
    assert len(found["curve"]) == 2


def test_training_time_of_an_ensemble_is_the_sum_of_its_members(tmp_path: Path) -> None:
    run = write(tmp_path / "run", {"members": 2, "valid mrr@5": 0.4})
    for number, seconds in ((1, 2.0), (2, 3.0)):
        write(run / "members" / str(number), epoch(1, seconds, 0.1))
    found = read_training([run], RECIPE)
    assert found["seconds"] == 2.0 + 3.0
    assert len(found["curve"]) == 2


def test_training_time_is_unknown_without_records(tmp_path: Path) -> None:
    assert read_training([tmp_path], RECIPE) == {"seconds": None, "metric": "mrr@5", "curve": []}


def test_damaged_records_raise_an_error(tmp_path: Path) -> None:
    run = write(tmp_path / "run", {"epoch": 1})
    with pytest.raises(ArtefactError, match=r"metrics\.jsonl is damaged \(KeyError\('seconds'\)\)"):
        read_training([run], RECIPE)


def test_missing_search_result_raises_an_error(tmp_path: Path) -> None:
    with pytest.raises(
        ArtefactError, match=r"holds no finished search \(it is an empty directory\); `reprise tune DATASET"
    ):
        read_search(tmp_path)


def test_damaged_search_result_raises_an_error(tmp_path: Path) -> None:
    (tmp_path / "tune.json").write_text('{"metric": "mrr@5"}')
    with pytest.raises(ArtefactError, match=r"is damaged \(KeyError\('trials'\)\); search again"):
        read_search(tmp_path)
