"""Scorers that only count: popularity, and a smoothed first-order Markov chain.

Shape letters: B users, T steps, N targets, I items (the warm ones), P pairs of item and successor, E events.
They run on the CPU and score in float64, so that smoothing can break ties between large counts.
"""

from collections.abc import Iterator
from typing import NamedTuple, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

from reprise.data.dataset import IntArray, SequenceDataset
from reprise.data.vocabulary import PAD
from reprise.errors import ConfigError, DataError
from reprise.models.batch import Batch, Event
from reprise.models.encoder import keep_state
from reprise.nn.cells import State

EVENTS_AT_ONCE = 1 << 22
"""Events that `fit` holds in memory at a time."""

Counted = TypeVar("Counted")


class Popularity:
    """Scores every item by its share of the training events, whatever came before."""

    name = "Popularity"

    def __init__(self) -> None:
        self._share_I: Tensor | None = None

    def fit(self, dataset: SequenceDataset) -> Self:
        """Count the items of the training part.

        Raises:
            DataError: The training part is empty.
        """
        self._share_I = popularity(dataset)
        return self

    def initial_state(self, batch: int) -> State:
        """Nothing to remember: a tensor of width 0 that only says how many users there are."""
        return {"none_B0": torch.zeros(batch, 0)}

    def advance(self, state: State, event: Event) -> State:
        """The same state: events change nothing."""
        return state

    def scores(self, state: State, now_s_B: Tensor | None = None) -> Tensor:
        """The share of each item, s_BI; one row of memory for all users."""
        return _fitted(self._share_I, self.name).expand(len(state["none_B0"]), -1)

    def score_batch(self, batch: Batch, state: State | None = None) -> tuple[Tensor, State]:
        """The share of each item at each target, s_NI, and the state."""
        s_NI = _fitted(self._share_I, self.name).expand(batch.targets, -1)
        return s_NI, self.initial_state(len(batch.item_BT))


class Transitions(NamedTuple):
    """Counted pairs of neighbours, as compressed sparse rows over item indices."""

    start: Tensor
    """[I + 2]: the pairs of item i are at `start[i]`..`start[i + 1]`; item 0 (`PAD`) has none."""
    successor_P: Tensor
    """Item indices, int64."""
    count_P: Tensor
    """How often, float64."""


class Markov:
    """A first-order Markov chain: p(j | i) = (c_ij + a p_j) / (c_i + a).

    c_ij counts how often j follows i in a training sequence, c_i is its sum over j, p_j the popularity of j, and
    a the `smoothing`. Without history, and after an item that nothing followed, this is popularity. Additive
    smoothing towards a prior: MacKay and Peto, "A hierarchical Dirichlet language model" (1995).
    """

    name = "Markov"

    def __init__(self, smoothing: float = 1.0) -> None:
        if not 0 < smoothing < float("inf"):
            raise ConfigError(
                f"smoothing must be a positive number, got {smoothing}; small is close to bare counts"
            )
        self.smoothing = float(smoothing)
        self._share_I: Tensor | None = None
        self._transitions: Transitions | None = None

    def fit(self, dataset: SequenceDataset) -> Self:
        """Count the transitions of the training part; memory grows with the distinct pairs, not with events.

        Raises:
            DataError: The training part is empty.
        """
        self._share_I = popularity(dataset)
        self._transitions = count_transitions(dataset)
        return self

    def initial_state(self, batch: int) -> State:
        """No last item yet."""
        return {"last_B": torch.full((batch,), PAD, dtype=torch.int64)}

    def advance(self, state: State, event: Event) -> State:
        """The state whose last item is this event's, unless that is `PAD`."""
        return {"last_B": torch.where(event.item_B == PAD, state["last_B"], event.item_B)}

    def scores(self, state: State, now_s_B: Tensor | None = None) -> Tensor:
        """p(j | last item), s_BI."""
        return self._after(state["last_B"])

    def score_batch(self, batch: Batch, state: State | None = None) -> tuple[Tensor, State]:
        """p(j | last item) at each target, s_NI, and the state after the batch."""
        fresh = self.initial_state(len(batch.item_BT))
        before = keep_state(state, fresh, ~batch.fresh_B) if state is not None else fresh
        last_BT = last_items(batch.item_BT, before["last_B"])
        return self._after(last_BT[batch.target_BT != PAD]), {"last_B": last_BT[:, -1]}

    def _after(self, last_N: Tensor) -> Tensor:
        share_I, pairs = _fitted(self._share_I, self.name), _fitted(self._transitions, self.name)
        begin_N, count_N = pairs.start[last_N], pairs.start[last_N + 1] - pairs.start[last_N]
        row_P = torch.repeat_interleave(torch.arange(len(last_N)), count_N)
        first_N = count_N.cumsum(0) - count_N
        pair_P = torch.arange(len(row_P)) + (begin_N - first_N)[row_P]
        c_P = pairs.count_P[pair_P]
        norm_N = self.smoothing + torch.zeros_like(last_N, dtype=c_P.dtype).index_add_(0, row_P, c_P)
        s_NI = (self.smoothing / norm_N)[:, None] * share_I
        s_NI[row_P, pairs.successor_P[pair_P] - 1] += c_P / norm_N[row_P]
        return s_NI


