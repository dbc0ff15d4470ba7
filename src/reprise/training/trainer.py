"""The training loop. Every event is a target once per epoch, and an interrupted run resumes exactly.

It resumes bit for bit on the same machine with the same number of processes.

Shape letters: N targets. The loop is not a framework's, because exact resume inside an epoch and recurrent states that are
carried from batch to batch need control over it. Devices and precision are handled by Lightning Fabric.

In a group of processes, each runs the same loop and shares its steps and validations. What follows the epochs is computed
by every process from the weights in the file of the main process. So all processes make the same decisions, and the main
process alone writes them down.
"""

import json
import time
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from reprise.data.batching import BatchPlan, RowSegments
from reprise.data.dataset import SequenceDataset
from reprise.errors import ArtefactError, ConfigError, DataError
from reprise.models.batch import gather
from reprise.models.counts.counting import item_counts
from reprise.models.networks.sequence_model import SequenceModel
from reprise.progress import TrainingProgress
from reprise.training.checkpoint import (
    CheckpointTimer,
    RunProgress,
    load_checkpoint,
    load_weights,
    read_tensors,
    save_checkpoint,
    write_tensors,
)
from reprise.training.distributed.process_group import ALONE, ProcessGroup, main_only
from reprise.training.item_content import add_item_content, save_item_content
from reprise.training.losses.negatives import NegativeSampler
from reprise.training.optimizer import learning_rate
from reprise.training.recipe import Recipe, RunOptions
from reprise.training.row_adam import decide_sparse
from reprise.training.run_directory import (
    COLD,
    FINISHED,
    FITTED,
    LOGGER,
    REFIT,
    RunDirectory,
    flatten,
    manifest_of,
    report_line,
)
from reprise.training.stages.fit_cold_items import cold_slots, fit_cold_items, keep_cold_slots
from reprise.training.stages.fit_corrections import add_corrections
from reprise.training.stages.refit_on_validation import refit_on_validation
from reprise.training.tracking.callbacks import EpochCallback, EpochLog
from reprise.training.tracking.loggers import loggers_for
from reprise.training.train_step import TrainStep, fabric_for, step_seed
from reprise.training.validation import EpochValidation, epoch_summary, metrics_of


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
    group: ProcessGroup = ALONE
    """Processes that train the network together."""
    progress: RunProgress = field(default_factory=RunProgress)
    """Position of the run; replaced by that of the checkpoint."""

    def __post_init__(self) -> None:
        self.config = self.recipe.training
        self.fabric = fabric_for(self.options, loggers_for(self.options, self.run.path), self.group)
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
        self.validation = EpochValidation(self.config, self.dataset, self.group)
        self.steps_per_epoch = len(self._plan(0))
        self.timer = CheckpointTimer(self.options.checkpoint_s)
        if not self.steps_per_epoch:
            raise DataError(
                "the training part has no sequence of two events or more, so there is nothing to predict; "
                "use longer sequences (--sequence-by user, a longer --session-gap) or an earlier split"
            )

    def fit(self, show_progress: bool | None) -> None:
        """Train to the end, from the checkpoint if there is one."""
        # equal already, except for what was fitted to the content of items or users on another kind of machine
        self.group.broadcast([*self.model.parameters(), *self.model.buffers()])
        start = self.run.checkpoint if self.run.checkpoint.exists() else self.run.initial
        if start.exists():
            with self.group.together():
                state, self.progress = load_checkpoint(start, self.model, self.train_step.optimizer)
            self.train_step.restore(state)
        self._check_same_position()
        if self.progress.step:
            if self.progress.finished and not self.run.best.exists():
                raise ArtefactError(
                    f"{self.run.best} is missing from a finished run; train again in another directory"
                )
            if not self.progress.finished:
                LOGGER.info("resumed at epoch %d, batch %d", self.progress.epoch + 1, self.progress.chunk)
        main_only(self.group, lambda: save_item_content(self.model, self.run.content))
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
            if self.config.max_refit:
                has_work |= self._refit(bar)
            if not has_work:
                bar.line(FINISHED.format(self.run.path))

    def _check_same_position(self) -> None:
        """Check that all processes have read the same checkpoint.

        Raises:
            ConfigError: One does not see the directory of the main process.
        """
        steps = self.group.gather_json(self.progress.step)
        for rank, step in enumerate(steps):
            if step != steps[0]:
                raise ConfigError(
                    f"process {rank} has a checkpoint at step {step}, but process 0 at step {steps[0]}; choose an --out on "
                    "a file system that all machines share"
                )

    def _make_step(self) -> TrainStep:
        return TrainStep(self.model, self.config, self.fabric, self.sampler, self.group)

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
            if self.group.any(self.group.is_main and self.timer.is_due()):
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
            main_only(self.group, lambda: write_tensors(self.run.best, dict(self.model.state_dict()), {}))
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
        stopped_early = 0 < self.config.max_patience <= epochs_since_best
        progress.finished = stopped_early or progress.epoch == self.config.epochs
        progress.chunk, progress.loss_sum, progress.targets, progress.seconds = 0, 0.0, 0, 0.0
        self.train_step.state = None
        main_only(self.group, lambda: self.run.write_metrics(progress.history))
        self._save()
        return epoch_summary(record, self.config, is_best=epochs_since_best == 0, stopped_early=stopped_early)

    def _call_back(self, log: EpochLog, records: list[dict[str, Any]]) -> None:
        """Send epochs that are in the checkpoint to the tracking tool and to the caller's function."""
        with self.group.together():
            for record in records if self.group.is_main else []:
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
            final = {**weights, **self.model.state_dict()}
            main_only(self.group, lambda: write_tensors(self.run.final, final, {}))
        self._write_stage(weights, {**_stage_records(metadata), REFIT: {"refit": result._asdict()}})
        report_line(bar, result.line(self.config.metric))
        return True

    def _write_stage(self, weights: dict[str, Tensor], records: dict[str, dict[str, Any]]) -> None:
        """Write the records of the stages after the epochs, with the weights.

        The weights come last and mark the stage as done: a run that is killed before repeats the stage.
        """
        with self.group.together():
            if self.group.is_main:
                self.run.write_metrics([*self.progress.history, *records.values()])
                metadata = {name: json.dumps(record) for name, record in records.items()}
                write_tensors(self.run.best, weights, metadata)

    def _save(self) -> None:
        step, state = self.train_step, self.train_step.whole_state()
        with self.timer.writing(), self.group.together():
            if self.group.is_main:
                save_checkpoint(self.run.checkpoint, self.model, step.optimizer, state, self.progress)


def _stage_records(metadata: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Return the records that `_write_stage` stored in the metadata of the weights."""
    return {name: json.loads(metadata[name]) for name in (FITTED, COLD, REFIT) if name in metadata}
