"""Find the candidates of a comparison: runs, grouped if they differ only in the seed, and baselines."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from reprise.argument_checks import file_path, instance, listed
from reprise.config import from_dict, to_dict
from reprise.data.dataset import SequenceDataset
from reprise.errors import ConfigError
from reprise.path_kinds import kind_of
from reprise.training.recipe import Recipe
from reprise.training.run_directory import NAME_DATASET, RunDirectory


@dataclass(frozen=True)
class CandidateSource:
    """Where the models of a candidate come from: the runs of one recipe, or a baseline."""

    name: str
    """Name of the candidate, different from all others."""
    runs: tuple[Path, ...] = ()
    """Run directories, one for each seed; none for a baseline."""
    seeds: tuple[int, ...] = ()
    """Seeds of the runs, in the same order."""
    baseline: str | None = None
    """Name of the baseline on the command line; None for runs."""
    lists: Path | None = None
    """File with ranked lists of other software; None for models."""
    trusted: bool = False
    """Whether the runs may import classes outside this package."""
    recipe: dict[str, Any] | None = None
    """Recipe of the runs, with the current default of each field that an older run does not have."""


def find_candidates(
    runs: Iterable[str | Path],
    baselines: Iterable[str],
    *,
    lists: Mapping[str, str | Path] | None = None,
    trusted: bool = False,
) -> list[CandidateSource]:
    """Return the candidates of a comparison: runs first, in order, then baselines, then lists.

    Runs of one recipe with different seeds are one candidate. Runs with the same recipe and the same seed are two, since
    something else must differ, such as the version that trained them.

    Args:
        runs: Run directories.
        baselines: Names of baselines, as on the command line.
        lists: Files with ranked lists of other software, by name.
        trusted: Whether the recipe of a run may import classes outside this package, which runs their code. Without it, it may
            name only classes whose modules the program has imported already.

    Raises:
        ArtefactError: A directory is not a run.
        ConfigError: Nothing is named, something is named twice, or a class is not trusted.
    """
    paths = [file_path("each run", run) for run in listed("runs", runs, "run directories")]
    baselines = listed("baselines", baselines, "names of baselines")
    for baseline in baselines:
        instance("each baseline", baseline, str, "write a name such as 'markov'")
    files = [CandidateSource(name, lists=file_path("lists", file)) for name, file in (lists or {}).items()]
    if not paths and not baselines and not files:
        raise ConfigError("nothing to evaluate: name a run, or baselines with --baselines")
    _check_once([str(run.resolve()) for run in paths], "run")
    _check_once(baselines, "baseline")
    joined: list[CandidateSource] = []
    for run in paths:
        _join(joined, _read(run, trusted))
    candidates = [*_distinct_names(joined), *(CandidateSource(name, baseline=name) for name in baselines)]
    taken = next((one.name for one in files if one.name in {other.name for other in candidates}), None)
    if taken is not None:
        raise ConfigError(f"the lists {taken!r} have the name of a model; choose another, such as 'theirs'")
    return [*candidates, *files]


def open_common(runs: Sequence[Path], moved: Path | None) -> SequenceDataset:
    """Open the dataset that all runs were trained on.

    Args:
        runs: Run directories.
        moved: Directory of the dataset, if it has moved since training or there are no runs.

    Raises:
        ConfigError: The runs were trained on different datasets, or the directory of the dataset is not known.
        DataError: The dataset is not there, or is not the one that the runs were trained on.
    """
    manifests = [RunDirectory(run).read() for run in runs]
    for run, manifest in zip(runs, manifests, strict=True):
        if manifest["fingerprint"] != manifests[0]["fingerprint"]:
            raise ConfigError(
                f"{run} was trained on another dataset than {runs[0]} "
                f"({manifest['dataset']}, not {manifests[0]['dataset']}); only models of one dataset can be compared"
            )
    if runs:
        # if the dataset was moved, not every run has its present place
        known = (
            run
            for run, manifest in zip(runs, manifests, strict=True)
            if manifest["dataset"] and kind_of(Path(manifest["dataset"])) == "dataset"
        )
        return RunDirectory(next(known, runs[0])).open_dataset(moved)
    if moved is None:
        raise ConfigError(f"the report was made on data in memory; {NAME_DATASET}")
    return SequenceDataset.open(moved)


def _check_once(names: list[str], what: str) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ConfigError(f"the {what} {twice[0]} is named twice; name it once")


def _read(run: Path, trusted: bool) -> CandidateSource:
    manifest = RunDirectory(run).read()
    recipe: Recipe = from_dict(manifest["recipe"], Recipe, trusted=trusted or "imported", stored=True)
    return CandidateSource(
        str(recipe.model), (run,), (manifest["seed"],), recipe=to_dict(recipe), trusted=trusted
    )


def _join(joined: list[CandidateSource], one: CandidateSource) -> None:
    """Add a run to the first candidate with its recipe that does not have its seed, or as a new candidate."""
    for place, other in enumerate(joined):
        if other.recipe == one.recipe and one.seeds[0] not in other.seeds:
            joined[place] = replace(other, runs=other.runs + one.runs, seeds=other.seeds + one.seeds)
            return
    joined.append(one)


def _distinct_names(candidates: list[CandidateSource]) -> list[CandidateSource]:
    """Name candidates by their specs; equal names are replaced by the directory of the first run, or by its path."""
    for rename in (lambda run: run.resolve().name, str):
        counts = Counter(candidate.name for candidate in candidates)
        candidates = [
            candidate if counts[candidate.name] == 1 else replace(candidate, name=rename(candidate.runs[0]))
            for candidate in candidates
        ]
    return candidates
