"""The training loop. Every event is a target once per epoch, and an interrupted run resumes exactly.

Shape letters: N targets. The loop is not a framework's, because exact resume inside an epoch and recurrent states that are
carried from batch to batch need control over it. Devices and precision are handled by Lightning Fabric.
"""

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reprise.argument_checks import file_path, instance, shown
from reprise.data.batching import BatchPlan, RowSegments
from reprise.data.dataset import SequenceDataset
from reprise.data.leakage.checks import check_leaks
from reprise.errors import ArtefactError, ConfigError, DataError
from reprise.models.batch import gather
from reprise.models.counts.counting import item_counts
from reprise.models.networks.ensemble import Ensemble
from reprise.models.networks.network_scorer import NetworkScorer
from reprise.models.networks.sequence_model import SequenceModel
from reprise.progress import TrainingProgress
from reprise.training.callbacks import EpochCallback, EpochLog
from reprise.training.checkpoint import (
    CheckpointTimer,
    RunProgress,
    load_checkpoint,
    load_weights,
    read_tensors,
    save_checkpoint,
    write_tensors,
)
from reprise.training.forecasting.add_forecast import store_forecast
from reprise.training.item_content import add_item_content, save_item_content
from reprise.training.loggers import loggers_for
from reprise.training.losses.negatives import NegativeSampler
from reprise.training.optimizer import learning_rate
from reprise.training.parallel.train_ensemble import check_workers_of, train_members
from reprise.training.recipe import Recipe, RunOptions, TrainingConfig, recipe_for
from reprise.training.row_adam import decide_sparse
from reprise.training.run_directory import (
    COLD,
    FINISHED,
    FITTED,
    LOGGER,
    REFIT,
    RunDirectory,
    flatten,
    load_model,
    manifest_of,
    report_line,
)
from reprise.training.stages.fit_cold_items import cold_slots, fit_cold_items, keep_cold_slots
from reprise.training.stages.fit_corrections import add_corrections
from reprise.training.stages.refit_on_validation import refit_on_validation
from reprise.training.train_step import TrainStep, fabric_for, memory_errors, step_seed, torch_threads
from reprise.training.validation import EpochValidation, epoch_summary, metrics_of


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

    Args:
        model: The spec of a network (`Recurrent(...)`) or of an ensemble (`Ensemble(...)`), or a whole `Recipe`.
        dataset: The network trains on the training part; the validation part chooses the best epoch.
        out: The run directory. The same call resumes an interrupted run, which ends with the same weights, bit for bit, as
            one without an interruption. A finished run is loaded without training.
        training: Hyper-parameters of training; by default those of the recipe.
        options: Seed, device, precision, threads and checkpoint interval.
        progress: True shows a bar on a terminal and one line per epoch elsewhere, False shows nothing, None shows a bar on
            a terminal only.
        on_epoch: Function called with the record of each epoch, including those before a resume. An exception that it
            raises stops the training, which can be resumed. It is not called for ensembles.

    Returns:
        The network with the weights of its best epoch, on the CPU, in evaluation mode.

    Raises:
        ConfigError: The directory holds a run with another recipe, seed or dataset, or the memory is too small.
        DataError: The training part has no event to predict.
        LeakError: The training part contains information about the targets of the evaluation.
        DivergedError: A loss or a gradient is not finite. The last checkpoint has the weights before it.
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
        trained = load_model(run, dataset, trusted=True)  # the caller has named the classes
        if recipe.training.forecast and trained.forecast is None:
            store_forecast(run, trained, dataset, options.seed)
        return trained


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
    check_workers_of(recipe, dataset, options)
    check_leaks(dataset)
    manifest = manifest_of(recipe, dataset, options.seed)
    is_ensemble = isinstance(recipe.model, Ensemble)
    single = Recipe(model=recipe.model.single(), training=recipe.training) if is_ensemble else recipe
    run.check(manifest)  # before the lock, which would leave its file in a directory of another kind
    with run.locked():
        run.check(manifest)  # another process may have begun the run meanwhile
        # the trainer is made before the manifest, so that a wrong recipe leaves no run behind
        trainer = Trainer(single, dataset, run, options, on_epoch)
        run.begin(manifest, dataset)
        with run.logging():
            if is_ensemble:
                del trainer  # it only checked the recipe; each member makes its own trainer
                train_members(recipe, dataset, run, options, show_progress, _train_run)
            else:
                trainer.fit(show_progress)


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


