"""Deletion and insertion curves of attributions.

For a history of m events, s(A) is the network's score of its top item after the events A, in their order, and the events are
ranked by a method, the largest attribution first. With the first j of them, R_j:

- deletion is the mean over j = 1..m of s(all) - s(all without R_j). Larger is better: the score falls early.
- insertion is the mean over j = 1..m of s(all) - s(R_j). Smaller is better: few events restore the score.

Both are in units of the score, so compare methods of one network only (Petsiuk et al. 2018, "RISE", with scores for
probabilities). Shape letters: N users, T events.
"""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reprise.argument_checks import instance, whole
from reprise.arrays import Float64Array
from reprise.data.dataset import SequenceDataset, check_dataset
from reprise.errors import DataError
from reprise.evaluation.aligned_text import aligned
from reprise.evaluation.faithfulness.attributions import METHODS, EventHistory, scores_of_parts, top_item
from reprise.evaluation.ranking.targets import scored_view
from reprise.evaluation.stats.bootstrap import Bootstrap, Interval, Ratio
from reprise.models.networks.sequence_model import SequenceModel
from reprise.notebook_html import html_table

MIN_EVENTS = 3
"""Minimum number of events of a history: with fewer, the order of their removal says little."""
REFERENCE = next(iter(METHODS))
"""Method that the others are compared with."""


@dataclass(frozen=True)
class MethodCurves:
    """The curves of one method."""

    name: str
    """Name of the method."""
    deletion: Interval
    """Mean deletion over users; larger is better."""
    insertion: Interval
    """Mean insertion over users; smaller is better."""
    deletion_difference: Interval
    """Deletion minus that of `REFERENCE` on the same users, with a paired interval."""
    insertion_difference: Interval
    """Insertion minus that of `REFERENCE` on the same users, with a paired interval."""
    seconds: float
    """Time of the attributions of all users."""


@dataclass(frozen=True)
class Faithfulness:
    """Deletion and insertion of several methods on the same users of one network."""

    model: str
    """Name of the network."""
    users: int
    """Number of users."""
    events: float
    """Mean number of events of their histories."""
    methods: tuple[MethodCurves, ...]
    """One entry for each method; the first is `REFERENCE`."""

    def to_dict(self) -> dict[str, Any]:
        """Return all values as JSON values; `cost` is the time relative to that of `REFERENCE`."""
        methods = {
            one.name: {
                "deletion": one.deletion.to_dict(),
                "insertion": one.insertion.to_dict(),
                "deletion_difference": one.deletion_difference.to_dict(),
                "insertion_difference": one.insertion_difference.to_dict(),
                "cost": one.seconds / self.methods[0].seconds,
            }
            for one in self.methods
        }
        return {"model": self.model, "users": self.users, "events": self.events, "methods": methods}

    def __repr__(self) -> str:
        return f"Faithfulness({self.model!r}, {self.users} users, {len(self.methods)} methods)"

    def _repr_html_(self) -> str:
        head, *rows = self._rows()
        return html_table(f"Explanations of {self.model}", head, rows)

    def __str__(self) -> str:
        lines = [
            f"{self.model}: explanations of the top item of {self.users} users with {self.events:.1f} events on average",
            aligned(self._rows()),
            "deletion: larger is better; insertion: smaller is better; both in units of the score. Differences from "
            f"{REFERENCE} are paired.",
        ]
        return "\n\n".join(lines)

    def _rows(self) -> list[list[str]]:
        head = ["method", "deletion", "difference", "insertion", "difference", "time"]
        rows = [
            [
                one.name, f"{one.deletion.value:.3f}", one.deletion_difference.signed(), f"{one.insertion.value:.3f}",
                one.insertion_difference.signed(), f"{one.seconds / self.methods[0].seconds:.2f}",
            ]
            for one in self.methods
        ]  # fmt: skip
        return [head, *rows]


