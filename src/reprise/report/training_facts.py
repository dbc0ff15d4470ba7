"""How a run came to be: its learning curves and its training time, from the records of its epochs."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import mean
from typing import Any

from reprise.errors import ArtefactError
from reprise.report.comparison_file import Epoch, Training
from reprise.training.run_directory import RunDirectory
from reprise.training.validation import metrics_of

METRICS = "metrics.jsonl"


def training_of(runs: Iterable[Path], recipe: dict[str, Any]) -> Training:
    """The curves of all runs of a recipe, and the mean of their training times.

    Raises:
        ArtefactError: The records of a run are damaged.
    """
    metric = str(recipe["training"]["metric"])
    curves = [[_curve(part, metric) for part in _parts(RunDirectory(run))] for run in runs]
    # the members of an ensemble are trained one after the other
    times = [sum(curve[-1]["seconds"] for curve in run if curve) for run in curves if any(run)]
    return Training(
        seconds=mean(times) if times else None,
        metric=metric,
        curve=[curve for run in curves for curve in run if curve],
    )


def _parts(run: RunDirectory) -> Iterator[RunDirectory]:
    """The run itself, or the runs of its members."""
    number = 1
    while run.member(number).path.exists():
        yield run.member(number)
        number += 1
    if number == 1:
        yield run


def _curve(run: RunDirectory, metric: str) -> list[Epoch]:
    file = run.path / METRICS
    if not file.exists():
        return []
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
        records = [record for record in map(json.loads, lines) if "epoch" in record]
        return list(_points(records, metric))
    except (ValueError, KeyError, TypeError) as error:
        raise ArtefactError(f"{file} is damaged ({error!r}); it holds one JSON object an epoch") from None


def _points(records: list[dict[str, Any]], metric: str) -> Iterator[Epoch]:
    seconds = 0.0
    for record in records:
        seconds += record["seconds"]
        yield Epoch(
            epoch=record["epoch"],
            seconds=round(seconds, 3),
            loss=record["loss"],
            value=metrics_of(record)[metric],
        )
