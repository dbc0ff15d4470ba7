"""`reprise fit-forecast` and `reprise forecast`: heads for a finished run, and their forecasts as JSON lines."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from reprise.recommender import Recommender
from reprise.training import load_run

Run = Callable[..., Result]


@pytest.fixture
def run(shop: Path, tmp_path: Path) -> Path:
    """A copy of the finished run."""
    return Path(shutil.copytree(shop / "run", tmp_path / "run"))


def test_a_finished_run_gets_heads_and_forecasts_every_user_of_a_file(
    reprise: Run, run: Path, tmp_path: Path
) -> None:
    fitted = reprise("fit-forecast", run)
    assert fitted.exit_code == 0, fitted.output
    assert "next time: reads " in fitted.stdout
    assert "next kind" not in fitted.stdout  # the log has one kind
    histories, out = tmp_path / "histories.csv", tmp_path / "next.jsonl"
    histories.write_text(
        "user_id,item_id,timestamp\nann,20,1700000000\nann,21,1700086400\nben,7,1700000000\n"
    )
    assert reprise("forecast", run, histories, "--length", "2", "--out", out).exit_code == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["user_id"] for row in rows] == ["ann", "ben"]
    expected = Recommender(*load_run(run)).forecast([(20, 1_700_000_000), (21, 1_700_086_400)], 2)
    assert expected.time is not None
    assert rows[0]["kinds"] is None
    assert rows[0]["time"]["median_s"] == pytest.approx(expected.time.median_s, rel=1e-3)
    assert [step["item_id"] for step in rows[0]["path"]] == [step.item_id for step in expected.path]
    printed = reprise("forecast", run, histories, "--length", "2")
    assert printed.stdout == out.read_text()
    assert printed.stderr == "2 users\n"


def test_a_run_without_heads_names_the_command_that_adds_them(
    fails: Callable[..., str], run: Path, tmp_path: Path
) -> None:
    histories = tmp_path / "histories.csv"
    histories.write_text("user_id,item_id,timestamp\nann,20,1700000000\n")
    assert "reprise fit-forecast RUN" in fails("forecast", run, histories)


def test_a_path_that_is_not_a_run_is_an_error(fails: Callable[..., str], tmp_path: Path) -> None:
    assert "is not a run" in fails("fit-forecast", tmp_path)
