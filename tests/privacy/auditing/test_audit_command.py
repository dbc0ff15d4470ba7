"""`reprise audit`: its table, its JSON file, its exit status, and the model card that the export writes afterwards."""

import json
from pathlib import Path

import pytest
from audited_log import write_log
from typer.testing import CliRunner, Result

from reprise.cli.main import app


def command(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_report_is_printed_and_written_to_json(run: Path, tmp_path: Path) -> None:
    result = command("audit", run, "--others", run.parent / "others.csv", "--out", tmp_path / "audit.json")
    assert result.exit_code == 0, result.output
    assert "150 members and 230 others" in result.stdout
    assert "difference/counts" in result.stdout
    assert "it can show a leak, never its absence" in result.stdout
    report = json.loads((tmp_path / "audit.json").read_text())
    assert report == json.loads((run / "audit.json").read_text())
    assert {
        "format",
        "run",
        "weights",
        "protocol",
        "attacks",
        "references",
        "canaries",
        "notes",
    } == report.keys()
    assert [attack["name"] for attack in report["attacks"]] == [
        "loss/network",
        "loss/counts",
        "difference/counts",
    ]
    assert report["attacks"][0]["points"][1].keys() == {"fpr", "false_positives", "tpr"}


def test_a_rate_above_the_limit_exits_with_status_1(run: Path) -> None:
    result = command("audit", run, "--others", run.parent / "others.csv", "--max-tpr", 0.02)
    assert result.exit_code == 1
    assert "of the members at 1 % false positives, more than --max-tpr 0.02 allows" in result.stderr
    assert command("audit", run, "--others", run.parent / "others.csv", "--max-tpr", 1).exit_code == 0


def test_the_model_card_has_the_audit(run: Path, tmp_path: Path) -> None:
    assert command("audit", run, "--others", run.parent / "others.csv").exit_code == 0
    assert command("export", run, "--out", tmp_path / "model").exit_code == 0
    card = (tmp_path / "model" / "README.md").read_text()
    assert "| difference/counts | " in card and "No reference model was used" in card
    assert "150 users of the log and 230 others" in card
    assert "it can show a leak, never its absence" in card


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--reference", "runs/a", "--references", "2"], "--reference and --references are both given"),
        (["--references", "3"], "references must be an even number, got 3"),
    ],
)
def test_contradicting_options_are_refused(run: Path, options: list[str], message: str) -> None:
    result = command("audit", run, "--others", run.parent / "others.csv", *options)
    assert result.exit_code == 2
    assert message in result.stderr


def test_an_audit_without_others_is_refused(run: Path, tmp_path: Path) -> None:
    assert "Missing option '--others'" in command("audit", run).stderr
    few = write_log(tmp_path / "few.csv", 30, seed=9, first=5000)
    result = command("audit", run, "--others", few)
    assert result.exit_code == 2
    assert "30 others with two training events are too few" in result.stderr


def test_a_report_that_would_replace_the_others_is_refused(run: Path) -> None:
    others = run.parent / "others.csv"
    result = command("audit", run, "--others", others, "--out", others)
    assert result.exit_code == 2
    assert "the command reads this file" in result.stderr
