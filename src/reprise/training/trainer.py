"""The training loop: every event is a target once an epoch, and a run that is killed goes on as if nothing had happened.

Shape letters: N targets. The loop is ours, because exact resume inside an epoch and states carried between batches need it;
devices and precision are Lightning Fabric's.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reprise.data.batching import BatchPlan, RowSegments
from reprise.data.dataset import SequenceDataset
from reprise.data.leakage.checks import check_leaks
from reprise.errors import ArtefactError, ConfigError, DataError
from reprise.models.batch import gather
from reprise.models.cooccurrence.counting import item_counts
from reprise.models.networks.ensemble import Ensemble
from reprise.models.networks.network_scorer import NetworkScorer
from reprise.models.networks.sequence_model import SequenceModel
from reprise.training.checkpoint import (
    Progress,
    load_checkpoint,
    load_weights,
    read_tensors,
    save_checkpoint,
    write_tensors,
)
from reprise.training.devices import fabric_for
from reprise.training.fit_cooccurrence import add_transitions
from reprise.training.loggers import EpochLog, loggers_for
from reprise.training.losses.negatives import NegativeSampler
from reprise.training.optimizer import learning_rate
from reprise.training.recipe import Recipe, RunOptions, TrainingConfig
from reprise.training.refit_on_validation import refit
from reprise.training.run_directory import FITTED, LOGGER, REFIT, RunDirectory, flat, load_model, told
from reprise.training.train_ensemble import train_members
from reprise.training.train_step import TrainSteps, step_seed
from reprise.training.training_progress import TrainingProgress, Watch, say
from reprise.training.validation import Validation, metrics_of, recorded


def train(
    model: Any,
    dataset: SequenceDataset,
    out: str | Path,
    *,
    training: TrainingConfig | None = None,
    options: RunOptions | None = None,
    progress: bool | None = None,
    watch: Watch | None = None,
) -> NetworkScorer:
    """Train a network, or the members of an ensemble one after the other, or go on with a run that was begun.

    Args:
        model: The spec of a network (`Recurrent(...)`) or of several (`Ensemble(...)`), or a whole `Recipe`.
        dataset: Its training part is learned, its validation part chooses the best epoch.
        out: The run directory. Called again with the same arguments, a killed run ends with the same weights, bit for
            bit, as one that was left alone; a finished one is returned as it is.
        training: Hyper-parameters; those of the recipe, or the defaults.
        options: Seed, device, precision, threads, checkpoints.
        progress: True shows a bar on a terminal and a line an epoch elsewhere, False nothing; None: a bar on a terminal.
        watch: Called with the record of each epoch, those of before a run was resumed too; not for an ensemble. What it
            raises ends the training, which may be resumed.

    Returns:
        The network with the weights of its best epoch, on the CPU, ready to score.

    Raises:
        ConfigError: the directory holds a run with another recipe, seed or dataset.
        DataError: there is nothing to learn from.
        LeakError: the training part knows what the model will be asked about.
        DivergedError: a loss or a gradient was not finite; the weights of before are in the last checkpoint.
    """
    recipe = model if isinstance(model, Recipe) else Recipe(model=model)
    if training is not None:
        recipe = Recipe(model=recipe.model, training=training)
    options = options or RunOptions()
    run = RunDirectory(Path(out))
    with torch.random.fork_rng(), threads_of(options):
        _learn(recipe, dataset, run, options, progress, watch)
        return load_model(run, dataset)


def _learn(
    recipe: Recipe,
    dataset: SequenceDataset,
    run: RunDirectory,
    options: RunOptions,
    shown: bool | None,
    watch: Watch | None = None,
) -> None:
    """All of `train` but opening what was learned."""
    _check_recipe(recipe)
    check_leaks(dataset)
    what = told(recipe, dataset, options.seed)
    run.check(what)
    several = isinstance(recipe.model, Ensemble)
    one = Recipe(model=recipe.model.single(), training=recipe.training) if several else recipe
    # made before the directory is: a mistake leaves no run behind
    trainer = Trainer(one, dataset, run, options, watch)
    run.begin(what, dataset)
    with run.logging():
        if several:
            del trainer  # it was a test, and each member makes its own
            train_members(recipe, dataset, run, options, shown, _learn)
        else:
            trainer.fit(shown)


def _check_recipe(recipe: Recipe) -> None:
    if not hasattr(recipe.model, "build"):
        raise ConfigError(f"model must be the spec of a network, such as Recurrent(), got {recipe.model!r}")
    if not (callable(recipe.training.loss) and hasattr(recipe.training.loss, "negatives")):
        raise ConfigError(
            "training.loss must be a loss that says its `negatives` (None: all items), such as FullSoftmax() or "
            f"SampledSoftmax(), got {recipe.training.loss!r}"
        )
    if not (callable(recipe.training.objective) and hasattr(recipe.training.objective, "check")):
        raise ConfigError(
            f"training.objective must be an objective, such as NextItem(), got {recipe.training.objective!r}"
        )


@contextmanager
def threads_of(options: RunOptions) -> Iterator[None]:
    """As many threads as the options say while it lasts; 0: as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(options.threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass
class Trainer:
    """One run over one dataset."""

    recipe: Recipe
    dataset: SequenceDataset
    run: RunDirectory
    options: RunOptions
    watch: Watch | None = None
    progress: Progress = field(default_factory=Progress)

    def __post_init__(self) -> None:
        self.config = self.recipe.training
        self.fabric = fabric_for(self.options, loggers_for(self.options, self.run.path))
        torch.manual_seed(self.options.seed)
        self.model: SequenceModel = self.recipe.model.build(self.dataset.sizes)
        self.config.objective.check(self.model)
        self.fabric.to_device(self.model)
        self.sampler = self._sampler()
        self.steps = self._steps()
        first_U, last_U = self.dataset.part("train")
        events_U = last_U - first_U
        self.tokens = self.config.tokens_for(int(events_U.sum()), int((events_U > 0).sum()))
        self.rate = self.config.learning_rate_for(self.model.size)
        self.validation = Validation(self.config, self.dataset)
        self.chunks = len(self._plan(0))
        self.saved_at = time.monotonic()
        if not self.chunks:
            raise DataError(
                "the training part has no sequence of two events or more, so there is nothing to predict; "
                "use longer sequences (--sequence-by user, a longer --session-gap) or an earlier split"
            )

    def fit(self, shown: bool | None) -> None:
        """Train to the end, from the checkpoint where there is one."""
        if self.run.checkpoint.exists():
            self.steps.state, self.progress = load_checkpoint(
                self.run.checkpoint, self.model, self.steps.optimizer
            )
            if self.progress.finished and not self.run.best.exists():
                raise ArtefactError(f"{self.run.best} is missing from a finished run; train again elsewhere")
            if not self.progress.finished:
                LOGGER.info("resumed at epoch %d, chunk %d", self.progress.epoch + 1, self.progress.chunk)
        if not self.progress.finished:
            LOGGER.info("%d events a step, learning rate %g at its peak", self.tokens, self.rate)
        facts = flat(told(self.recipe, self.dataset, self.options.seed))
        log = EpochLog(self.fabric, self.options.logger, self.run.path, facts)
        with TrainingProgress(shown, self.config.epochs, self.chunks) as bar, log:
            self._tell(log, self.progress.history)
            while not self.progress.finished:
                self._epoch(bar)
                self._tell(log, self.progress.history[-1:])
            if self.model.transitions is not None:
                self._fit_transitions(bar)
            if self.config.refit:
                self._refit(bar)

    def _steps(self) -> TrainSteps:
        return TrainSteps(self.model, self.config, self.fabric, self.sampler)

    def _sampler(self) -> NegativeSampler | None:
        """What draws negatives, for a loss that wants them."""
        negatives = self.config.loss.negatives
        if negatives is None:
            if self.model.items.sparse:
                raise ConfigError(
                    f"a sparse item table needs a loss with negatives, such as SampledSoftmax(); {self.config.loss!r} has "
                    "a gradient for every item"
                )
            return None
        return negatives.sampler(item_counts(self.dataset)).to(self.fabric.device)

    def _plan(self, epoch: int) -> BatchPlan:
        first_U, last_U = self.dataset.part("train")
        seed = (self.options.seed, epoch)
        return BatchPlan(
            first_U, last_U, events_per_batch=self.tokens, max_steps=self.config.chunk, seed=seed
        )

    def _epoch(self, bar: TrainingProgress) -> None:
        progress = self.progress
        self.model.train()
        for chunk in self._plan(progress.epoch).starting_at(progress.chunk):
            begun = time.monotonic()
            loss, targets = self._step(chunk)
            progress.seconds += time.monotonic() - begun
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
            if time.monotonic() - self.saved_at >= self.options.checkpoint_s:
                self._save()
        say(bar, self._end_epoch())

    def _step(self, chunk: RowSegments) -> tuple[float, int]:
        """One step of the epoch under way: (the sum of the losses, how many targets)."""
        first_U, last_U = self.dataset.part("train")
        return self.steps(
            gather(self.dataset, chunk, first_U, last_U),
            seed=step_seed(self.options.seed, self.progress.step),
            rate=self._rate_at(self.progress.step),
            where=f"step {self.progress.step} of epoch {self.progress.epoch + 1}",
        )

    def _end_epoch(self) -> str:
        """Validate, keep the best, and say how it went in one line."""
        progress = self.progress
        metrics = self.validation(self.model, self.fabric.autocast())
        value = metrics[self.config.metric]
        if progress.best is None or value > progress.best:
            progress.best, progress.best_epoch = value, progress.epoch
            write_tensors(self.run.best, dict(self.model.state_dict()), {})
        record = {
            "epoch": progress.epoch + 1,
            "loss": progress.loss_sum / max(1, progress.targets),
            **recorded(metrics),
            "seconds": round(progress.seconds, 3),
            "events_per_s": round(progress.targets / progress.seconds, 1),
            "tokens": self.tokens,
            "learning_rate": self.rate,
        }
        progress.history.append(record)
        progress.epoch += 1
        waited = progress.epoch - 1 - progress.best_epoch
        early = 0 < self.config.patience <= waited
        progress.finished = early or progress.epoch == self.config.epochs
        progress.chunk, progress.loss_sum, progress.targets, progress.seconds = 0, 0.0, 0, 0.0
        self.steps.state = None
        self.run.write_metrics(progress.history)
        self._save()
        return _line(record, self.config, best=waited == 0, early=early)

    def _tell(self, log: EpochLog, records: list[dict[str, Any]]) -> None:
        """Epochs that are in the checkpoint, for all who listen."""
        for record in records:
            log(record, self._rate_at(record["epoch"] * self.chunks - 1))
            if self.watch is not None:
                self.watch(record)

    def _rate_at(self, step: int) -> float:
        return learning_rate(self.rate, self.config.warmup, step, self.chunks * self.config.epochs)

    def _fit_transitions(self, bar: TrainingProgress) -> None:
        """Add what the counts are worth to the best network, unless that was done, or makes it worse."""
        weights, facts = read_tensors(self.run.best)
        if FITTED in facts:
            return
        load_weights(self.run.best, self.model, weights)
        before = metrics_of(self.progress.history[self.progress.best_epoch])
        added = add_transitions(self.model, self.dataset, self.config, self.validation, self.fabric, before)
        if added.kept:
            weights = dict(self.model.state_dict())
        self._keep(weights, {FITTED: added.record()})
        say(bar, added.line)

    def _refit(self, bar: TrainingProgress) -> None:
        """Let the network that all of this chose learn the validation part, unless that was done, or does not help."""
        weights, facts = read_tensors(self.run.best)
        if REFIT in facts:
            return
        load_weights(self.run.best, self.model, weights)
        if self.model.transitions is not None and self.model.transitions.silent:
            self.model.transitions = None
        found = refit(
            self._steps,
            self.dataset,
            self.config,
            tokens=self.tokens,
            rate=self.rate,
            seed=self.options.seed,
        )
        if found.passes:
            write_tensors(self.run.final, {**weights, **self.model.state_dict()}, {})
        self._keep(weights, {**_records(facts), REFIT: {"refit": found._asdict()}})
        how = f"{self.config.metric} of its later half {found.before:.4f}"
        passes = f"{found.passes} pass{'es' if found.passes > 1 else ''}"
        say(
            bar,
            f"validation learned in {passes}  {how} -> {found.after:.4f} where only the earlier half was learned"
            if found.passes
            else f"validation not learned  {how}, and no better for having learned the earlier half",
        )

    def _keep(self, weights: dict[str, Tensor], records: dict[str, dict[str, Any]]) -> None:
        """What is left of the run when a stage after the epochs is done. A kill in between does that stage again."""
        self.run.write_metrics([*self.progress.history, *records.values()])
        write_tensors(self.run.best, weights, {name: json.dumps(record) for name, record in records.items()})

    def _save(self) -> None:
        save_checkpoint(
            self.run.checkpoint, self.model, self.steps.optimizer, self.steps.state, self.progress
        )
        self.saved_at = time.monotonic()


def _records(facts: dict[str, str]) -> dict[str, dict[str, Any]]:
    """What `_keep` kept."""
    return {name: json.loads(facts[name]) for name in (FITTED, REFIT) if name in facts}


def _line(record: dict[str, Any], config: TrainingConfig, *, best: bool, early: bool) -> str:
    value = record[f"valid {config.metric}"]
    end = f", no better for {config.patience} epochs: stopped" if early else ""
    return (
        f"epoch {record['epoch']}/{config.epochs}  loss {record['loss']:.4f}  valid {config.metric} {value:.4f}"
        f"{' (best)' if best else ''}  {record['events_per_s']:,.0f} events/s{end}"
    )