@dataclass
class Trainer:
    """The training of one network on one dataset."""

    recipe: Recipe
    """Spec of the network and hyper-parameters; not of an ensemble."""
    dataset: SequenceDataset
    """Dataset with a training part and a validation part."""
    run: RunDirectory
    """Directory for the checkpoint, the metrics and the weights."""
    options: RunOptions
    """Seed, device, precision and checkpoint interval."""
    on_epoch: EpochCallback | None = None
    """Function called with the record of each epoch."""
    progress: RunProgress = field(default_factory=RunProgress)
    """Position of the run; replaced by that of the checkpoint."""

    def __post_init__(self) -> None:
        self.config = self.recipe.training
        self.fabric = fabric_for(self.options, loggers_for(self.options, self.run.path))
        torch.manual_seed(self.options.seed)
        self.model: SequenceModel = self.recipe.model.build(self.dataset.sizes)
        self.model.add_users(self.dataset)
        add_item_content(self.model, self.dataset, self.run.content, trusted=True)
        self.config.objective.check(self.model)
        self.fabric.to_device(self.model)
        self.sampler = self._make_sampler()
        first_U, last_U = self.dataset.part("train")
        events_U = last_U - first_U
        self.events_per_batch = self.config.events_per_batch_for(
            int(events_U.sum()), int((events_U > 0).sum())
        )
        decide_sparse(self.model.items, self.config.loss, self.events_per_batch)
        self.train_step = self._make_step()
        self.peak_learning_rate = self.config.learning_rate_for(self.model.size)
        self.validation = EpochValidation(self.config, self.dataset)
        self.steps_per_epoch = len(self._plan(0))
        self.timer = CheckpointTimer(self.options.checkpoint_s)
        if not self.steps_per_epoch:
            raise DataError(
                "the training part has no sequence of two events or more, so there is nothing to predict; "
                "use longer sequences (--sequence-by user, a longer --session-gap) or an earlier split"
            )

    def fit(self, show_progress: bool | None) -> None:
        """Train to the end, from the checkpoint if there is one."""
        if self.run.checkpoint.exists():
            self.train_step.state, self.progress = load_checkpoint(
                self.run.checkpoint, self.model, self.train_step.optimizer
            )
            if self.progress.finished and not self.run.best.exists():
                raise ArtefactError(
                    f"{self.run.best} is missing from a finished run; train again in another directory"
                )
            if not self.progress.finished:
                LOGGER.info("resumed at epoch %d, batch %d", self.progress.epoch + 1, self.progress.chunk)
        save_item_content(self.model, self.run.content)
        was_finished = self.progress.finished
        if not was_finished:
            rates = self.events_per_batch, self.peak_learning_rate
            LOGGER.info("%d events per batch, peak learning rate %g", *rates)
        hyper_parameters = flatten(manifest_of(self.recipe, self.dataset, self.options.seed))
        log = EpochLog(self.fabric, self.options.logger, self.run.path, hyper_parameters)
        with TrainingProgress(show_progress, self.config.epochs, self.steps_per_epoch) as bar, log:
            self._call_back(log, self.progress.history)
            while not self.progress.finished:
                self._epoch(bar)
                self._call_back(log, self.progress.history[-1:])
            has_work = not was_finished
            if self.model.has_corrections:
                has_work |= self._add_corrections(bar)
            if self.model.content is not None:
                has_work |= self._fit_cold_items(bar)
            if self.config.refit:
                has_work |= self._refit(bar)
            if not has_work:
                bar.line(FINISHED.format(self.run.path))

    def _make_step(self) -> TrainStep:
        return TrainStep(self.model, self.config, self.fabric, self.sampler)

    def _make_sampler(self) -> NegativeSampler | None:
        """Return the sampler of the negatives, or None if the loss is over all items."""
        negatives = self.config.loss.negatives
        if negatives is None:
            return None
        return negatives.sampler(item_counts(self.dataset)).to(self.fabric.device)

    def _plan(self, epoch: int) -> BatchPlan:
        first_U, last_U = self.dataset.part("train")
        seed = (self.options.seed, epoch)
        return BatchPlan(
            first_U,
            last_U,
            events_per_batch=self.events_per_batch,
            max_steps=self.config.bptt_steps,
            seed=seed,
        )

    def _epoch(self, bar: TrainingProgress) -> None:
        progress = self.progress
        self.model.train()
        for chunk in self._plan(progress.epoch).starting_at(progress.chunk):
            started = time.monotonic()
            loss, targets = self._step(chunk)
            progress.seconds += time.monotonic() - started
            progress.loss_sum += loss
            progress.targets += targets
            progress.chunk += 1
            progress.step += 1
            bar.step(
                progress.epoch,
                progress.chunk,
                progress.loss_sum / max(1, progress.targets),
                progress.targets / progress.seconds,
            )
            if self.timer.is_due():
                self._save()
        report_line(bar, self._end_epoch())

    def _step(self, segments: RowSegments) -> tuple[float, int]:
        """Train on one batch of the current epoch and return (sum of the losses, number of targets)."""
        first_U, last_U = self.dataset.part("train")
        return self.train_step(
            gather(self.dataset, segments, first_U, last_U),
            seed=step_seed(self.options.seed, self.progress.step),
            learning_rate=self._learning_rate_at(self.progress.step),
            description=f"step {self.progress.step} of epoch {self.progress.epoch + 1}",
        )

    def _end_epoch(self) -> str:
        """Validate, keep the weights of the best epoch, save, and return a summary in one line."""
        progress = self.progress
        self.train_step.optimizer.settle()
        found = self.validation(self.model, self.fabric.autocast())
        value = found.metrics[self.config.metric]
        if progress.best is None or value > progress.best:
            progress.best, progress.best_epoch = value, progress.epoch
            write_tensors(self.run.best, dict(self.model.state_dict()), {})
        record = {
            "epoch": progress.epoch + 1,
            "loss": progress.loss_sum / max(1, progress.targets),
            **found.record(),
            "seconds": round(progress.seconds, 3),
            "events_per_s": round(progress.targets / progress.seconds, 1),
            "tokens": self.events_per_batch,
            "learning_rate": self.peak_learning_rate,
        }
        progress.history.append(record)
        progress.epoch += 1
        epochs_since_best = progress.epoch - 1 - progress.best_epoch
        stopped_early = 0 < self.config.patience <= epochs_since_best
        progress.finished = stopped_early or progress.epoch == self.config.epochs
        progress.chunk, progress.loss_sum, progress.targets, progress.seconds = 0, 0.0, 0, 0.0
        self.train_step.state = None
        self.run.write_metrics(progress.history)
        self._save()
        return epoch_summary(record, self.config, is_best=epochs_since_best == 0, stopped_early=stopped_early)

    def _call_back(self, log: EpochLog, records: list[dict[str, Any]]) -> None:
        """Send epochs that are in the checkpoint to the tracking tool and to the caller's function."""
        for record in records:
            log(record, self._learning_rate_at(record["epoch"] * self.steps_per_epoch - 1))
            if self.on_epoch is not None:
                self.on_epoch(record)

    def _learning_rate_at(self, step: int) -> float:
        steps = self.steps_per_epoch * self.config.epochs
        return learning_rate(self.peak_learning_rate, self.config.warmup, step, steps)

    def _add_corrections(self, bar: TrainingProgress) -> bool:
        """Fit the corrections of the best network's logits and keep those that help.

        Return False if this was done before.
        """
        weights, metadata = read_tensors(self.run.best)
        if FITTED in metadata:
            return False
        load_weights(self.run.best, self.model, weights)
        before = metrics_of(self.progress.history[self.progress.best_epoch])
        if self.validation.is_sample:
            before = self.validation.whole(self.model, self.fabric.autocast())
        result = add_corrections(
            self.model, self.dataset, self.config, self.validation.whole, self.fabric, before
        )
        if result.kept:
            weights = dict(self.model.state_dict())
        self._write_stage(weights, {FITTED: result.record()})
        report_line(bar, result.line)
        return True

    def _fit_cold_items(self, bar: TrainingProgress) -> bool:
        """Fit the bias of cold items of the best network. Return False if this was done before."""
        weights, metadata = read_tensors(self.run.best)
        if COLD in metadata:
            return False
        load_weights(self.run.best, self.model, weights)
        result = fit_cold_items(self.model, self.dataset, self.config, self.fabric)
        records = {**_stage_records(metadata), COLD: {"cold_items": result._asdict()}}
        self._write_stage(dict(self.model.state_dict()), records)
        report_line(bar, result.line())
        return True

    def _refit(self, bar: TrainingProgress) -> bool:
        """Fine-tune the best network on the validation part and keep the result if it helps.

        Return False if this was done before.
        """
        weights, metadata = read_tensors(self.run.best)
        if REFIT in metadata:
            return False
        load_weights(self.run.best, self.model, weights)
        self.model.drop_zero_corrections()
        slots = cold_slots(self.model, self.dataset, self.config, self.fabric)
        result = refit_on_validation(
            self._make_step,
            self.dataset,
            self.config,
            events_per_batch=self.events_per_batch,
            peak_learning_rate=self.peak_learning_rate,
            seed=self.options.seed,
        )
        if result.passes:
            keep_cold_slots(self.model, self.dataset, self.config, self.fabric, slots)
            write_tensors(self.run.final, {**weights, **self.model.state_dict()}, {})
        self._write_stage(weights, {**_stage_records(metadata), REFIT: {"refit": result._asdict()}})
        report_line(bar, result.line(self.config.metric))
        return True

    def _write_stage(self, weights: dict[str, Tensor], records: dict[str, dict[str, Any]]) -> None:
        """Write the records of the stages after the epochs, with the weights.

        The weights come last and mark the stage as done: a run that is killed before repeats the stage.
        """
        self.run.write_metrics([*self.progress.history, *records.values()])
        write_tensors(self.run.best, weights, {name: json.dumps(record) for name, record in records.items()})

    def _save(self) -> None:
        step = self.train_step
        with self.timer.writing():
            save_checkpoint(self.run.checkpoint, self.model, step.optimizer, step.state, self.progress)


def _stage_records(metadata: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Return the records that `_write_stage` stored in the metadata of the weights."""
    return {name: json.loads(metadata[name]) for name in (FITTED, COLD, REFIT) if name in metadata}
