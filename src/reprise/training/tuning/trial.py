"""One trial of a search: train on the training part and compute the metric on the validation part.

Only this module knows the two kinds of spec that can be searched: those with `build` (networks) and those with `fit`.
"""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from reprise.config import from_dict
from reprise.data.dataset import SequenceDataset
from reprise.errors import RepriseError
from reprise.training.parallel.worker_process import Channel, Message, open_dataset
from reprise.training.recipe import Recipe, RunOptions
from reprise.training.start_run import train
from reprise.training.tracking.callbacks import EpochCallback, StopTraining
from reprise.training.train_step import torch_threads
from reprise.training.validation import Validation, metrics_of

Outcome = dict[str, Any]
"""Result of a trial: `value`, the metric; or `stopped`, True; or `error`, the message."""
EpochDecision = Callable[[int, float], bool]
"""Function of an epoch and its metric that returns whether the trial continues."""


def run_trial(
    recipe: Recipe, dataset: SequenceDataset, out: Path, options: RunOptions, decide: EpochDecision
) -> Outcome:
    """Train and evaluate one recipe, or resume a trial that was interrupted.

    Args:
        recipe: Recipe with the spec of a network or of a model that is fitted by counting.
        dataset: Dataset with a training part and a validation part.
        out: Run directory of a network.
        options: Options of the run, as for `train`.
        decide: Called after each epoch; returns whether the trial continues.

    Returns:
        The outcome. A trial that cannot be trained is an outcome with `error`, for instance if its learning rate is too high
        or memory is too small.
    """
    metric = recipe.training.metric

    def on_epoch(record: dict[str, Any]) -> None:
        if not decide(record["epoch"], metrics_of(record)[metric]):
            raise StopTraining

    try:
        with torch_threads(options):
            model = _fit_model(recipe, dataset, out, options, on_epoch)
            return {"value": Validation(recipe.training, dataset)(model, nullcontext())[metric]}
    except StopTraining:
        return {"stopped": True}
    except (RepriseError, MemoryError, RuntimeError) as error:
        return {"error": f"{type(error).__name__}: {error}"}


def run_trial_job(job: Message, channel: Channel) -> Outcome:
    """Run a trial in a worker process. The process of the search decides after each epoch."""

    def decide(epoch: int, value: float) -> bool:
        channel.send({"epoch": epoch, "value": value})
        return bool(channel.receive()["go"])

    recipe = from_dict(job["recipe"], Recipe, trusted=True)
    options = from_dict(job["options"], RunOptions)
    return run_trial(recipe, open_dataset(job["dataset"]), Path(job["out"]), options, decide)


def _fit_model(
    recipe: Recipe, dataset: SequenceDataset, out: Path, options: RunOptions, on_epoch: EpochCallback
) -> Any:
    if not hasattr(recipe.model, "build"):
        return recipe.model.fit(dataset)
    # no refit: it would train on the validation part, which compares the trials
    without_refit = Recipe(model=recipe.model, training=replace(recipe.training, refit=0))
    return train(without_refit, dataset, out, options=options, progress=False, on_epoch=on_epoch)
