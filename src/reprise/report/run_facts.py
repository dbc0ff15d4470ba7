"""Facts about how models were trained, read from run directories and search directories for the report."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import mean
from typing import Any

from reprise.errors import ArtefactError, command_line
from reprise.path_kinds import instead, kind_of
from reprise.report.comparison_file import EpochRecord, SearchRecord, TrainingRecord
from reprise.training.run_directory import RunDirectory
from reprise.training.tuning.search_directory import SearchDirectory
from reprise.training.validation import metrics_of

METRICS = "metrics.jsonl"
"""Name of the file in a run directory that holds one JSON object per epoch."""
SEARCH_KEYS = ("metric", "trials", "best", "importance", "note")
"""Keys of a search result that the report takes over."""


def read_training(runs: Iterable[Path], recipe: dict[str, Any]) -> TrainingRecord:
    """Read the learning curves of all runs of a recipe, and the mean of their training times.

    Raises:
        ArtefactError: The epoch records of a run are damaged.
    """
    metric = str(recipe["training"]["metric"])
    curves = [[_curve(part, metric) for part in _members(RunDirectory(run))] for run in runs]
    # the members of an ensemble are trained one after the other
    times = [sum(curve[-1]["seconds"] for curve in run if curve) for run in curves if any(run)]
    return TrainingRecord(
        seconds=mean(times) if times else None,
        metric=metric,
        curve=[curve for run in curves for curve in run if curve],
    )


def read_search(path: Path) -> SearchRecord:
    """Read the result of a hyper-parameter search.

    Args:
        path: Directory that `reprise tune` wrote.

    Raises:
        ArtefactError: The search is not finished, or its result is damaged.
    """
    file = SearchDirectory(path).result
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        facts: SearchRecord = {key: found[key] for key in SEARCH_KEYS}  # type: ignore[assignment]
        return facts
    except (FileNotFoundError, NotADirectoryError):
        if kind_of(path) == "search":
            again = command_line("reprise", "tune", "DATASET", "--out", path)
            raise ArtefactError(
                f"{path} holds no finished search (no {file.name}); `{again}` continues it"
            ) from None
        raise ArtefactError(f"{path} holds no finished search {instead(path, 'search')}") from None
    except OSError as error:
        raise ArtefactError(f"cannot read {file} ({error.strerror or error})") from None
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ArtefactError(f"{file} is damaged ({error!r}); search again in another directory") from None


def _members(run: RunDirectory) -> Iterator[RunDirectory]:
    """Yield the runs of the members of an ensemble, or the run itself for a single model."""
    number = 1
    while run.member(number).path.exists():
        yield run.member(number)
        number += 1
    if number == 1:
        yield run


def _curve(run: RunDirectory, metric: str) -> list[EpochRecord]:
    file = run.path / METRICS
    if not file.exists():
        return []
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
        records = [record for record in map(json.loads, lines) if "epoch" in record]
        return list(_points(records, metric))
    except (ValueError, KeyError, TypeError) as error:
        raise ArtefactError(f"{file} is damaged ({error!r}); it holds one JSON object per epoch") from None


def _points(records: list[dict[str, Any]], metric: str) -> Iterator[EpochRecord]:
    seconds = 0.0
    for record in records:
        seconds += record["seconds"]
        yield EpochRecord(
            epoch=record["epoch"],
            seconds=round(seconds, 3),
            loss=record["loss"],
            value=metrics_of(record)[metric],
        )
