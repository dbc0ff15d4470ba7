"""Start a training: check the recipe, the dataset and the directory of a run, train, and load the result.

Several processes that `torchrun` has started train one network together. All of them make the checks, and an error of one
is raised by all. Only the main process locks the directory and writes to it.
"""

from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from reprise.argument_checks import file_path, instance, shown
from reprise.data.dataset import SequenceDataset
from reprise.data.leakage.checks import check_leaks
from reprise.errors import ConfigError
from reprise.models.networks.ensemble import Ensemble
from reprise.models.networks.network_scorer import NetworkScorer
from reprise.training.distributed.process_group import ProcessGroup, process_group
from reprise.training.forecasting.add_forecast import store_forecast
from reprise.training.parallel.train_ensemble import check_workers_of, train_members
from reprise.training.private.private_trainer import PrivateTrainer
from reprise.training.private.refusals import check_private_run
from reprise.training.recipe import Recipe, RunOptions, TrainingConfig, recipe_for
from reprise.training.run_directory import Manifest, RunDirectory, flatten, load_model, manifest_of
from reprise.training.tracking.callbacks import EpochCallback
from reprise.training.train_step import memory_errors, precision_for, torch_threads
from reprise.training.trainer import Trainer


def train(
    model: Any,
    dataset: SequenceDataset,
    out: str | Path,
    *,
    training: TrainingConfig | None = None,
    options: RunOptions | None = None,
    progress: bool | None = None,
    on_epoch: EpochCallback | None = None,
) -> NetworkScorer:
    """Train a network or an ensemble, or resume an interrupted run.

    In a script that `torchrun` has started, all processes make the same call and train one network together.

    Args:
        model: The spec of a network (`Recurrent(...)`) or of an ensemble (`Ensemble(...)`), or a whole `Recipe`.
        dataset: The network trains on the training part; the validation part chooses the best epoch.
        out: The run directory. The same call resumes an interrupted run, which ends with the same weights, bit for bit, as
            one without an interruption, if the number of processes is the same. A finished run is loaded without training.
        training: Hyper-parameters of training; by default those of the recipe.
        options: Seed, device, precision, threads and checkpoint interval.
        progress: True shows a bar on a terminal and one line per epoch elsewhere, False shows nothing, None shows a bar on
            a terminal only.
        on_epoch: Function called with the record of each epoch, including those before a resume. An exception that it
            raises stops the training, which can be resumed. It is not called for ensembles. Of several processes, only the
            main one calls it.

    Returns:
        The network with the weights of its best epoch, on the CPU, in evaluation mode.

    Raises:
        ConfigError: The directory holds a run with another recipe, seed or dataset, the memory is too small, or several
            processes differ in their recipe, seed or dataset.
        DataError: The training part has no event to predict.
        LeakError: The training part contains information about the targets of the evaluation.
        DivergedError: A loss or a gradient is not finite. The last checkpoint has the weights before it.
        ProcessEndedError: Another process has ended. The same call of all processes resumes the run.
    """
    recipe = recipe_for(model, dataset, training)
    options = instance(
        "options", RunOptions() if options is None else options, RunOptions, "write RunOptions(...)"
    )
    if not (on_epoch is None or callable(on_epoch)):
        raise ConfigError(f"on_epoch must be a function of the record of an epoch, got {shown(on_epoch)}")
    run = RunDirectory(file_path("out", out))
    with torch.random.fork_rng(), torch_threads(options), memory_errors():
        _train_run(recipe, dataset, run, options, progress, on_epoch)
        return _load(recipe, dataset, run, options, process_group())


