"""`reprise fit-forecast`: add heads for the kind and the time of the next event to a finished run."""

from pathlib import Path
from typing import Annotated

import typer

from reprise.cli.console import show_next
from reprise.cli.shared_options import DatasetOption, Trusted

EXAMPLE = "reprise fit-forecast runs/shop"


def fit_forecast(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A directory that `train` wrote.")],
    dataset: DatasetOption = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Seed of the fit.")] = 1,
    trusted: Trusted = False,
) -> None:
    """Fit heads that forecast the kind and the time of the next event. The network and its ranking do not change."""
    from reprise.training import add_forecast

    heads = add_forecast(run, dataset, trusted=trusted, seed=seed)
    for what, head in (("kind", heads.kind), ("time", heads.gap)):
        if head is not None:
            reads = "the state and the last events" if head.reads_query else "the last events"
            typer.echo(f"next {what}: reads {reads}")
    show_next(("reprise", "evaluate", run), ("reprise", "forecast", run, "HISTORIES"))
