"""The last passes: once the validation part has chosen everything, the network learns it too.

Shape letters: U sequences. The events of the validation part are the latest before those that will be asked about; a shop
that trains on Monday wants to have learned from Sunday. How many passes help is measured before: the earlier half of the
sequences is learned, the later half judges.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch

from reprise.arrays import AnyArray
from reprise.data.batching import BatchPlan
from reprise.data.dataset import SequenceDataset
from reprise.data.vocabulary import PAD
from reprise.evaluation.ranking.targets import EvaluationPlan
from reprise.models.batch import gather
from reprise.training.recipe import TrainingConfig
from reprise.training.train_step import TrainSteps, step_seed
from reprise.training.validation import Validation

RATE = 0.2
"""Learning rate of these passes, as a share of the peak. It stays the same, so that one pass more is one pass more."""


class Refit(NamedTuple):
    """How many passes there were, and why."""

    passes: int
    before: float
    """The metric on the later half of the validation part, nothing of it learned."""
    after: float
    """The same once the earlier half had been learned, as often as helped."""


def refit(
    make: Callable[[], TrainSteps],
    dataset: SequenceDataset,
    config: TrainingConfig,
    *,
    tokens: int,
    rate: float,
    seed: int,
) -> Refit:
    """Learn the validation part, as many times as help and `config.refit` allows.

    Args:
        make: A new optimiser for the network, which has learned the training part.
        dataset: Its validation part is learned, and judges.
        config: How the network was trained.
        tokens: Events a step, about.
        rate: Peak learning rate of the epochs; `RATE` of it is used.
        seed: All chance comes from it.
    """
    begin_U, end_U = dataset.part("valid")
    cut_U = _earlier_half(dataset)
    learned, halved = replace(dataset, valid_end=cut_U), replace(dataset, train_end=cut_U)
    if not all(EvaluationPlan("valid").targets(half) for half in (learned, halved)):
        return Refit(0, 0.0, 0.0)
    judge = Validation(config, halved)
    steps = make()
    kept = {name: tensor.clone() for name, tensor in steps.model.state_dict().items()}

    def value() -> float:
        return judge(steps.model, steps.fabric.autocast())[config.metric]

    values = [value()]
    for number in range(config.refit):
        _pass(steps, dataset, (begin_U, cut_U), tokens, RATE * rate, (seed, number))
        values.append(value())
        if values[-1] <= values[-2]:
            break
    passes = int(np.argmax(values))
    steps.model.load_state_dict(kept)
    steps = make()
    for number in range(passes):
        _pass(steps, dataset, (begin_U, end_U), tokens, RATE * rate, (seed, number))
    return Refit(passes, values[0], values[passes])


def _earlier_half(dataset: SequenceDataset) -> AnyArray:
    """Where validation would begin, if the sequences that come to it first were trained on to its end, [U]."""
    begin_U, end_U = dataset.part("valid")
    rows = np.flatnonzero(end_U > begin_U)
    earlier = rows[np.argsort(dataset.time_ms[begin_U[rows]], kind="stable")][: len(rows) // 2]
    cut_U = np.array(begin_U)
    cut_U[earlier] = end_U[earlier]
    return cut_U


def _pass(
    steps: TrainSteps,
    dataset: SequenceDataset,
    bounds: tuple[AnyArray, AnyArray],
    tokens: int,
    rate: float,
    seed: tuple[int, int],
) -> None:
    """Learn the events between the bounds of each sequence once, having read what came before them."""
    first_U, last_U = bounds
    start_U = np.asarray(dataset.offset[:-1])
    stop_U = np.where(last_U > first_U, last_U, start_U)
    steps.model.train()
    for number, chunk in enumerate(
        BatchPlan(start_U, stop_U, events_per_batch=tokens, max_steps=steps.config.chunk, seed=seed)
    ):
        batch = gather(dataset, chunk, first_U, last_U)
        known_BT = torch.where(batch.target_BT <= dataset.items.warm, batch.target_BT, PAD)
        steps(
            batch._replace(target_BT=known_BT),
            seed=step_seed(*seed, number),
            rate=rate,
            where=f"step {number} of pass {seed[1] + 1} over the validation part",
        )
