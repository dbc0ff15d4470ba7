"""`reprise train`: train a network on a prepared dataset."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reprise.cli.console import show_next
from reprise.cli.shared_options import Accelerator, DatasetDirectory, Overrides, Trusted, drop_unset

if TYPE_CHECKING:
    from reprise.training import Recipe

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
    accelerator: Accelerator = None,
    threads: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, help="Number of CPU threads.", show_default="torch's choice"),
    ] = None,
    logger: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Also log each epoch to tensorboard, mlflow or wandb.", show_default="none"
        ),
    ] = None,
    trusted: Trusted = False,
) -> None:
    """Train a network or an ensemble. The same command resumes an interrupted run exactly."""
    from reprise.data.dataset import SequenceDataset
    from reprise.training import RunOptions
    from reprise.training import train as train_network

    plan = read_recipe(recipe, overrides or [], trusted=trusted)
    options = RunOptions(**drop_unset(seed=seed, accelerator=accelerator, threads=threads, logger=logger))
    data = SequenceDataset.open(path)
    train_network(plan, data, out=out, options=options, progress=True)
    typer.echo(f"the run of {plan.model} is in {out}")  # true for a run that was finished before, too
    consent = ["--trusted"] * trusted
    show_next(
        ("reprise", "evaluate", out, "--baselines", "popularity,markov,cooccurrence", *consent),
        ("reprise", "recommend", out, "HISTORIES", "--k", min(20, data.items.warm), *consent),
        ("reprise", "export", out, "--out", Path(f"{out.resolve().name}.model"), *consent),
    )


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