def measure_explanations(
    model: SequenceModel, dataset: SequenceDataset, users: int = 100, events: int = 20, seed: int = 0
) -> Faithfulness:
    """Measure how faithful attributions of a network are, on histories of random sequences.

    The history of a sequence is its last events before the test part. Events of items that the network has no vector for are
    left out.

    Args:
        model: Trained network, on the CPU. It must fold event by event (no ensemble).
        dataset: Its dataset.
        users: Largest number of sequences.
        events: Largest number of events of a history.
        seed: Seed of the choice of sequences.

    Raises:
        ConfigError: the model is not a single network, or a number is invalid.
        DataError: no sequence has three events before the test part.
    """
    instance(
        "model", model, SequenceModel, "explanations are measured for single networks from train or load_run"
    )
    check_dataset(dataset)
    users, events = whole("users", users), whole("events", events, low=MIN_EVENTS)
    histories = _histories(model, dataset, users, events, whole("seed", seed, low=0))
    if not histories:
        raise DataError(
            f"no sequence has {MIN_EVENTS} events before the test part, so there is nothing to explain"
        )
    was_training = model.training
    model.eval()
    try:
        items = [top_item(model, history) for history in histories]
        value_MN2 = np.zeros((len(METHODS), len(histories), 2))
        seconds = []
        for place, method in enumerate(METHODS.values()):
            begun = time.perf_counter()
            found = [method(model, history, item) for history, item in zip(histories, items, strict=True)]
            seconds.append(time.perf_counter() - begun)
            for row, (history, item, score_T) in enumerate(zip(histories, items, found, strict=True)):
                value_MN2[place, row] = _curves(model, history, item, score_T)
    finally:
        model.train(was_training)
    methods = [
        MethodCurves(
            name, *_intervals(value_MN2[place]), *_intervals(value_MN2[place] - value_MN2[0]), seconds[place]
        )
        for place, name in enumerate(METHODS)
    ]
    mean_events = float(np.mean([len(history) for history in histories]))
    return Faithfulness(model.name, len(histories), mean_events, tuple(methods))


def _curves(
    model: SequenceModel, history: EventHistory, item: int, attribution_T: Tensor
) -> tuple[float, float]:
    """Return the deletion and the insertion of one history."""
    count = len(history)
    rank_T = torch.empty(count, dtype=torch.int64)
    rank_T[attribution_T.argsort(descending=True, stable=True)] = torch.arange(count)
    first_BT = rank_T.unsqueeze(0) < torch.arange(1, count + 1).unsqueeze(1)
    keep_BT = torch.cat([torch.ones(1, count, dtype=torch.bool), ~first_BT, first_BT])
    score_B = scores_of_parts(model, history, keep_BT, item).double()
    loss_B = score_B[0] - score_B[1:]
    return float(loss_B[:count].mean()), float(loss_B[count:].mean())


def _intervals(value_N2: Float64Array) -> tuple[Interval, Interval]:
    """Return the means over users with their intervals."""
    ((deletion, insertion),) = Bootstrap().together(len(value_N2), [Ratio(value_N2, np.ones(len(value_N2)))])
    return deletion, insertion


def _histories(
    model: SequenceModel, dataset: SequenceDataset, users: int, events: int, seed: int
) -> list[EventHistory]:
    """Return the last known events before the test part of random sequences."""
    view = scored_view(model, dataset)
    found = []
    for row in np.random.default_rng(seed).permutation(len(view)).tolist():
        positions = np.arange(view.offset[row], view.valid_end[row])
        positions = positions[view.item[positions] <= view.items.scored][-events:]
        if len(positions) < MIN_EVENTS:
            continue
        columns = (
            view.item[positions].astype(np.int64), view.time_ms[positions] / 1000.0,
            view.kind[positions].astype(np.int64), view.value[positions].astype(np.float32),
        )  # fmt: skip
        found.append(EventHistory(*map(torch.from_numpy, columns)))
        if len(found) == users:
            break
    return found
