"""`reprise export`: from a run to the directory that ships."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from reprise.cli.console import show_next
from reprise.cli.options import DatasetOption
from reprise.errors import ArtefactError

EXAMPLE = "reprise export runs/shop --out shop.model"


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A directory that `train` wrote.")],
    out: Annotated[Path, typer.Option(metavar="MODEL", help="The model directory to write.")],
    dataset: DatasetOption = None,
) -> None:
    """Write the model of a run as a directory that answers without torch: weights, ONNX, items, model card."""
    from reprise.recommender.recommender import Recommender
    from reprise.training import load_run

    Recommender(*load_run(run, dataset), training=training_facts(run)).save(out)
    typer.echo(f"wrote {out}")
    show_next(f"reprise recommend {out} HISTORIES --k 20", f"reprise serve {out} --store sqlite:///events.db")


def training_facts(path: Path) -> dict[str, Any]:
    """What a run directory knows about the training, for the model card."""
    from reprise.training.run_directory import MEMBERS, RunDirectory
    from reprise.training.validation import VALID

    told = RunDirectory(path).read()
    training = told["recipe"]["training"]
    metric = f"{VALID}{training['metric']}"
    records = _records(path / "metrics.jsonl", metric)
    epochs = [record for record in records if "epoch" in record]
    joined = [record for record in records if MEMBERS in record]
    learned: dict[str, Any] = (
        {
            "epochs trained": len(epochs),
            "best epoch": max(epochs, key=lambda epoch: float(epoch[metric])),
        }
        if epochs
        else {"members together": joined[0]}
    )
    after: dict[str, Any] = {
        name: record[name] for record in records for name in ("transitions", "refit") if name in record
    }
    # what the run was not told it chose by the data and the width, and wrote down
    chosen = {
        name: record[name] for record in epochs for name in ("tokens", "learning_rate") if name in record
    }
    return {
        "hyper-parameters": {
            name: value for name, value in {**training, **chosen}.items() if name != "class"
        },
        "seed": told["seed"],
        **learned,
        **after,
    }


def _records(file: Path, metric: str) -> list[dict[str, Any]]:
    """The records of the epochs or of joined members, at least one with a number for the metric, and of what came after."""
    from reprise.training.run_directory import MEMBERS

    again = "copy the run again, or train again in another directory"
    try:
        records = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    except FileNotFoundError:
        raise ArtefactError(f"{file} is missing; {again}") from None
    except ValueError as error:
        raise ArtefactError(f"{file} is damaged ({error}); {again}") from None
    for number, record in enumerate(records, 1):
        # what came after the epochs need not have one
        fine = isinstance(record, dict) and (
            "epoch" not in record or isinstance(record.get(metric), int | float)
        )
        if not fine:
            raise ArtefactError(f"{file} is damaged (line {number} has no number {metric!r}); {again}")
    if not any("epoch" in record or MEMBERS in record for record in records):
        raise ArtefactError(f"{file} is damaged (it has no epoch); {again}")
    return records
