"""`reprise evaluate`: one table for several models, and JSON for programs."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

Run = Callable[..., Result]


def test_models_stand_side_by_side_and_in_json(reprise: Run, shop: Path, tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    command = ["evaluate", shop / "run", "--baselines", "popularity,markov", "--at", "5,20", "--json", file]
    result = reprise(*command)
    assert result.exit_code == 0, result.output
    assert "Popularity" in result.stdout and "Markov" in result.stdout
    models = json.loads(file.read_text())["models"]
    assert [model["name"] for model in models[1:]] == ["Popularity", "Markov"]
    for model in models:
        assert list(model) == ["name", "metrics", "targets", "slices", "calibration", "protocol"]
        assert {"recall@5", "recall@20", "mrr@20", "ndcg@20"} <= set(model["metrics"])
        assert set(model["metrics"]["recall@20"]) == {"value", "low", "high"}
        assert model["protocol"]["part"] == "test"


def test_options_reach_the_protocol(reprise: Run, shop: Path, tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    options = ["--part", "valid", "--at", "3", "--exclude-seen", "--min-history", "4"]
    assert reprise("evaluate", shop / "run", *options, "--json", file).exit_code == 0
    (model,) = json.loads(file.read_text())["models"]
    protocol = model["protocol"]
    assert (protocol["part"], protocol["at"], protocol["exclude_seen"], protocol["min_history"]) == (
        "valid", [3], True, 4,
    )  # fmt: skip


def test_several_runs_go_by_their_directories(reprise: Run, shop: Path, tmp_path: Path) -> None:
    tiny = ["--set", "model.size=8", "--set", "model.layers=1", "--set", "training.epochs=1"]
    assert reprise("train", shop / "data", "--out", tmp_path / "smaller", *tiny).exit_code == 0
    result = reprise("evaluate", shop / "run", tmp_path / "smaller")
    assert result.exit_code == 0, result.output
    assert "run - smaller" in result.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--at", "10;20"], "--at takes whole numbers with commas, as in 10,20; got '10;20'"),
    ],
)
def test_an_option_that_cannot_be_is_told(
    fails: Callable[..., str], shop: Path, options: list[str], message: str
) -> None:
    assert fails("evaluate", shop / "run", *options) == message


def test_a_list_longer_than_the_catalogue_is_told(fails: Callable[..., str], shop: Path) -> None:
    assert fails("evaluate", shop / "run", "--at", "41").startswith("k=41 is above the catalogue of 40 items")


def test_what_is_no_run_is_told(fails: Callable[..., str], tmp_path: Path) -> None:
    assert fails("evaluate", tmp_path).startswith(f"{tmp_path} is not a run (no run.json)")


def test_runs_on_different_data_are_not_compared(
    reprise: Run, fails: Callable[..., str], shop: Path, tmp_path: Path
) -> None:
    data, run = tmp_path / "data", tmp_path / "run"
    assert reprise("prepare", shop / "log.csv", "--split", "leave-one-out", "--out", data).exit_code == 0
    tiny = ["--set", "model.size=8", "--set", "model.layers=1", "--set", "training.epochs=1"]
    assert reprise("train", data, "--out", run, *tiny).exit_code == 0
    assert fails("evaluate", shop / "run", run) == (
        f"{run} was trained on another dataset than {shop / 'run'} ({data}, not {shop / 'data'}); "
        "only models of one dataset can be compared"
    )


def test_a_report_that_has_no_place_is_told_before_the_work(
    fails: Callable[..., str], tmp_path: Path
) -> None:
    """The run is not even looked for."""
    file = tmp_path / "none" / "report.json"
    assert fails("evaluate", "no-run", "--json", file) == (
        f"cannot write {file}: there is no folder {file.parent}; make it first"
    )
    assert fails("evaluate", "no-run", "--json", tmp_path) == (
        f"cannot write {tmp_path}: it is a folder; name a file"
    )
