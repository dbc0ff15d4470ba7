"""The training loop: every event is a target once an epoch, and a run that is killed goes on as if nothing had happened.

Shape letters: N targets. The loop is ours, because exact resume inside an epoch and states carried between batches need it;
devices and precision are Lightning Fabric's.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from reprise.data.chunks import Chunk, ChunkPlan
from reprise.data.dataset import SequenceDataset
from reprise.data.vocabulary import PAD
from reprise.errors import ArtefactError, ConfigError, DataError, DivergedError
from reprise.models.batch import Batch, gather
from reprise.models.counts import item_counts
from reprise.models.sequence_model import SequenceModel
from reprise.nn.cells import State
from reprise.training.checkpoint import (
    Progress,
    load_checkpoint,
    load_weights,
    read_tensors,
    save_checkpoint,
    write_tensors,
)
from reprise.training.config import Recipe, RunOptions, TrainingConfig
from reprise.training.negatives import NegativeSampler
from reprise.training.optimizer import Optimizer, learning_rate
from reprise.training.progress import TrainingProgress
from reprise.training.residual import fit_transitions
from reprise.training.run import LOGGER, RunDirectory, load_model, told
from reprise.training.validation import Validation

FITTED = "fitted"
"""In the file of the best weights: the transitions had their turn."""


def train(
    model: Any,
    dataset: SequenceDataset,
    out: str | Path,
    *,
    training: TrainingConfig | None = None,
    options: RunOptions | None = None,
    progress: bool | None = None,
) -> SequenceModel:
    """Train a network, or go on with a run that was begun.

    Args:
        model: The spec of a network (`Recurrent(...)`), or a whole `Recipe`.
        dataset: Its training part is learned, its validation part chooses the best epoch.
        out: The run directory. Called again with the same arguments, a killed run ends with the same weights, bit for
            bit, as one that was left alone; a finished one is returned as it is.
        training: Hyper-parameters; those of the recipe, or the defaults.
        options: Seed, device, precision, threads, checkpoints.
        progress: True shows a bar on a terminal and a line an epoch elsewhere, False nothing; None: a bar on a terminal.

    Returns:
        The network with the weights of its best epoch, on the CPU, ready to score.

    Raises:
        ConfigError: the directory holds a run with another recipe, seed or dataset.
        DataError: there is nothing to learn from.
        DivergedError: a loss or a gradient was not finite; the weights of before are in the last checkpoint.
    """
    recipe = model if isinstance(model, Recipe) else Recipe(model=model)
    if training is not None:
        recipe = Recipe(model=recipe.model, training=training)
    _check_recipe(recipe)
    options = options or RunOptions()
    run = RunDirectory(Path(out))
    what = told(recipe, dataset, options.seed)
    run.check(what)
    with torch.random.fork_rng(), _threads(options.threads):
        # made before the directory is: a mistake leaves no run behind
        trainer = Trainer(recipe, dataset, run, options)
        run.begin(what, dataset)
        with run.logging():
            trainer.fit(progress)
        return load_model(run, dataset)


def _check_recipe(recipe: Recipe) -> None:
    if not hasattr(recipe.model, "build"):
        raise ConfigError(f"model must be the spec of a network, such as Recurrent(), got {recipe.model!r}")
    if not (callable(recipe.training.loss) and hasattr(recipe.training.loss, "negatives")):
        raise ConfigError(
            "training.loss must be a loss that says its `negatives` (None: all items), such as FullSoftmax() or "
            f"SampledSoftmax(), got {recipe.training.loss!r}"
        )


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """So many threads while it lasts; 0: as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
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
    progress: Progress = field(default_factory=Progress)

    def __post_init__(self) -> None:
        self.config = self.recipe.training
        self.fabric = _fabric(self.options)
        torch.manual_seed(self.options.seed)
        self.model: SequenceModel = self.recipe.model.build(self.dataset.sizes)
        self.fabric.to_device(self.model)
        self.sampler = self._sampler()
        self.optimizer = Optimizer(self.model, self.config)
        self.tokens = self.config.tokens_for(self.dataset.part_events("train"))
        self.validation = Validation(self.config, self.dataset)
        self.state: State | None = None
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
            self.state, self.progress = load_checkpoint(self.run.checkpoint, self.model, self.optimizer)
            if self.progress.finished and not self.run.best.exists():
                raise ArtefactError(f"{self.run.best} is missing from a finished run; train again elsewhere")
            if not self.progress.finished:
                LOGGER.info("resumed at epoch %d, chunk %d", self.progress.epoch + 1, self.progress.chunk)
        with TrainingProgress(shown, self.config.epochs, self.chunks) as bar:
            while not self.progress.finished:
                self._epoch(bar)
            if self.model.transitions is not None:
                self._fit_transitions(bar)

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

    def _plan(self, epoch: int) -> ChunkPlan:
        first_U, last_U = self.dataset.part("train")
        seed = (self.options.seed, epoch)
        return ChunkPlan(first_U, last_U, tokens=self.tokens, length=self.config.chunk, seed=seed)

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
                progress.loss_sum / progress.targets,
                progress.targets / progress.seconds,
            )
            if time.monotonic() - self.saved_at >= self.options.checkpoint_s:
                self._save()
        bar.epoch(self._end_epoch())

    def _step(self, chunk: Chunk) -> tuple[float, int]:
        """One optimiser step: (the sum of the losses, how many targets)."""
        first_U, last_U = self.dataset.part("train")
        batch = gather(self.dataset, chunk, first_U, last_U).to(self.fabric.device)
        # all chance of this step comes from here, so a resumed run draws the same
        torch.manual_seed(step_seed(self.options.seed, self.progress.step))
        # drawn first: the same negatives whatever else is drawn, and so in every process
        sample = self.sampler.draw() if self.sampler else None
        with self.fabric.autocast():
            at = self.model(batch, self.state)
            target_N = batch.target_BT[batch.target_BT != PAD]
            loss = self.config.loss(at.query_ND, self.model.items, target_N, sample)
        targets = batch.targets
        self._check("the loss", loss, batch)
        self.optimizer.zero_grad()
        self.fabric.backward(loss / targets + at.penalty)
        self._check("the norm of the gradient", self.optimizer.clip(self.config.clip), batch)
        self.optimizer.step(learning_rate(self.config, self.progress.step, self.chunks * self.config.epochs))
        # the gradient ends here, the state goes on: truncated backpropagation through time
        self.state = {name: tensor.detach() for name, tensor in at.state.items()}
        return float(loss.detach()), targets

    def _check(self, what: str, value: Tensor, batch: Batch) -> None:
        if not bool(torch.isfinite(value)):
            rows = batch.row_B[:5].tolist()
            raise DivergedError(
                f"{what} became {float(value.detach())} at step {self.progress.step} of epoch {self.progress.epoch + 1} "
                f"(sequences {rows}{'...' if len(batch.row_B) > 5 else ''}); the weights were not changed by it. "
                "Lower training.learning_rate or training.clip"
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
            "loss": progress.loss_sum / progress.targets,
            **{f"valid {name}": number for name, number in metrics.items()},
            "seconds": round(progress.seconds, 3),
            "events_per_s": round(progress.targets / progress.seconds, 1),
        }
        progress.history.append(record)
        progress.epoch += 1
        waited = progress.epoch - 1 - progress.best_epoch
        early = 0 < self.config.patience <= waited
        progress.finished = early or progress.epoch == self.config.epochs
        progress.chunk, progress.loss_sum, progress.targets, progress.seconds = 0, 0.0, 0, 0.0
        self.state = None
        self.run.write_metrics(progress.history)
        self._save()
        line = _line(record, self.config, best=waited == 0, early=early)
        LOGGER.info("%s", line)
        return line

    def _fit_transitions(self, bar: TrainingProgress) -> None:
        """Add what the counts are worth to the best network, unless that was done, or makes it worse."""
        weights, facts = read_tensors(self.run.best)
        if FITTED in facts:
            return
        load_weights(self.run.best, self.model, weights)
        fit = fit_transitions(
            self.model, self.dataset, self.fabric.autocast(), exclude_seen=self.config.exclude_seen
        )
        metrics = self.validation(self.model, self.fabric.autocast())
        best, name = self.progress.best, self.config.metric
        assert best is not None
        # counts may raise recall and lower the rank of what was found already: NDCG weighs both
        ndcg = f"ndcg@{self.validation.k}"
        kept = metrics[ndcg] > self.progress.history[self.progress.best_epoch][f"valid {ndcg}"]
        if kept:
            weights = dict(self.model.state_dict())
        record = {"transitions": fit._asdict(), **{f"valid {key}": value for key, value in metrics.items()}}
        self.run.write_metrics([*self.progress.history, record])
        write_tensors(self.run.best, weights, {FITTED: "true"})
        line = (
            f"transitions, fitted to {fit.cases:,} validation targets  loss {fit.before:.4f} -> {fit.after:.4f}  "
            f"valid {name} {best:.4f} -> {metrics[name]:.4f}{'' if kept else ' (left out)'}"
        )
        LOGGER.info("%s", line)
        bar.epoch(line)

    def _save(self) -> None:
        save_checkpoint(self.run.checkpoint, self.model, self.optimizer, self.state, self.progress)
        self.saved_at = time.monotonic()