def _train_run(
    recipe: Recipe,
    dataset: SequenceDataset,
    run: RunDirectory,
    options: RunOptions,
    show_progress: bool | None,
    on_epoch: EpochCallback | None = None,
) -> None:
    """Do what `train` does, except for loading the result."""
    _check_recipe(recipe)
    if recipe.training.privacy is not None:
        check_private_run(recipe.training.privacy, dataset, options, on_epoch)
    check_workers_of(recipe, dataset, options)
    group = process_group()
    manifest = manifest_of(recipe, dataset, options.seed)
    _check_same_in_all(group, manifest, options)
    is_ensemble = isinstance(recipe.model, Ensemble)
    single = Recipe(model=recipe.model.single(), training=recipe.training) if is_ensemble else recipe
    show_progress = show_progress if group.is_main else False
    with ExitStack() as stack:
        with group.together():
            if group.is_main:
                check_leaks(dataset)
                run.check(
                    manifest
                )  # before the lock, which would leave its file in a directory of another kind
                stack.enter_context(run.locked())
                run.check(manifest)  # another process may have begun the run meanwhile
        with group.together():
            # the trainer is made before the manifest, so that a wrong recipe leaves no run behind
            trainer: Trainer | PrivateTrainer
            if recipe.training.privacy is not None:
                trainer = PrivateTrainer(recipe, dataset, run, options)
            else:
                trainer = Trainer(single, dataset, run, options, on_epoch, group)
        with group.together():
            if group.is_main:
                run.begin(manifest, dataset)
                stack.enter_context(run.logging())
        with group.together():
            _check_visible(run, group)
        if is_ensemble:
            del trainer  # it only checked the recipe; each member makes its own trainer
            train_members(recipe, dataset, run, options, show_progress, _train_run)
        else:
            trainer.fit(show_progress)


def _load(
    recipe: Recipe, dataset: SequenceDataset, run: RunDirectory, options: RunOptions, group: ProcessGroup
) -> NetworkScorer:
    """Load the trained network, with its forecast heads if the recipe asks for them."""
    if recipe.training.forecast:
        with group.together():  # the others read what the main process writes
            if group.is_main:
                trained = load_model(run, dataset, trusted=True)
                if trained.forecast is None:
                    store_forecast(run, trained, dataset, options.seed)
    return load_model(run, dataset, trusted=True)  # the caller has named the classes


def _check_same_in_all(group: ProcessGroup, manifest: Manifest, options: RunOptions) -> None:
    """Check that all processes train the same network on the same data.

    Raises:
        ConfigError: One has another recipe, seed, dataset, precision or version of this package. All processes raise it.
    """
    if group.is_alone:
        return
    own = {**manifest, "precision": precision_for(options), "version of reprise": version("reprise")}
    first, *others = map(flatten, group.gather_json(own))
    for rank, other in enumerate(others, 1):
        for name in {**first, **other}:
            if first.get(name) != other.get(name):
                raise ConfigError(
                    f"process {rank} has {name} {other.get(name)!r}, but process 0 has {first.get(name)!r}; start all "
                    "processes with the same recipe, dataset, seed and version of reprise"
                )


def _check_visible(run: RunDirectory, group: ProcessGroup) -> None:
    """Check that this process sees the directory that the main process has written.

    Raises:
        ConfigError: It does not.
    """
    if not run.manifest.exists():
        raise ConfigError(
            f"process {group.rank} does not see {run.path}; choose an --out on a file system that all machines share"
        )


def _check_recipe(recipe: Recipe) -> None:
    if not hasattr(recipe.model, "build"):
        raise ConfigError(f"model must be the spec of a network, such as Recurrent(), got {recipe.model!r}")
    if not (callable(recipe.training.loss) and hasattr(recipe.training.loss, "negatives")):
        raise ConfigError(
            "training.loss must be a loss with the attribute `negatives` (None: all items), such as FullSoftmax() or "
            f"SampledSoftmax(), got {recipe.training.loss!r}"
        )
    if not (callable(recipe.training.objective) and hasattr(recipe.training.objective, "check")):
        raise ConfigError(
            f"training.objective must be an objective, such as NextItem(), got {recipe.training.objective!r}"
        )
