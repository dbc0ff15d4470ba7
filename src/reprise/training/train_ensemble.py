"""Training several networks apart: each member of an ensemble is a run of its own, and in the end they are joined.

A member is trained, and may be resumed, evaluated or exported, as if it were alone.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from reprise.data.dataset import SequenceDataset
from reprise.models.networks.ensemble import Ensemble, EnsembleScorer
from reprise.training.checkpoint import load_weights, read_tensors, write_tensors
from reprise.training.devices import fabric_for
from reprise.training.fit_cooccurrence import add_transitions
from reprise.training.recipe import Recipe, RunOptions
from reprise.training.run_directory import MEMBERS, RunDirectory
from reprise.training.training_progress import TrainingProgress, say
from reprise.training.validation import Validation, recorded


def train_members(
    recipe: Recipe,
    dataset: SequenceDataset,
    run: RunDirectory,
    options: RunOptions,
    shown: bool | None,
    train: Callable[[Recipe, SequenceDataset, RunDirectory, RunOptions, bool | None], None],
) -> None:
    """Train the members that have not been trained, with seeds that follow each other, and join them.

    Args:
        recipe: That of an `Ensemble`.
        dataset: What they learn.
        run: Where the ensemble is kept, and the runs of its members.
        options: Those of the first member; its seed is that of the ensemble.
        shown: As for `train`.
        train: What trains one: a recipe, the dataset, a run, options, and `shown`.
    """
    ensemble = recipe.model
    assert isinstance(ensemble, Ensemble)
    if run.best.exists():
        return
    bar = TrainingProgress(shown, 1, 1)
    one = Recipe(model=ensemble.single(), training=recipe.training)
    runs = [run.member(number) for number in range(1, ensemble.members + 1)]
    for number, member in enumerate(runs):
        seed = options.seed + number
        say(bar, f"member {number + 1} of {ensemble.members}, seed {seed}")
        train(one, dataset, member, replace(options, seed=seed), shown)
    _join(recipe, dataset, run, runs, options, bar)


def _join(
    recipe: Recipe,
    dataset: SequenceDataset,
    run: RunDirectory,
    runs: list[RunDirectory],
    options: RunOptions,
    bar: TrainingProgress,
) -> None:
    """Put the best weights of all members side by side, and find what counted transitions add to them."""
    config, fabric = recipe.training, fabric_for(options)
    model = recipe.model.build(dataset.sizes)
    assert isinstance(model, EnsembleScorer)
    validation = Validation(config, dataset)
    fabric.to_device(model)
    _load(model, [member.best for member in runs])
    alone = validation(model, fabric.autocast())
    records: list[dict[str, Any]] = [{MEMBERS: len(runs), **recorded(alone)}]
    say(bar, f"{len(runs)} members together  valid {config.metric} {alone[config.metric]:.4f}")
    if model.transitions is not None:
        added = add_transitions(model, dataset, config, validation, fabric, alone)
        records.append(added.record())
        say(bar, added.line)
        if not added.kept:
            with torch.no_grad():
                model.transitions.gain.zero_()
    best = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    if any(member.final.exists() for member in runs):
        _load(model, [member.final if member.final.exists() else member.best for member in runs])
        write_tensors(run.final, dict(model.state_dict()), {})
    run.write_metrics(records)
    # last: where it is, the ensemble is done
    write_tensors(run.best, best, {})


def _load(model: EnsembleScorer, files: list[Path]) -> None:
    """Put the weights of runs into the members. What counts gave a member by itself is none of it."""
    for member, file in zip(model.members, files, strict=True):
        weights, _ = read_tensors(file)
        own = {name: tensor for name, tensor in weights.items() if not name.startswith("transitions.")}
        load_weights(file, member, own)
