"""`reprise train`: train a network on a prepared dataset."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reprise.cli.console import show_next, show_table
from reprise.cli.shared_options import (
    Accelerator,
    DatasetDirectory,
    Forget,
    ForgetTenant,
    Overrides,
    Trusted,
    drop_unset,
)
from reprise.errors import ConfigError

if TYPE_CHECKING:
    from reprise.training import Recipe, TrainedSeeds

BASELINES = ("--baselines", "popularity,markov,cooccurrence")
"""Option of the command that evaluates a run, which is printed at the end."""
EXAMPLE = "reprise train data/shop --out runs/shop --set model.cell=gru --set training.epochs=5"


def train(
    path: DatasetDirectory,
    out: Annotated[
        Path, typer.Option(metavar="RUN", help="Run directory for the weights, metrics, log and recipe.")
    ],
    recipe: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="TOML file with the sections [model] and [training]."),
    ] = None,
    overrides: Overrides = None,
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="Seed of initial weights, data order and dropout.")
    ] = None,
    seeds: Annotated[
        str | None,
        typer.Option(
            metavar="N,...",
            help="Train once for each of these seeds, in RUN/seed-1, RUN/seed-2 and so on.",
        ),
    ] = None,
    workers: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            help="Number of processes that train seeds, or members of an ensemble, in parallel.",
        ),
    ] = 1,
    accelerator: Accelerator = None,
    threads: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=0,
            help="Number of CPU threads; with several workers, that of each.",
            show_default="torch's choice, shared equally by the workers",
        ),
    ] = None,
    logger: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Also log each epoch to tensorboard, mlflow or wandb.", show_default="none"
        ),
    ] = None,
    forget: Forget = None,
    tenant: ForgetTenant = None,
    trusted: Trusted = False,
) -> None:
    """Train a network or an ensemble. The same command resumes an interrupted run exactly, with as many processes."""
    from reprise.cli.forget_option import open_for_training
    from reprise.training import RunOptions, train_seeds
    from reprise.training import train as train_network

    if seeds is not None and seed is not None:
        raise ConfigError("--seed and --seeds both choose the seed; leave out one of them")
    several = None if seeds is None else _numbers(seeds)
    plan = read_recipe(recipe, overrides or [], trusted=trusted)
    options = RunOptions(
        workers=workers, **drop_unset(seed=seed, accelerator=accelerator, threads=threads, logger=logger)
    )
    data = open_for_training(path, forget, tenant, trusted)
    consent = ["--trusted"] * trusted
    if several is not None:
        _show_seeds(train_seeds(plan, data, out, several, options=options, progress=True), consent)
        return
    trained = train_network(plan, data, out=out, options=options, progress=True)
    typer.echo(f"the run of {trained.name} is in {out}")  # true for a run that was finished before, too
    show_next(
        ("reprise", "evaluate", out, *BASELINES, *consent),
        ("reprise", "recommend", out, "HISTORIES", "--k", min(20, data.items.warm), *consent),
        ("reprise", "export", out, "--out", Path(f"{out.resolve().name}.model"), *consent),
    )


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(
            f"--seeds takes whole numbers separated by commas, such as 1,2,3; got {text!r}"
        ) from None


def _show_seeds(trained: "TrainedSeeds", consent: list[str]) -> None:
    """Print the validation metric of each run, and the command that compares them with baselines."""
    show_table(
        "seeds",
        ["seed", f"valid {trained.metric}", "run"],
        [[str(run.seed), f"{run.value:.4f}", run.path] for run in trained.runs],
    )
    typer.echo(str(trained))
    show_next(("reprise", "evaluate", *(run.path for run in trained.runs), *BASELINES, *consent))


def read_recipe(file: Path | None, overrides: list[str], *, trusted: bool = False) -> "Recipe":
    """Return the recipe of a file, or the default recipe, with overrides applied."""
    from reprise.config import load_toml

    return recipe_of(load_toml(file) if file else {}, overrides, trusted=trusted)


def recipe_of(data: dict[str, Any], overrides: list[str], *, trusted: bool = False) -> "Recipe":
    """Return the recipe in the content of a file, with overrides applied. Checks the name of its metric."""
    from reprise.config import apply_overrides, from_dict
    from reprise.training import Recipe
    from reprise.training.validation import validation_metric

    recipe: Recipe = from_dict(
        apply_overrides(data, overrides, Recipe, trusted=trusted), Recipe, trusted=trusted
    )
    if recipe.training.metric:
        validation_metric(recipe.training.metric, trusted=trusted)
    return recipe
