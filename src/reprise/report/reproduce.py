"""A report again, from its own file: the same models, asked the same, give the same numbers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reprise.data.dataset import SequenceDataset
from reprise.errors import ArtefactError, DataError
from reprise.evaluation.evaluator import Options
from reprise.evaluation.metrics import find_metric
from reprise.report.candidates import open_common
from reprise.report.comparison_file import Comparison
from reprise.report.evaluate_candidates import Questions

COMPARED = ("reports", "pooled")
"""What must be the same of each entrant; times may not be."""


def questions_of(study: Comparison, *, trusted: bool = False) -> Questions:
    """What the entrants of a study were asked.

    Raises:
        ArtefactError: Its protocol is damaged.
    """
    told = study["protocol"]
    try:
        return Questions(
            told["part"],
            tuple(told["at"]),
            told["exclude_seen"],
            told["min_history"],
            _options_of(study["options"], trusted),
            study["metric"],
        )
    except (KeyError, TypeError) as error:
        raise ArtefactError(f"the protocol of the report is damaged ({error!r})") from None


def _options_of(written: dict[str, Any], trusted: bool) -> Options:
    names = written.get("metrics")  # reports from before 0.1.0 have the built-in metrics only
    own = {} if names is None else {"metrics": tuple(find_metric(name, trusted=trusted) for name in names)}
    return Options(**{**written, **own})


def entrants_of(study: Comparison) -> tuple[list[Path], list[str]]:
    """(runs, baselines) that a study compared.

    Raises:
        ArtefactError: A run is not there any more.
    """
    runs = [Path(run) for entrant in study["entrants"] for run in entrant["runs"]]
    for run in runs:
        if not run.exists():
            raise ArtefactError(
                f"the report compared the run {run}, and it is not there any more (seen from {Path.cwd()}); "
                "go to where it was made, or train that run again"
            )
    return runs, [entrant["baseline"] for entrant in study["entrants"] if entrant["baseline"]]


def dataset_of(study: Comparison, runs: list[Path], moved: Path | None) -> SequenceDataset:
    """The dataset that a study was made on.

    Raises:
        DataError: It is not there, or another one is.
    """
    where = moved or (Path(study["dataset"]["path"]) if study["dataset"]["path"] else None)
    dataset = open_common(runs, where)
    if dataset.fingerprint != study["dataset"]["fingerprint"]:
        raise DataError(
            f"{dataset.path} is not what the report was made on (fingerprint {dataset.fingerprint}, "
            f"the report has {study['dataset']['fingerprint']}); name the right one with --dataset DIR"
        )
    return dataset


def check_same(before: Comparison, now: Comparison) -> int:
    """How many numbers a study and its repetition have in common: all of them.

    Raises:
        DataError: One differs.
    """
    numbers = 0
    for old, new in zip(_compared(before), _compared(now), strict=True):
        for place, first, second in _leaves(old, new):
            if first != second:
                raise DataError(
                    f"the report does not repeat: {place} was {first!r} and is {second!r} now; the same run on the same "
                    "machine with the same versions gives the same numbers"
                )
            numbers += isinstance(first, (int, float))
    return numbers


def _compared(study: Comparison) -> list[Any]:
    entrants = {
        entrant["name"]: {key: entrant[key] for key in COMPARED}  # type: ignore[literal-required]
        for entrant in study["entrants"]
    }
    return [entrants, {"verdicts": study["verdicts"]}, {"examples": study["examples"]}]


def _leaves(old: Any, new: Any, place: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Every value of two structures side by side, and where it stands."""
    if isinstance(old, dict) and isinstance(new, dict) and old.keys() == new.keys():
        for key in old:
            yield from _leaves(old[key], new[key], f"{place}, {key}" if place else str(key))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, pair in enumerate(zip(old, new, strict=True), start=1):
            yield from _leaves(*pair, f"{place} {number}")
    else:
        yield place, old, new
