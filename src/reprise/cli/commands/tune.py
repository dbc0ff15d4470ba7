"""`reprise tune`: search for the best recipe on a prepared dataset."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reprise.cli.commands.train import recipe_of
from reprise.cli.console import show_next, show_table, unused
from reprise.cli.shared_options import (
    Accelerator,
    DatasetDirectory,
    Forget,
    ForgetTenant,
    Overrides,
    Trusted,
    drop_unset,
)

if TYPE_CHECKING:
    from reprise.training.recipe import Recipe
    from reprise.training.tuning.search_directory import Search

EXAMPLE = (
    "reprise tune data/shop --out runs/search --space model.size=32,64,128 --space model.dropout=0..0.6 "
    "--space training.learning_rate=1e-4..1e-2:log --trials 30 --workers 2"
)
MAX_ROWS = 10
"""Maximum number of trials in the table."""
SPACE = "space"
"""Section of a recipe file with the search space."""


def tune(
    path: DatasetDirectory,
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Directory for the trials, tune.json and best.toml.")
    ],
    recipe: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="TOML file with the sections [model], [training] and [space]."),
    ] = None,
    overrides: Overrides = None,
    space: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUES",
            help="Field to search: 32,64,128 or 0..0.6 or 1..4 or 1e-4..1e-2:log; repeatable.",
            show_default="common fields of the model",
        ),
    ] = None,
    trials: Annotated[int, typer.Option(metavar="N", min=1, help="Total number of trials.")] = 30,
    workers: Annotated[
        int, typer.Option(metavar="N", min=1, help="Number of processes that run trials in parallel.")
    ] = 1,
    timeout: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="Stop after this time, such as 90min or 2h; the same command resumes."
        ),
    ] = None,
    pruner: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Rule that ends trials early: median, hyperband or none.",
            show_default="median",
        ),
    ] = None,
    keep: Annotated[
        str | None,
        typer.Option(metavar="best|all", help="Trials whose weights are kept.", show_default="best"),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="Seed of the proposals and of each trial.")
    ] = None,
    accelerator: Accelerator = None,
    threads: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Number of CPU threads per trial.", show_default="1"),
    ] = None,
    forget: Forget = None,
    tenant: ForgetTenant = None,
    trusted: Trusted = False,
) -> None:
    """Search for the best recipe on the validation part. The same command resumes an interrupted search."""
    from reprise.cli.forget_option import open_for_training
    from reprise.data.timestamps import parse_duration
    from reprise.training.recipe import RunOptions
    from reprise.training.tuning.search_directory import SearchOptions
    from reprise.training.tuning.tune import tune as search_recipes

    plan, written = read_plan(recipe, overrides or [], space or [], trusted=trusted)
    timeout_s = parse_duration(timeout) / 1000 if timeout else None
    found = search_recipes(
        plan,
        open_for_training(path, forget, tenant, trusted),
        out,
        written or None,
        trials=trials,
        workers=workers,
        options=RunOptions(**drop_unset(seed=seed, accelerator=accelerator, threads=threads)),
        search=SearchOptions(progress=True, **drop_unset(timeout_s=timeout_s, pruner=pruner, keep=keep)),
    )
    show_search(found)
    left = trials - len(found.ranked())
    if left > 0:
        typer.echo(f"{left} trials are left; run the same command again to resume")
    typer.echo(f"wrote {out / 'tune.json'} and {out / 'best.toml'}")
    if hasattr(found.recipe.model, "build"):
        _show_next(path, out, ["--trusted"] * trusted)


def _show_next(path: Path, out: Path, consent: list[str]) -> None:
    run = unused(Path("runs") / "best")
    show_next(
        ("reprise", "train", path, "--recipe", out / "best.toml", "--out", run, *consent),
        ("reprise", "evaluate", run, "--baselines", "popularity,markov,cooccurrence", *consent),
    )


def read_plan(
    file: Path | None, overrides: list[str], space: list[str], *, trusted: bool = False
) -> "tuple[Recipe, dict[str, Any]]":
    """Return the recipe of a file with overrides applied, and the space of the file and of the command line."""
    from reprise.config import load_toml
    from reprise.errors import ConfigError
    from reprise.training.tuning.search_space import parse_options, parse_space

    data = load_toml(file) if file else {}
    section = data.pop(SPACE, {})
    if not isinstance(section, dict):
        raise ConfigError(f"[{SPACE}] of {file} must be a section of fields, got {section!r}")
    plan = recipe_of(data, overrides, trusted=trusted)
    return plan, {**parse_space(section), **parse_space(parse_options(space))}


def show_search(found: "Search") -> None:
    """Print the best trials and the importance of the fields."""
    from reprise.training.tuning.search_directory import format_value

    ranked = found.ranked()
    fields = list(found.best.fields)
    more = f" ({MAX_ROWS} of {len(ranked)})" if len(ranked) > MAX_ROWS else ""
    show_table(
        f"trials{more}",
        ["trial", f"valid {found.metric}", "", *(name.rpartition(".")[2] for name in fields), "epochs", "s"],
        [
            [
                trial.number,
                "" if trial.value is None else f"{trial.value:.4f}",
                "" if trial.state == "complete" else trial.state,
                *(format_value(trial.fields.get(name, "")) for name in fields),
                len(trial.values),
                round(trial.seconds),
            ]
            for trial in ranked[:MAX_ROWS]
        ],
    )
    if found.importance:
        show_table(
            "importance",
            ["field", "share"],
            [[name, f"{share:.0%}"] for name, share in found.importance.items()],
        )
    typer.echo(found.note)
