"""Repeat a comparison from its file, and check that the numbers are the same."""

import math
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from reprise.data.dataset import SequenceDataset
from reprise.errors import ArtefactError, ConfigError, DataError
from reprise.evaluation.metrics import METRICS, Metric, find_metric
from reprise.evaluation.options import EvaluationOptions
from reprise.evaluation.protocol import EvaluationProtocol
from reprise.evaluation.stats.target_sample import TargetSample
from reprise.path_kinds import kind_of
from reprise.report.candidates import open_common
from reprise.report.comparison_file import ComparisonRecord
from reprise.training.run_directory import NAME_DATASET

COMPARED = ("reports", "pooled")
"""Parts of each candidate that must be equal; times may differ."""
PROSE = ("notes", "sentence")
"""Keys of sentences, which are not compared: another version may word them differently."""
ROUNDED = ("low", "high", "p", "p_adjusted")
"""Keys of numbers that may differ by rounding, since another version may compute the t distribution differently."""
PRECISION = 1e-9
"""Difference up to which such numbers are equal, relative or absolute."""
RENAMED = {"tokens": "events_per_batch", "length": "max_steps"}
"""Former names of options in reports of version 0.1.0 and earlier."""
MOVED = ("ties", "query_time")
"""Former options that are part of the protocol now; earlier reports have them in both places."""


def protocol_of(comparison: ComparisonRecord) -> EvaluationProtocol:
    """Return the protocol of a comparison.

    Raises:
        ArtefactError: The protocol in the file is damaged.
    """
    written = comparison["protocol"]
    try:
        found = {
            field.name: written[field.name] for field in fields(EvaluationProtocol) if field.name != "sample"
        }
        # reports of earlier versions are of all targets
        drawn = written.get("sample")
        sample = None if drawn is None else TargetSample(**drawn)
        return EvaluationProtocol(**{**found, "at": tuple(found["at"])}, sample=sample)
    except (KeyError, TypeError, ConfigError) as error:
        raise ArtefactError(f"the protocol of the report is damaged ({error!r})") from None


def options_of(comparison: ComparisonRecord, *, trusted: bool = False) -> EvaluationOptions:
    """Return the options of a comparison.

    Args:
        comparison: Comparison, as it was read from a file.
        trusted: Whether a metric outside this package may be imported.

    Raises:
        ArtefactError: The options in the file are damaged.
        ConfigError: A metric is not trusted, or cannot be found.
    """
    written = {
        RENAMED.get(name, name): value for name, value in comparison["options"].items() if name not in MOVED
    }
    # earlier reports do not name their metrics, which are the built-in ones
    names = written.pop("metrics", None)
    metrics = METRICS if names is None else tuple(_metric(name, trusted) for name in names)
    try:
        return EvaluationOptions(metrics=metrics, **written)
    except (TypeError, ConfigError) as error:
        raise ArtefactError(f"the options of the report are damaged ({error!r})") from None


def _metric(name: str, trusted: bool) -> Metric:
    if ":" not in name and name not in {metric.name for metric in METRICS}:
        raise ConfigError(
            f"the report has the metric {name!r}, which was passed as an object, so it cannot be found now; find it by name "
            "when you evaluate, find_metric('module:NAME', trusted=True), and the report can be repeated"
        )
    return find_metric(name, trusted=trusted)


def sources_of(comparison: ComparisonRecord) -> tuple[list[Path], list[str]]:
    """Return the runs and baselines of a comparison.

    Raises:
        ArtefactError: A run no longer exists.
    """
    runs = [Path(run) for entrant in comparison["entrants"] for run in entrant["runs"]]
    for run in runs:
        if not run.exists():
            raise ArtefactError(
                f"the report compared the run {run}, which no longer exists (searched from {Path.cwd()}); "
                "change to the directory where the report was made, or train that run again"
            )
    return runs, [entrant["baseline"] for entrant in comparison["entrants"] if entrant["baseline"]]


def lists_of(comparison: ComparisonRecord) -> dict[str, Path]:
    """Return the files of ranked lists of a comparison by name."""
    return {one["name"]: Path(file) for one in comparison["entrants"] if (file := one.get("lists"))}


