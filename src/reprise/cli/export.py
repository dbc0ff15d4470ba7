"""`reprise export`: from a run to the directory that ships."""

import json
from pathlib import Path
from typing import Annotated, Any

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

    Recommender(*load_run(run, dataset), training=training_facts(run)).save(out)
    typer.echo(f"wrote {out}")
    show_next(f"reprise recommend {out} HISTORIES --k 20")


def training_facts(path: Path) -> dict[str, Any]:
    """What a run directory knows about the training, for the model card."""
    from reprise.training.run import RunDirectory

    told = RunDirectory(path).read()
    training = told["recipe"]["training"]
    epochs = [json.loads(line) for line in (path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    best = max(epochs, key=lambda epoch: float(epoch[f"valid {training['metric']}"]))
    return {
        "hyper-parameters": {name: value for name, value in training.items() if name != "class"},
        "seed": told["seed"],
        "epochs trained": len(epochs),
        "best epoch": best,
    }