def last_items(item_BT: Tensor, before_B: Tensor) -> Tensor:
    """The last item that is not `PAD` up to each step, int64; `before_B` where there is none yet."""
    step_BT = torch.arange(item_BT.shape[1]).expand_as(item_BT)
    known_BT = torch.where(item_BT != PAD, step_BT, -1).cummax(1).values
    return torch.where(known_BT < 0, before_B[:, None], item_BT.gather(1, known_BT.clamp(min=0)))


def popularity(dataset: SequenceDataset) -> Tensor:
    """Each warm item's share of the training events, [I], float64.

    Raises:
        DataError: The training part is empty.
    """
    count_I = np.zeros(dataset.items.warm, dtype=np.int64)
    for item_E, _ in _training_blocks(dataset):
        count_I += np.bincount(item_E - 1, minlength=len(count_I))
    if not count_I.sum():
        raise DataError("the training part is empty, there is nothing to count; choose a later split")
    return torch.from_numpy(count_I / count_I.sum())


def count_transitions(dataset: SequenceDataset) -> Transitions:
    """How often each item follows each other one in the sequences of the training part."""
    items = dataset.items.warm
    code_P, count_P = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    for item_E, last_E in _training_blocks(dataset):
        inside = ~last_E[:-1]
        code_E = item_E[:-1][inside].astype(np.int64) * (items + 1) + item_E[1:][inside]
        code_P, count_P = _merged(code_P, count_P, *np.unique(code_E, return_counts=True))
    start = np.searchsorted(code_P, np.arange(items + 2) * (items + 1))
    successor_P = torch.from_numpy(code_P % (items + 1))
    return Transitions(torch.from_numpy(start), successor_P, torch.from_numpy(count_P.astype(np.float64)))


def _merged(
    code_P: IntArray, count_P: IntArray, more_code: IntArray, more_count: IntArray
) -> tuple[IntArray, IntArray]:
    """Both counts of pairs in one, ordered by code."""
    code, place = np.unique(np.concatenate([code_P, more_code]), return_inverse=True)
    count = np.zeros(len(code), dtype=np.int64)
    np.add.at(count, place, np.concatenate([count_P, more_count]))
    return code, count


def _training_blocks(dataset: SequenceDataset) -> Iterator[tuple[IntArray, IntArray]]:
    """The items of the training events, and whether each is the last of its sequence; sequences stay whole."""
    first_U, last_U = dataset.part("train")
    end_U = np.cumsum(np.asarray(last_U) - np.asarray(first_U))
    begin = 0
    while begin < len(dataset):
        done = end_U[begin - 1] if begin else 0
        stop = max(begin + 1, int(np.searchsorted(end_U, done + EVENTS_AT_ONCE, side="right")))
        first_S, length_S = first_U[begin:stop], last_U[begin:stop] - first_U[begin:stop]
        after_S = np.cumsum(length_S)
        position_E = np.arange(after_S[-1]) + np.repeat(first_S - (after_S - length_S), length_S)
        last_E = np.zeros(len(position_E), dtype=bool)
        last_E[after_S[length_S > 0] - 1] = True
        yield dataset.item[position_E], last_E
        begin = stop


def _fitted(value: Counted | None, name: str) -> Counted:
    if value is None:
        raise ConfigError(f"{name} is not fitted; call {name}().fit(dataset) first")
    return value