def dataset_of(comparison: ComparisonRecord, runs: list[Path], moved: Path | None) -> SequenceDataset:
    """Open the dataset of a comparison.

    Args:
        comparison: Comparison, as it was read from a file.
        runs: Its run directories.
        moved: Directory of the dataset, if it has moved.

    Raises:
        DataError: The dataset does not exist, or is another one.
    """
    before = comparison["dataset"]["path"]
    if not (runs or moved) and before and kind_of(Path(before)) != "dataset":
        raise DataError(
            f"the dataset of the report is not at {before} any more; if it has moved, {NAME_DATASET}"
        )
    dataset = open_common(runs, moved or (Path(before) if before and not runs else None))
    if dataset.fingerprint != comparison["dataset"]["fingerprint"]:
        raise DataError(
            f"{dataset.path} is not the dataset of the report (fingerprint {dataset.fingerprint}, "
            f"the report has {comparison['dataset']['fingerprint']}); name the right one with --dataset DIR"
        )
    return dataset


def check_same(before: ComparisonRecord, now: ComparisonRecord) -> int:
    """Check that a comparison and its repetition have the same numbers; return how many were compared.

    A baseline may have another name than before, since another version may name its models differently.

    Raises:
        DataError: The models or a number differ; the message names the place and both values.
    """
    names = _current_names(before, now)
    models = [names.get(entrant["name"], entrant["name"]) for entrant in before["entrants"]]
    models_now = [entrant["name"] for entrant in now["entrants"]]
    if sorted(models) != sorted(models_now):
        raise DataError(f"the report was not reproduced: its models were {models} and are {models_now} now")
    numbers = 0
    for old, new in zip(_compared(before, names), _compared(now, {}), strict=True):
        for place, first, second in _leaves(old, new):
            is_renamed = isinstance(first, str) and names.get(first) == second
            if not (is_renamed or _equal(place, first, second)):
                raise DataError(
                    f"the report was not reproduced: {place} was {first!r} and is {second!r} now; the same run on the same "
                    "machine with the same versions gives the same numbers"
                )
            numbers += isinstance(first, (int, float))
    return numbers


def _current_names(before: ComparisonRecord, now: ComparisonRecord) -> dict[str, str]:
    """Return the name in `now` of each model of `before` that has the same runs or the same baseline there."""
    pairs = zip(before["entrants"], now["entrants"], strict=False)
    return {
        old["name"]: new["name"]
        for old, new in pairs
        if (old["runs"], old["baseline"], old.get("lists"))
        == (new["runs"], new["baseline"], new.get("lists"))
    }


def _compared(comparison: ComparisonRecord, names: dict[str, str]) -> list[Any]:
    entrants = {
        names.get(entrant["name"], entrant["name"]): {key: entrant[key] for key in COMPARED}  # type: ignore[literal-required]
        for entrant in comparison["entrants"]
    }
    return [entrants, {"verdicts": comparison["verdicts"]}, {"examples": comparison["examples"]}]


def _equal(place: str, first: Any, second: Any) -> bool:
    if isinstance(first, float) and isinstance(second, float) and place.rpartition(", ")[2] in ROUNDED:
        return math.isclose(first, second, rel_tol=PRECISION, abs_tol=PRECISION)
    return bool(first == second)


def _leaves(old: Any, new: Any, place: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield (place, old value, new value) for all values of two nested structures.

    Keys that only the new structure has are skipped. At the top the keys are names of candidates, which must be the same.
    """
    if isinstance(old, dict) and isinstance(new, dict) and _has_keys(old, new, exactly=not place):
        for key in (key for key in old if not (place and key in PROSE)):
            yield from _leaves(old[key], new[key], f"{place}, {key}" if place else str(key))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, pair in enumerate(zip(old, new, strict=True), start=1):
            yield from _leaves(*pair, f"{place} {number}")
    else:
        yield place, old, new


def _has_keys(old: dict[str, Any], new: dict[str, Any], *, exactly: bool) -> bool:
    return old.keys() == new.keys() if exactly else old.keys() <= new.keys()
