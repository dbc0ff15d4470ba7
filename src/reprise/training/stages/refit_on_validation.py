"""Fine-tune the trained network on the validation part, after that part has chosen the best epoch.

Shape letters: U sequences. The validation part holds the latest events before the test part, so a network that has
trained on it is more up to date. The number of passes is measured first: the network trains on the earlier half of the
validation sequences, and the later half shows after how many passes its metric is best.
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
from reprise.evaluation.protocol import EvaluationProtocol
from reprise.models.batch import gather
from reprise.models.counts.session_matrix import csr_positions
from reprise.training.recipe import TrainingConfig
from reprise.training.train_step import TrainStep, step_seed
from reprise.training.validation import Validation

LEARNING_RATE_SHARE = 0.2
"""Learning rate of the refit as a share of the peak. It is constant, so that all passes are alike and can be counted."""


class RefitResult(NamedTuple):
    """Number of passes over the validation part, and the metric that chose it."""

    passes: int
    """Number of passes over the whole validation part; 0 if training on its earlier half did not help."""
    before: float
    """Metric on the later half of the validation part before the refit."""
    after: float
    """Metric on the later half after the best number of passes over the earlier half."""

    def line(self, metric: str) -> str:
        """Return a summary in one line of text, with the name of the metric."""
        if not self.passes:
            return (
                f"refit on the validation part: none, it does not improve {metric} "
                f"(on the later half, {self.before:.4f})"
            )
        return (
            f"refit on the validation part: {self.passes} pass{'es' if self.passes > 1 else ''}  {metric} on the later half "
            f"{self.before:.4f} -> {self.after:.4f} by training on the earlier half"
        )


def refit_on_validation(
    make_step: Callable[[], TrainStep],
    dataset: SequenceDataset,
    config: TrainingConfig,
    *,
    events_per_batch: int,
    peak_learning_rate: float,
    seed: int,
) -> RefitResult:
    """Train the network on the validation part, with the number of passes that helps, at most `config.max_refit`.

    Args:
        make_step: Returns the trained network with a new optimiser.
        dataset: Its validation part is trained on, after its later half has chosen the number of passes.
        config: The hyper-parameters with which the network was trained.
        events_per_batch: Approximate number of events per batch.
        peak_learning_rate: Peak learning rate of the epochs; the refit uses the share `LEARNING_RATE_SHARE` of it.
        seed: Seed of all random numbers.
    """
    begin_U, end_U = dataset.part("valid")
    cut_U = _earlier_half(dataset)
    earlier, later = replace(dataset, valid_end=cut_U), replace(dataset, train_end=cut_U)
    if not all(EvaluationProtocol("valid").count_targets(half) for half in (earlier, later)):
        return RefitResult(0, 0.0, 0.0)
    train_step = make_step()
    validation = Validation(config, later, train_step.group)
    trained = {name: tensor.clone() for name, tensor in train_step.model.state_dict().items()}
    learning_rate = LEARNING_RATE_SHARE * peak_learning_rate

    def metric() -> float:
        return validation(train_step.model, train_step.fabric.autocast())[config.metric]

    values = [metric()]
    for number in range(config.max_refit):
        _pass(train_step, dataset, (begin_U, cut_U), events_per_batch, learning_rate, (seed, number))
        values.append(metric())
        if values[-1] <= values[-2]:
            break
    passes = int(np.argmax(values))
    train_step.model.load_state_dict(trained)
    train_step = make_step()
    for number in range(passes):
        _pass(train_step, dataset, (begin_U, end_U), events_per_batch, learning_rate, (seed, number))
    return RefitResult(passes, values[0], values[passes])


def _earlier_half(dataset: SequenceDataset) -> AnyArray:
    """Return where the earlier half of the validation part ends in each sequence, [U].

    Sequences are ordered by the time of their first validation event. The first half of them end where their validation
    part ends; the others have no event in the earlier half.
    """
    begin_U, end_U = dataset.part("valid")
    rows = np.flatnonzero(end_U > begin_U)
    earlier = rows[np.argsort(dataset.time_ms[begin_U[rows]], kind="stable")][: len(rows) // 2]
    cut_U = np.array(begin_U)
    cut_U[earlier] = end_U[earlier]
    return cut_U


def _pass(
    train_step: TrainStep,
    dataset: SequenceDataset,
    bounds: tuple[AnyArray, AnyArray],
    events_per_batch: int,
    learning_rate: float,
    seed: tuple[int, int],
) -> None:
    """Train once on the events between the bounds of each sequence; the events before them are inputs only."""
    first_U, last_U = bounds
    start_U = np.asarray(dataset.offset[:-1])
    train_step.model.items.learn(torch.from_numpy(_items_between(dataset, first_U, last_U)))
    stop_U = np.where(last_U > first_U, last_U, start_U)
    train_step.model.train()
    plan = BatchPlan(
        start_U, stop_U, events_per_batch=events_per_batch, max_steps=train_step.config.bptt_steps, seed=seed
    )
    for number, chunk in enumerate(plan):
        batch = gather(dataset, chunk, first_U, last_U)
        # items without a learned vector cannot be targets
        is_known_BT = train_step.model.items.is_candidate(batch.target_BT)
        known_BT = torch.where(is_known_BT, batch.target_BT, PAD)
        train_step(
            batch._replace(target_BT=known_BT),
            seed=step_seed(*seed, number),
            learning_rate=learning_rate,
            description=f"step {number} of pass {seed[1] + 1} over the validation part",
        )
    train_step.optimizer.settle()


def _items_between(dataset: SequenceDataset, first_U: AnyArray, last_U: AnyArray) -> AnyArray:
    """Return the items of the events between two positions of each sequence, int64, ascending."""
    position_E = csr_positions(np.asarray(first_U), np.asarray(last_U - first_U))
    return np.unique(dataset.item[position_E]).astype(np.int64)
