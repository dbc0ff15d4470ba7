"""Training an ensemble: each member is trained as a separate run, then their weights are combined in one model.

The run of a member can be resumed, evaluated and exported like any other run.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from reprise.data.dataset import SequenceDataset
from reprise.errors import ConfigError
from reprise.models.networks.ensemble import Ensemble, EnsembleScorer
from reprise.progress import JobsProgress, ProgressBar
from reprise.training.checkpoint import load_weights, read_tensors, write_tensors
from reprise.training.distributed.process_group import main_only, process_group
from reprise.training.item_content import add_item_content
from reprise.training.parallel.train_runs import PlannedRun, TrainRun, train_in_workers
from reprise.training.parallel.worker_pool import check_workers, threads_per_worker
from reprise.training.recipe import Recipe, RunOptions
from reprise.training.run_directory import FINISHED, MEMBERS, RunDirectory, report_line
from reprise.training.stages.fit_corrections import COOCCURRENCE, REPEATS, add_corrections
from reprise.training.train_step import fabric_for
from reprise.training.validation import Validation, recorded


def train_members(
    recipe: Recipe,
    dataset: SequenceDataset,
    run: RunDirectory,
    options: RunOptions,
    show_progress: bool | None,
    train: TrainRun,
) -> None:
    """Train the members that are not trained yet, with consecutive seeds, and combine them.

    With several workers, members are trained in parallel. Each ends with the same weights, bit for bit, as in one process with
    the same number of threads.

    Args:
        recipe: Recipe whose model is an `Ensemble`.
        dataset: Training data of all members.
        run: Run directory of the ensemble; it contains those of the members.
        options: Options of the first member, and the number of workers. Its seed is also the seed of the ensemble.
        show_progress: Whether to show the progress, as for `train`.
        train: Function that trains one member.

    Raises:
        ConfigError: A worker process has died, or worker processes cannot read the dataset.
        RepriseError: A member has failed.
    """
    ensemble = recipe.model
    assert isinstance(ensemble, Ensemble)
    bar = JobsProgress(show_progress, ensemble.members)
    if run.best.exists():
        bar.line(FINISHED.format(run.path))
        return
    workers = min(options.workers, ensemble.members)
    single = Recipe(model=ensemble.single(), training=recipe.training)
    threads = threads_per_worker(options.threads, workers)
    members = [
        PlannedRun(
            f"member {number}, seed {options.seed + number - 1}",
            single,
            run.member(number),
            replace(options, seed=options.seed + number - 1, workers=1, threads=threads),
        )
        for number in range(1, ensemble.members + 1)
    ]
    if workers > 1:
        with bar:
            train_in_workers(train, members, dataset, workers, bar).check()
    else:
        for number, member in enumerate(members, start=1):
            report_line(bar, f"member {number} of {ensemble.members}, seed {member.options.seed}")
            train(single, dataset, member.directory, member.options, show_progress)
    _combine(recipe, dataset, run, [member.directory for member in members], options, bar)


def check_workers_of(recipe: Recipe, dataset: SequenceDataset, options: RunOptions) -> None:
    """Check that the workers of the options can train the members of an ensemble.

    Raises:
        ConfigError: The recipe has a single network, the dataset is in memory, or torchrun has started this process.
    """
    if options.workers > 1 and not isinstance(recipe.model, Ensemble):
        raise ConfigError(
            f"workers = {options.workers} trains members of an ensemble or several seeds in parallel, but this is one "
            "network; use threads for one network, or name several seeds (--seeds 1,2,3)"
        )
    check_workers(options.workers, dataset)


def _combine(
    recipe: Recipe,
    dataset: SequenceDataset,
    run: RunDirectory,
    runs: list[RunDirectory],
    options: RunOptions,
    bar: ProgressBar,
) -> None:
    """Load the best weights of all members into one model and fit its corrections."""
    config, group = recipe.training, process_group()
    fabric = fabric_for(options, group=group)
    model = recipe.model.build(dataset.sizes)
    model.add_users(dataset)
    assert isinstance(model, EnsembleScorer)
    add_item_content(model, dataset, runs[0].content, trusted=True)
    validation = Validation(config, dataset, group)
    fabric.to_device(model)
    _load(model, [member.best for member in runs])
    metrics = validation(model, fabric.autocast())
    records: list[dict[str, Any]] = [{MEMBERS: len(runs), **recorded(metrics)}]
    report_line(bar, f"ensemble of {len(runs)} members  valid {config.metric} {metrics[config.metric]:.4f}")
    if model.has_corrections:
        result = add_corrections(model, dataset, config, validation, fabric, metrics)
        records.append(result.record())
        report_line(bar, result.line)
    main_only(group, lambda: _write(model, run, runs, records))


def _write(
    model: EnsembleScorer, run: RunDirectory, runs: list[RunDirectory], records: list[dict[str, Any]]
) -> None:
    """Write the weights of the ensemble, and those after the refit of its members."""
    best = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    if any(member.final.exists() for member in runs):
        _load(model, [member.final if member.final.exists() else member.best for member in runs])
        write_tensors(run.final, dict(model.state_dict()), {})
    run.write_metrics(records)
    # written last: an ensemble with this file is finished
    write_tensors(run.best, best, {})


def _load(model: EnsembleScorer, files: list[Path]) -> None:
    """Load the weights of runs into the members, without the corrections of the single runs."""
    for member, file in zip(model.members, files, strict=True):
        weights, _ = read_tensors(file)
        network = {
            name: tensor
            for name, tensor in weights.items()
            if not name.startswith((f"{COOCCURRENCE}.", f"{REPEATS}."))
        }
        load_weights(file, member, network)
