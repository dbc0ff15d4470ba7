"""The trainings that tests make in several processes and in one. `torchrun rank_jobs.py OUT` makes all of them.

Each training leaves its run in OUT/NAME and the weights that each process returns in OUT/NAME-RANK.safetensors.
`torchrun rank_jobs.py kill ...` is the command `reprise ...` whose process 1 is killed in the second epoch.
"""

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import reprise.training.trainer as trainer_module
from reprise.cli.main import main as command
from reprise.config import spec
from reprise.data.batching import RowSegments
from reprise.data.dataset import SequenceDataset
from reprise.errors import ArtefactError, ConfigError, RepriseError
from reprise.models.batch import Batch
from reprise.models.items.content_embeddings import ItemContent
from reprise.models.networks.ensemble import Ensemble
from reprise.models.networks.recurrent import Recurrent
from reprise.models.networks.sequence_model import SequenceModel
from reprise.nn.cells import State
from reprise.testing import worlds
from reprise.training import NextItem, RunOptions, TrainingConfig, train
from reprise.training.checkpoint import write_tensors
from reprise.training.distributed.process_group import process_group
from reprise.training.losses.negatives import Negatives
from reprise.training.losses.sampled_losses import SampledSoftmax
from reprise.training.objectives import TrainingExamples
from reprise.training.trainer import Trainer

PLAIN = Recurrent(size=16, layers=1, dropout=0.0, item_dropout=0.0, cooccurrence=0, repeats=0)
CONFIG = TrainingConfig(
    epochs=1, events_per_batch=128, bptt_steps=8, metric="mrr@5", learning_rate=0.005, refit=0
)
OPTIONS = RunOptions(precision="32-true", accelerator="cpu", threads=1)


@spec
class WithPenalty:
    """Predict the next item, with the mean squared input vector of the events as a penalty."""

    def check(self, model: SequenceModel) -> None:
        """Accept every network."""

    def __call__(self, model: SequenceModel, batch: Batch, state: State | None) -> TrainingExamples:
        """Return the examples of `NextItem`, with the penalty."""
        found = NextItem()(model, batch, state)
        square_N = model.items(batch.item_BT)[batch.valid_BT].square().sum(1)
        return found._replace(penalty=square_N.sum() / max(1, len(square_N)))


def log() -> SequenceDataset:
    """Return sequences of 20 events: rows of 18 inputs, which 3 batches of 6 steps read with a carried state."""
    return worlds.memory(3, sequences=41)


RECIPES: dict[str, tuple[Any, TrainingConfig]] = {
    "dense": (PLAIN, replace(CONFIG, epochs=2)),
    "sparse": (
        replace(PLAIN, sparse=True),
        replace(CONFIG, epochs=2, loss=SampledSoftmax(negatives=Negatives(count=6))),
    ),
    "penalty": (PLAIN, replace(CONFIG, objective=WithPenalty())),
    "single rows": (PLAIN, replace(CONFIG, events_per_batch=8)),
    "stages": (
        Recurrent(size=16, layers=1, dropout=0.0, item_dropout=0.0),
        replace(CONFIG, refit=2, validation_sequences=10, forecast=True),
    ),
    "dropout": (replace(PLAIN, dropout=0.3, item_dropout=0.2), CONFIG),
    "ensemble": (Ensemble(PLAIN, members=2), CONFIG),
}
CONTENT = Recurrent(
    size=16,
    layers=1,
    dropout=0.0,
    item_dropout=0.0,
    cooccurrence=0,
    repeats=0,
    content=ItemContent(columns=("title",), id_dropout=0.0),
)


def train_all(run: Callable[[str, Any, TrainingConfig, SequenceDataset], None]) -> None:
    """Make all trainings of `RECIPES`, and one of a network that reads the content of items."""
    for name, (model, config) in RECIPES.items():
        run(name, model, config, log())
    run("content", CONTENT, replace(CONFIG, refit=1), worlds.families(sequences=40))


def trained(out: Path, rank: int) -> Callable[[str, Any, TrainingConfig, SequenceDataset], None]:
    """Return a function that trains a network and writes the weights of this process."""

    def run(name: str, model: Any, config: TrainingConfig, data: SequenceDataset) -> None:
        found = train(model, data, out / name, training=config, options=OPTIONS)
        write_tensors(out / f"{name}-{rank}.safetensors", dict(found.state_dict()), {})

    return run


