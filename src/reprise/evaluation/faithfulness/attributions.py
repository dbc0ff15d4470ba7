"""Attributions: how much each event of a history adds to a network's score of an item.

The score is the product of the query with the vector of the item, without counted corrections. Shape letters: T events, B rows,
D width.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from reprise.models.batch import Event
from reprise.models.networks.sequence_model import SequenceModel
from reprise.nn.cells import State

PATH_STEPS = 32
"""Number of points of the path of integrated gradients."""


@dataclass(frozen=True)
class EventHistory:
    """The events of one user, oldest first."""

    item_T: Tensor
    """Item index of each event, int64."""
    time_s_T: Tensor
    """Timestamp of each event, float64 seconds since 1970."""
    kind_T: Tensor
    """Kind of each event, int64."""
    value_T: Tensor
    """Value of each event, float32; NaN if it has none."""

    def __len__(self) -> int:
        return len(self.item_T)


def top_item(model: SequenceModel, history: EventHistory) -> int:
    """Return the index of the item that the network scores highest after a history."""
    with torch.no_grad():
        keep_BT = torch.ones(1, len(history), dtype=torch.bool)
        score_I = model.query(_state_of(model, history, keep_BT)) @ model.item_vectors().T
        score_I[:, 0] = -torch.inf  # padding
        return int(score_I[0].argmax())


def scores_of_parts(model: SequenceModel, history: EventHistory, keep_BT: Tensor, item: int) -> Tensor:
    """Return the score of an item after each of several parts of a history, [B].

    A removed event leaves the state unchanged, as if it had not happened. Later time gaps are measured from the event
    before it.

    Args:
        model: The network, in evaluation mode.
        history: The whole history.
        keep_BT: Whether each part has each event, bool.
        item: Index of the item.
    """
    with torch.no_grad():
        return model.query(_state_of(model, history, keep_BT)) @ model.item_vectors()[item]


def leave_one_out(model: SequenceModel, history: EventHistory, item: int) -> Tensor:
    """Return the score after the history minus that after the history without each event, [T]. Exact, in one batch."""
    keep_BT = torch.cat(
        [torch.ones(1, len(history), dtype=torch.bool), ~torch.eye(len(history), dtype=torch.bool)]
    )
    score_B = scores_of_parts(model, history, keep_BT, item)
    return score_B[0] - score_B[1:]


def gradient_times_input(model: SequenceModel, history: EventHistory, item: int) -> Tensor:
    """Return the product of each event's item vector with the gradient of the score, [T] (Shrikumar et al. 2017)."""
    return _along_path(model, history, item, torch.ones(1), torch.zeros(model.size))


def integrated_gradients(
    model: SequenceModel, history: EventHistory, item: int, steps: int = PATH_STEPS
) -> Tensor:
    """Return the integrated gradients of each event's item vector, from the mean vector of all items, [T].

    Sundararajan et al. 2017, "Axiomatic attribution for deep networks", equation 3, by the midpoint rule. Their sum is the
    score minus the score of a history of mean vectors (completeness), up to the error of the rule. Vectors of zeros would be
    no baseline: the networks normalise their inputs, so the score jumps near zero.

    Args:
        model: The network, in evaluation mode.
        history: The events.
        item: Index of the item.
        steps: Number of points of the path.
    """
    baseline_D = model.input_vectors()[1:].mean(0)
    return _along_path(model, history, item, (torch.arange(steps) + 0.5) / steps, baseline_D)


def latest_first(model: SequenceModel, history: EventHistory, item: int) -> Tensor:
    """Return the position of each event, [T]: the latest events count most. A control that reads nothing of the network."""
    return torch.arange(len(history), dtype=torch.float32)


def random_order(model: SequenceModel, history: EventHistory, item: int) -> Tensor:
    """Return random numbers, [T], equal for equal histories. The negative control."""
    generator = torch.Generator().manual_seed(int(history.item_T.sum()) + 31 * len(history))
    return torch.rand(len(history), generator=generator)


METHODS: dict[str, Callable[[SequenceModel, EventHistory, int], Tensor]] = {
    "leave one out": leave_one_out,
    "gradient x input": gradient_times_input,
    "integrated gradients": integrated_gradients,
    "latest first": latest_first,
    "random": random_order,
}
"""Methods by name; the first one is what the others are compared with."""


def score_of_baseline(model: SequenceModel, history: EventHistory, item: int) -> float:
    """Return the score of an item if each event has the mean vector of all items."""
    with torch.no_grad():
        mean_D = model.input_vectors()[1:].mean(0)
        return float(_score_of_vectors(model, history, mean_D.expand(1, len(history), -1), item))


def _along_path(
    model: SequenceModel, history: EventHistory, item: int, scale_B: Tensor, baseline_D: Tensor
) -> Tensor:
    """Return the mean gradient at points between a baseline and the vectors, times their difference, [T]."""
    with torch.enable_grad():
        start_D = baseline_D.detach()
        whole_TD = model.items(history.item_T.unsqueeze(0))[0].detach() - start_D
        x_BTD = (start_D + scale_B.view(-1, 1, 1) * whole_TD).requires_grad_()
        score_B = _score_of_vectors(model, history, x_BTD, item)
        (gradient_BTD,) = torch.autograd.grad(score_B.sum(), x_BTD)
    attribution_T: Tensor = (gradient_BTD.mean(0) * whole_TD).sum(1)
    return attribution_T


def _score_of_vectors(model: SequenceModel, history: EventHistory, x_BTD: Tensor, item: int) -> Tensor:
    """Return the scores of rows whose events have these item vectors, [B]."""
    rows = len(x_BTD)
    state = model.initial_state(rows)
    for step in range(len(history)):
        state = model.advance_vector(state, x_BTD[:, step], _event(history, step, rows))
    score_B: Tensor = model.query(state) @ model.item_vectors()[item].detach()
    return score_B


def _state_of(model: SequenceModel, history: EventHistory, keep_BT: Tensor) -> State:
    """Return the states after the kept events of each row."""
    rows = len(keep_BT)
    state = model.initial_state(rows)
    for step in range(len(history)):
        event = _event(history, step, rows)
        # padding leaves a row unchanged
        state = model.advance(state, event._replace(item_B=torch.where(keep_BT[:, step], event.item_B, 0)))
    return state


def _event(history: EventHistory, step: int, rows: int) -> Event:
    columns = (history.item_T, history.time_s_T, history.kind_T, history.value_T)
    return Event(*(column[step].expand(rows) for column in columns))
