"""One trial of a search: learn the training part, and be judged on the validation part.

This is the one place that knows what kinds of spec can be searched: those that `build` a network, and those that `fit`.
"""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from reprise.data.dataset import SequenceDataset
from reprise.errors import RepriseError
from reprise.training.callbacks import StopTraining
from reprise.training.recipe import Recipe, RunOptions
from reprise.training.trainer import torch_threads, train
from reprise.training.validation import Validation, metrics_of

Outcome = dict[str, Any]
"""One of: the `value`; `stopped`; an `error`."""
Judge = Callable[[int, float], bool]
"""Told an epoch and its metric; whether to go on."""


def run_trial(
    recipe: Recipe, dataset: SequenceDataset, out: Path, options: RunOptions, judge: Judge
) -> Outcome:
    """Train and judge one recipe, or go on with a trial that was begun.

    Args:
        recipe: A network's, or that of a model that is fitted.
        dataset: Its training part is learned, its validation part judges.
        out: The run directory of a network.
        options: As for `train`.
        judge: Asked after each epoch.

    Returns:
        What came of it. A trial that cannot be trained is an outcome too: a rate that is too high, too little memory.
    """
    metric = recipe.training.metric

    def on_epoch(record: dict[str, Any]) -> None:
        if not judge(record["epoch"], metrics_of(record)[metric]):
            raise StopTraining

    try:
        with torch_threads(options):
            model = _learn(recipe, dataset, out, options, on_epoch)
            return {"value": Validation(recipe.training, dataset)(model, nullcontext())[metric]}
    except StopTraining:
        return {"stopped": True}
    except (RepriseError, MemoryError, RuntimeError) as error:
        return {"error": f"{type(error).__name__}: {error}"}


def _learn(
    recipe: Recipe,
    dataset: SequenceDataset,
    out: Path,
    options: RunOptions,
    on_epoch: Callable[[dict[str, Any]], None],
) -> Any:
    if not hasattr(recipe.model, "build"):
        return recipe.model.fit(dataset)
    # the last passes would learn what is to judge, and they come after it
    plan = Recipe(model=recipe.model, training=replace(recipe.training, refit=0))
    return train(plan, dataset, out, options=options, progress=False, on_epoch=on_epoch)
