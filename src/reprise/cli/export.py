"""`reprise export`: from a run to the directory that ships."""

from pathlib import Path
from typing import Annotated

import typer

from reprise.cli.options import MovedDataset
from reprise.cli.show import show_next

EXAMPLE = "reprise export runs/shop --out shop.model"


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A directory that `train` wrote.")],
    out: Annotated[Path, typer.Option(metavar="MODEL", help="The model directory to write.")],
    dataset: MovedDataset = None,
) -> None:
    """Write the model of a run as a directory that answers without torch: weights, ONNX, items, model card."""
    from reprise.recommender.recommender import Recommender
    from reprise.training import load_run

    Recommender(*load_run(run, dataset)).save(out)
    typer.echo(f"wrote {out}")
    show_next(f"reprise recommend {out} HISTORIES --k 20")
