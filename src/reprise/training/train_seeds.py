"""Training of one recipe with several seeds: a run for each, one after the other or in parallel processes."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

from reprise.argument_checks import file_path, instance, listed, whole
from reprise.data.dataset import SequenceDataset
from reprise.data.leakage.checks import check_leaks
from reprise.directory_lock import locked_directory
from reprise.errors import ArtefactError, ConfigError, RepriseError
from reprise.models.networks.ensemble import Ensemble
from reprise.path_kinds import NAMES, kind_of
from reprise.progress import JobsProgress
from reprise.training.parallel.train_runs import PlannedRun, RunFailures, train_in_workers
from reprise.training.parallel.worker_pool import check_not_distributed, check_workers, threads_per_worker
from reprise.training.private.refusals import check_not_private
from reprise.training.recipe import Recipe, RunOptions, TrainingConfig, recipe_for
from reprise.training.run_directory import MEMBERS, RunDirectory, manifest_of, report_line
from reprise.training.start_run import train
from reprise.training.validation import metrics_of

MAX_SEED = 2**63 - 1
"""Largest seed."""


class TrainedSeed(NamedTuple):
    """A finished run of `train_seeds`."""

    seed: int
    path: Path
    """Its run directory."""
    value: float
    """Its validation metric: that of the best epoch, or of the corrections of the logits if they are kept."""


@dataclass(frozen=True)
class TrainedSeeds:
    """The runs of `train_seeds`, which differ in the seed only."""

    metric: str
    """Name of the validation metric, such as `ndcg@10`."""
    runs: tuple[TrainedSeed, ...]
    """The runs in the order of the seeds."""

    @property
    def mean(self) -> float:
        """Mean of the validation metric over the seeds."""
        return mean(run.value for run in self.runs)

    @property
    def standard_deviation(self) -> float | None:
        """Standard deviation of the validation metric over the seeds (divisor n - 1); None for one seed."""
        return stdev(run.value for run in self.runs) if len(self.runs) > 1 else None

    def __str__(self) -> str:
        """Return the mean and the standard deviation in words."""
        spread = self.standard_deviation
        if spread is None:
            return f"valid {self.metric} {self.mean:.4f} with one seed"
        return (
            f"valid {self.metric} over {len(self.runs)} seeds: mean {self.mean:.4f}, "
            f"standard deviation {spread:.4f}"
        )


def train_seeds(
    model: Any,
    dataset: SequenceDataset,
    out: str | Path,
    seeds: Iterable[int],
    *,
    training: TrainingConfig | None = None,
    options: RunOptions | None = None,
    progress: bool | None = None,
) -> TrainedSeeds:
    """Train a network or an ensemble with several seeds, or resume what was interrupted.

    Each run is the one that `train` makes with this seed and the same number of threads, bit for bit. `reprise.evaluate`
    and `reprise.evaluation.compare_models` compare models over seeds.

    Args:
        model: The spec of a network or of an ensemble, or a whole `Recipe`.
        dataset: As for `train`; on disk if there are several workers.
        out: Directory for the runs: `seed-1`, `seed-2` and so on.
        seeds: Seeds, each once. Those of an ensemble differ by its number of members or more, because its members have
            consecutive seeds.
        training: Hyper-parameters of training; by default those of the recipe.
        options: As for `train`, without the seed. `workers` processes train in parallel, each with an equal share of the
            threads unless `threads` is given.
        progress: As for `train`.

    Returns:
        The validation metric of each run. `load_run` opens the network of a run.

    Raises:
        ConfigError: A seed is invalid, a directory holds another run, or a worker process has died.
        RepriseError: A run has failed, with an error of the class that `train` raises. The other runs are finished first,
            and the same call resumes.
    """
    recipe = recipe_for(model, dataset, training)
    options = instance(
        "options", RunOptions() if options is None else options, RunOptions, "write RunOptions(...)"
    )
    check_not_private(recipe, "train_seeds (--seeds)")
    checked = _checked_seeds(seeds, recipe)
    path = file_path("out", out)
    check_not_distributed("train_seeds (--seeds)")
    workers = min(options.workers, len(checked))
    check_workers(workers, dataset)
    check_leaks(dataset)  # once here, not in each run
    _check_directory(path)
    threads = threads_per_worker(options.threads, workers)
    runs = [
        PlannedRun(
            f"seed {seed}",
            recipe,
            RunDirectory(path / f"seed-{seed}"),
            replace(options, seed=seed, workers=1, threads=threads),
        )
        for seed in checked
    ]
    for run in runs:
        run.directory.check(manifest_of(recipe, dataset, run.options.seed))
    with locked_directory(path, "trains in"):
        if workers == 1:
            failures = _train_in_turn(runs, dataset, progress)
        else:
            with JobsProgress(progress, len(runs)) as bar:
                failures = train_in_workers(_train_seed, runs, dataset, workers, bar)
        failures.check()
    metric = recipe.training.metric
    return TrainedSeeds(
        metric,
        tuple(
            TrainedSeed(run.options.seed, run.directory.path, _read_value(run.directory, metric))
            for run in runs
        ),
    )


def _checked_seeds(seeds: Iterable[int], recipe: Recipe) -> list[int]:
    checked = [
        whole("each seed", seed, low=0, high=MAX_SEED) for seed in listed("seeds", seeds, "whole numbers")
    ]
    if not checked:
        raise ConfigError("seeds is empty; name one seed or more, such as 1,2,3")
    members = recipe.model.members if isinstance(recipe.model, Ensemble) else 1
    ordered = sorted(checked)
    for first, second in pairwise(ordered):
        if first == second:
            raise ConfigError(f"seed {first} is named twice; name each seed once")
        if second - first < members:
            apart = ",".join(str(first + number * members) for number in range(len(checked)))
            raise ConfigError(
                f"seeds {first} and {second} of an ensemble of {members} members have members in common, because members "
                f"have consecutive seeds; name seeds that are {members} or more apart, such as {apart}"
            )
    return checked


def _check_directory(path: Path) -> None:
    kind = kind_of(path)
    if kind is not None:
        raise ConfigError(
            f"{path} is {NAMES[kind]}, not a directory for the runs of several seeds; choose another --out"
        )


def _train_in_turn(runs: list[PlannedRun], dataset: SequenceDataset, progress: bool | None) -> RunFailures:
    """Train one run after the other in this process, and return those that have failed."""
    failures = RunFailures(runs)
    bar = JobsProgress(progress, len(runs))
    for number, run in enumerate(runs, start=1):
        report_line(bar, f"{run.name} ({number} of {len(runs)})")
        try:
            _train_seed(run.recipe, dataset, run.directory, run.options, progress)
        except RepriseError as error:
            failures.add(run, error)
            report_line(bar, f"{run.name} failed: {error}")
    return failures


def _train_seed(
    recipe: Recipe,
    dataset: SequenceDataset,
    run: RunDirectory,
    options: RunOptions,
    show_progress: bool | None,
) -> None:
    train(recipe, dataset, run.path, options=options, progress=show_progress)


def _read_value(run: RunDirectory, metric: str) -> float:
    """Return the validation metric of a finished run from its records."""
    file = run.path / "metrics.jsonl"
    try:
        records = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        value = max(
            metrics_of(record)[metric] for record in records if "epoch" in record or MEMBERS in record
        )
        kept = [record for record in records if record.get("transitions", {}).get("kept")]
        return float(metrics_of(kept[-1])[metric] if kept else value)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtefactError(f"{file} is damaged ({error!r}); train again in another directory") from None
