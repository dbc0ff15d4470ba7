"""`reprise train`: recipes, overrides, resuming, and errors."""

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from reprise.cli.commands.train import read_recipe
from reprise.errors import ConfigError
from reprise.models.networks.recurrent import Recurrent
from reprise.training import Recipe, TrainingConfig

Run = Callable[..., Result]


def test_overrides_take_precedence_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text('[model]\ncell = "gru"\nsize = 8\n[training]\nepochs = 3\n')
    recipe = read_recipe(file, ["model.size=16", "training.learning_rate=0.01"])
    assert recipe == Recipe(Recurrent(cell="gru", size=16), TrainingConfig(epochs=3, learning_rate=0.01))


def test_without_a_file_the_default_recipe_is_used() -> None:
    assert read_recipe(None, []) == Recipe()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "training.leraning_rate=1",
            "unknown field 'training.leraning_rate'; did you mean 'training.learning_rate'?",
        ),
        ("modle.size=3", "unknown field 'modle'; did you mean 'model'?"),
        ("training.epochs=0", "training.epochs must be at least 1, got 0"),
        (
            "model.class=my_models:Mine",
            "'my_models:Mine' lies outside the package reprise, and importing it would run its code; "
            "if you trust it, pass trusted=True (on the command line: --trusted)",
        ),
    ],
)
def test_the_message_for_a_wrong_recipe(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_recipe(None, [override])
    assert str(caught.value) == message


def test_the_same_command_does_not_train_a_finished_run_again(reprise: Run, shop: Path) -> None:
    before = (shop / "run" / "best.safetensors").stat().st_mtime_ns
    overrides = ["--set", "model.size=16", "--set", "model.layers=1", "--set", "training.epochs=2"]
    result = reprise("train", shop / "data", "--out", shop / "run", *overrides)
    assert result.exit_code == 0, result.output
    assert result.stderr == f"{shop / 'run'} is finished; there is nothing left to train\n"
    assert f"reprise evaluate {shop / 'run'} --baselines popularity,markov" in result.stdout
    assert (shop / "run" / "best.safetensors").stat().st_mtime_ns == before


def test_another_recipe_in_the_same_directory_is_refused(fails: Callable[..., str], shop: Path) -> None:
    message = fails("train", shop / "data", "--out", shop / "run", "--set", "model.size=32")
    assert message.startswith(f"{shop / 'run'} holds a run with another recipe.model.size (16, now 32)")


def test_a_missing_dataset_is_an_error(fails: Callable[..., str], tmp_path: Path) -> None:
    assert "holds no prepared dataset" in fails("train", tmp_path / "none", "--out", tmp_path / "run")


def test_a_missing_recipe_is_an_error(fails: Callable[..., str], shop: Path, tmp_path: Path) -> None:
    file = tmp_path / "none.toml"
    message = fails("train", shop / "data", "--out", tmp_path / "run", "--recipe", file)
    assert message == f"cannot read {file}: No such file or directory"


@pytest.mark.parametrize("size", [10**8, 2**40, 10**20])
def test_a_network_that_does_not_fit_into_memory_is_an_error_with_the_remedy(
    fails: Callable[..., str], shop: Path, tmp_path: Path, size: int
) -> None:
    message = fails("train", shop / "data", "--out", tmp_path / "run", "--set", f"model.size={size}")
    assert message.startswith("the network or a batch does not fit into memory (")
    assert message.endswith("); reduce model.size or training.events_per_batch")
    assert not (tmp_path / "run").exists()


def test_more_threads_than_the_system_can_create_are_refused(
    fails: Callable[..., str], shop: Path, tmp_path: Path
) -> None:
    """The thread library would end the process."""
    message = fails("train", shop / "data", "--out", tmp_path / "run", "--threads", 1_000_000)
    assert message == "threads must be at most 1024, got 1000000"


@pytest.mark.parametrize("where", ["file", "override"])
def test_deeply_nested_values_are_refused(
    fails: Callable[..., str], shop: Path, tmp_path: Path, where: str
) -> None:
    nested, recipe = "[" * 5000 + "]" * 5000, tmp_path / "recipe.toml"
    recipe.write_text(f"a = {nested}\n" if where == "file" else "")
    overrides = [] if where == "file" else ["--set", f"model.size={nested}"]
    message = fails("train", shop / "data", "--out", tmp_path / "run", "--recipe", recipe, *overrides)
    assert message.endswith("nested too deeply")


TINY = [
    "--set",
    "model.size=8",
    "--set",
    "model.layers=1",
    "--set",
    "training.epochs=1",
    "--set",
    "model.cooccurrence=0",
]
TINY += ["--set", "model.repeats=0", "--set", "training.refit=0", "--threads", "1"]


def test_several_seeds_print_their_values_and_the_command_that_compares_them(
    reprise: Run, shop: Path, tmp_path: Path
) -> None:
    """The printed command takes the runs as one model."""
    out = tmp_path / "runs"
    result = reprise("train", shop / "data", "--out", out, "--seeds", "1,2", *TINY)
    assert result.exit_code == 0, result.output
    assert [line for line in result.stderr.splitlines() if line.startswith("seed")] == [
        "seed 1 (1 of 2)",
        "seed 2 (2 of 2)",
    ]
    lines = [line.strip() for line in result.stdout.splitlines()]
    rows = [line.split() for line in lines if line.endswith(("seed-1", "seed-2")) and "--" not in line]
    assert [(row[0], row[2]) for row in rows] == [("1", f"{out / 'seed-1'}"), ("2", f"{out / 'seed-2'}")]
    first, second = (float(row[1]) for row in rows)
    summary = next(line for line in lines if line.startswith("valid ndcg@10 over 2 seeds: mean "))
    mean = float(summary.split("mean ")[1].split(",")[0])
    assert mean == pytest.approx((first + second) / 2, abs=1e-4)
    command = lines[lines.index("next:") + 1]
    assert command == (
        f"reprise evaluate {out / 'seed-1'} {out / 'seed-2'} --baselines popularity,markov,cooccurrence"
    )
    compared = reprise(*command.split()[1:])
    assert compared.exit_code == 0, compared.output
    assert "2/5  " in compared.stderr and ", seed 2  " in compared.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seeds", "1,2", "--seed", "3"], "--seed and --seeds both choose the seed; leave out one of them"),
        (["--seeds", ""], "--seeds takes whole numbers separated by commas, such as 1,2,3; got ''"),
        (["--seeds", "1,two"], "--seeds takes whole numbers separated by commas, such as 1,2,3; got '1,two'"),
        (["--seeds", "1,1"], "seed 1 is named twice; name each seed once"),
        (
            ["--workers", "2"],
            "workers = 2 trains members of an ensemble or several seeds in parallel, but this is",
        ),
    ],
)
def test_wrong_seeds_and_workers_create_no_directory(
    fails: Callable[..., str], shop: Path, tmp_path: Path, options: list[str], message: str
) -> None:
    assert fails("train", shop / "data", "--out", tmp_path / "runs", *TINY, *options).startswith(message)
    assert not (tmp_path / "runs").exists()
