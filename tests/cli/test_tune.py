"""`reprise tune`: the space in files and options, the tables, resuming, and errors."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from reprise.cli.commands.tune import read_plan
from reprise.models.networks.recurrent import Recurrent
from reprise.training import Recipe, TrainingConfig
from reprise.training.tuning.search_space import Choices, Range

Run = Callable[..., Result]
SMALL = [
    "--set",
    "model.layers=1",
    "--set",
    "model.cooccurrence=0",
    "--set",
    "model.repeats=0",
    "--set",
    "training.epochs=1",
]
SPACE = ["--space", "model.size=4,8", "--space", "training.learning_rate=1e-3..3e-2:log"]


def test_options_take_precedence_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "search.toml"
    file.write_text(
        '[model]\nlayers = 1\n[training]\nepochs = 2\n[space]\n"model.size" = [16, 32]\n'
        '[space.training]\nlearning_rate = "1e-3..1e-2:log"\n'
    )
    plan, space = read_plan(file, ["training.epochs=3"], ["model.size=8,16", "model.dropout=0..0.5"])
    assert plan == Recipe(Recurrent(layers=1), TrainingConfig(epochs=3))
    assert space == {
        "model.size": Choices((8, 16)),
        "training.learning_rate": Range(1e-3, 1e-2, log=True),
        "model.dropout": Range(0, 0.5),
    }


def test_a_search_prints_its_trials_and_can_be_continued(reprise: Run, shop: Path, tmp_path: Path) -> None:
    out = tmp_path / "search"
    command = ["tune", shop / "data", "--out", out, *SMALL, *SPACE]
    result = reprise(*command, "--trials", 5)
    assert result.exit_code == 0, result.output
    assert len(result.stderr.splitlines()) == 5
    lines = result.stdout.splitlines()
    header = next(line for line in lines if "valid ndcg@10" in line)
    assert header.split() == ["trial", "valid", "ndcg@10", "size", "learning_rate", "epochs", "s"]
    assert any(line.split()[:1] == ["training.learning_rate"] for line in lines)
    assert "importance by PED-ANOVA" in result.stdout
    assert f"  reprise train {shop / 'data'} --recipe {out / 'best.toml'} --out runs/best" in lines
    found = json.loads((out / "tune.json").read_text())
    assert found["best"]["value"] == max(trial["value"] for trial in found["trials"])
    again = reprise(*command, "--trials", 6)
    assert again.stderr.startswith("trial 6, 6 of 6 done  ")
    trained = reprise("train", shop / "data", "--recipe", out / "best.toml", "--out", tmp_path / "best")
    assert trained.exit_code == 0, trained.output


def test_a_search_without_a_complete_trial_can_be_resumed(
    fails: Callable[..., str], shop: Path, tmp_path: Path
) -> None:
    command = ["tune", shop / "data", "--out", tmp_path / "s", *SMALL, "--set", "training.epochs=2", *SPACE]
    message = fails(*command, "--timeout", "0.001s")
    assert message == (
        f"no trial in {tmp_path / 's'} is complete: the time limit was reached; run the same command again to resume"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--space", "model.sise=1..3"],
            "space of model.sise: unknown field 'model.sise'; did you mean 'model.size'?",
        ),
        (
            ["--space", "model.size"],
            "cannot read 'model.size'; write field=values, for instance model.size=32,64,128",
        ),
        (["--timeout", "soon"], "'soon' is not a duration; write a number and one of "),
        (
            ["--pruner", "mean"],
            "pruner must be 'median', 'hyperband' or 'none', got 'mean'; did you mean 'median'?",
        ),
        (["--set", "training.metric=mrr@99"], "training.metric 'mrr@99' ranks the first 99"),
    ],
)
def test_a_wrong_option_creates_no_directory(
    fails: Callable[..., str], shop: Path, tmp_path: Path, options: list[str], message: str
) -> None:
    assert fails("tune", shop / "data", "--out", tmp_path / "s", *options).startswith(message)
    assert not (tmp_path / "s").exists()


def test_a_space_that_is_not_a_section_is_an_error(
    fails: Callable[..., str], shop: Path, tmp_path: Path
) -> None:
    file = tmp_path / "search.toml"
    file.write_text("space = 3\n")
    message = fails("tune", shop / "data", "--out", tmp_path / "s", "--recipe", file)
    assert message == f"[space] of {file} must be a section of fields, got 3"