def replicas(out: Path) -> None:
    """Train with dropout, and write the weights that each process has after the epoch, before it reads any file."""
    group = process_group()
    model, config = RECIPES["dropout"]
    end_epoch, seen = Trainer._end_epoch, dict[str, Tensor]()

    def keep(trainer: Trainer) -> str:
        seen.update({name: tensor.clone() for name, tensor in trainer.model.state_dict().items()})
        return end_epoch(trainer)

    Trainer._end_epoch = keep  # type: ignore[method-assign]
    train(model, log(), out / "replicas", training=config, options=OPTIONS)
    Trainer._end_epoch = end_epoch  # type: ignore[method-assign]
    write_tensors(out / f"replicas-{group.rank}.safetensors", seen, {})


def interrupted(out: Path, name: str, saves: int) -> None:
    """Train with a checkpoint after each step, and stop after some of them, in all processes."""
    model, config = RECIPES[name]
    options, save_checkpoint = replace(OPTIONS, checkpoint_s=0.0), trainer_module.save_checkpoint
    done = 0

    def save_and_stop(*args: Any) -> None:
        nonlocal done
        save_checkpoint(*args)
        done += 1
        if done == saves:
            raise ArtefactError("the disk is full")

    trainer_module.save_checkpoint = save_and_stop
    try:
        train(model, log(), out / f"interrupted {name}", training=config, options=options)
    finally:
        trainer_module.save_checkpoint = save_checkpoint


def message(job: Callable[[], object]) -> str:
    """Return the class and the text of the error that a job raises."""
    try:
        job()
    except (RepriseError, ZeroDivisionError) as error:
        return f"{type(error).__name__}: {error}"
    return "no error"


def errors(out: Path) -> dict[str, str]:
    """Return the messages of this process for trainings that cannot be made."""
    rank = process_group().rank
    model, config = RECIPES["dense"]

    def attempt(name: str, model: Any, config: TrainingConfig, data: SequenceDataset, **options: Any) -> str:
        return message(
            lambda: train(model, data, out / name, training=config, options=replace(OPTIONS, **options))
        )

    def one_cannot() -> None:
        with process_group().together():
            if rank == 1:
                raise ConfigError("there is no such file")

    def one_breaks() -> None:
        with process_group().together():
            if rank == 1:
                raise ZeroDivisionError("a mistake in the program")

    return {
        "seed": attempt("seeds", model, config, log(), seed=rank),
        "recipe": attempt("recipes", model, replace(config, epochs=1 + rank), log()),
        "data": attempt("data", model, config, worlds.memory(3, sequences=41 + rank)),
        "diverged": attempt("diverged", model, replace(config, learning_rate=1e30), log()),
        "disk": message(lambda: interrupted(out, "dense", 2)),
        "one cannot": message(one_cannot),
        "one breaks": message(one_breaks),
        "mps": attempt("mps", model, config, log(), accelerator="mps"),
    }


def main(out: Path) -> None:
    """Run everything in one of several processes."""
    group = process_group()
    train_all(trained(out, group.rank))
    replicas(out)
    found = errors(out)
    message(lambda: interrupted(out, "sparse", 3))
    (out / f"errors-{group.rank}.json").write_text(json.dumps(found))
    with group.together():
        for name in ("dense", "sparse") if group.is_main else ():
            # for another number of processes
            shutil.copytree(out / f"interrupted {name}", out / f"other {name}")
    for name in ("dense", "sparse"):
        model, config = RECIPES[name]
        train(model, log(), out / f"interrupted {name}", training=config, options=OPTIONS)


def killed() -> None:
    """Run a command line, and kill process 1 in the second epoch."""
    step = Trainer._step

    def kill_or_step(trainer: Trainer, segments: RowSegments) -> tuple[float, int]:
        if trainer.group.rank == 1 and trainer.progress.epoch == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return step(trainer, segments)

    Trainer._step = kill_or_step  # type: ignore[method-assign]
    sys.argv = ["reprise", *sys.argv[2:]]
    command()


if __name__ == "__main__":
    torch.set_num_threads(1)
    killed() if sys.argv[1] == "kill" else main(Path(sys.argv[1]))
