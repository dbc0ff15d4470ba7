"""Which models are compared: runs, joined where only the seed differs, and baselines; each with a name of its own."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from reprise.config import from_dict, to_dict
from reprise.data.dataset import SequenceDataset
from reprise.errors import ConfigError, DataError
from reprise.training.recipe import Recipe
from reprise.training.run_directory import RunDirectory


@dataclass(frozen=True)
class Contestant:
    """A model before it is asked: the runs of one recipe, or a baseline."""

    name: str
    runs: tuple[Path, ...] = ()
    """One for each seed; none for a baseline."""
    seeds: tuple[int, ...] = ()
    baseline: str | None = None
    """As it is named on the command line."""
    recipe: dict[str, Any] | None = None
    """That of the runs, with today's defaults where the run did not know a field."""


def contestants(runs: Iterable[Path], baselines: Iterable[str], *, trusted: bool = True) -> list[Contestant]:
    """The entrants of a comparison: runs first, in order, then baselines.

    Runs of one recipe with different seeds are one entrant. The same recipe with the same seed twice is two, since
    something else must differ: the version that trained them, say.

    Args:
        runs: Directories.
        baselines: As they are named on the command line.
        trusted: Whether a run's recipe may name classes outside this package: it may where a person named the run.

    Raises:
        ArtefactError: A directory is no run.
        ConfigError: Nothing was named, or something twice, or what is not trusted.
    """
    runs, baselines = list(runs), list(baselines)
    if not runs and not baselines:
        raise ConfigError("nothing to evaluate: name a run, or baselines with --baselines")
    _check_once([str(run.resolve()) for run in runs], "run")
    _check_once(baselines, "baseline")
    joined: list[Contestant] = []
    for run in runs:
        _join(joined, _read(run, trusted))
    return [*_named_apart(joined), *(Contestant(name, baseline=name) for name in baselines)]


def open_common(runs: Sequence[Path], moved: Path | None) -> SequenceDataset:
    """The dataset that all runs were trained on.

    Args:
        runs: Directories.
        moved: Where it lies now, when it has moved since; where there are no runs, where it is.

    Raises:
        ConfigError: The runs were trained on different datasets, or there is none to say where it is.
        DataError: It is not where it was, or not what the runs were trained on.
    """
    told = [RunDirectory(run).read() for run in runs]
    for run, manifest in zip(runs, told, strict=True):
        if manifest["fingerprint"] != told[0]["fingerprint"]:
            raise ConfigError(
                f"{run} was trained on another dataset than {runs[0]} "
                f"({manifest['dataset']}, not {told[0]['dataset']}); only models of one dataset can be compared"
            )
    where = moved or next((manifest["dataset"] for manifest in told if manifest["dataset"]), None)
    if where is None:
        what = f"{runs[0]} was trained" if runs else "the report was made"
        raise ConfigError(f"{what} on data in memory; say where the data is (--dataset DIR)")
    dataset = SequenceDataset.open(where)
    if told and dataset.fingerprint != told[0]["fingerprint"]:
        raise DataError(
            f"{where} is not what {runs[0]} was trained on (fingerprint {dataset.fingerprint}, "
            f"trained on {told[0]['fingerprint']}); name the right one with --dataset DIR"
        )
    return dataset


def _check_once(names: list[str], what: str) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ConfigError(f"the {what} {twice[0]} is named twice; name it once")


def _read(run: Path, trusted: bool) -> Contestant:
    told = RunDirectory(run).read()
    recipe: Recipe = from_dict(told["recipe"], Recipe, trusted=trusted)
    return Contestant(str(recipe.model), (run,), (told["seed"],), recipe=to_dict(recipe))


def _join(joined: list[Contestant], one: Contestant) -> None:
    """Put a run to the first entrant of its recipe that has not its seed."""
    for place, other in enumerate(joined):
        if other.recipe == one.recipe and one.seeds[0] not in other.seeds:
            joined[place] = replace(other, runs=other.runs + one.runs, seeds=other.seeds + one.seeds)
            return
    joined.append(one)


def _named_apart(entrants: list[Contestant]) -> list[Contestant]:
    """By their specs, where these clash by the directory of their first run, and where these clash by its path."""
    for rename in (lambda run: run.resolve().name, str):
        counts = Counter(entrant.name for entrant in entrants)
        entrants = [
            entrant if counts[entrant.name] == 1 else replace(entrant, name=rename(entrant.runs[0]))
            for entrant in entrants
        ]
    return entrants