def _fabric(options: RunOptions) -> Fabric:
    # it announces its precision on its own logger, to a person who did not ask
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    try:
        return Fabric(accelerator=options.accelerator, devices=1, precision=precision(options))
    except (RuntimeError, ValueError) as error:
        raise ConfigError(f"cannot train on accelerator {options.accelerator!r}: {error}") from None


def _line(record: dict[str, Any], config: TrainingConfig, *, best: bool, early: bool) -> str:
    value = record[f"valid {config.metric}"]
    end = f", no better for {config.patience} epochs: stopped" if early else ""
    return (
        f"epoch {record['epoch']}/{config.epochs}  loss {record['loss']:.4f}  valid {config.metric} {value:.4f}"
        f"{' (best)' if best else ''}  {record['events_per_s']:,.0f} events/s{end}"
    )


def step_seed(seed: int, step: int) -> int:
    """The seed of all random numbers of one step."""
    return int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0] >> 1)


def precision(options: RunOptions) -> Any:
    """What `auto` means on this machine: bfloat16 products where the hardware has them, else float32."""
    if options.precision != "auto":
        return options.precision
    if torch.cuda.is_available() and options.accelerator in ("auto", "cuda", "gpu"):
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "32-true"
    return "bf16-mixed" if torch.cpu._is_avx512_bf16_supported() else "32-true"
