"""Scorers that only count: popularity, and a smoothed first-order Markov chain.

Shape letters: B users, T steps, N targets, I items (the warm ones), P pairs of item and successor.
They run on the CPU and score in float64, so that smoothing can break ties between large counts.
"""

from typing import Self, TypeVar

import torch
from torch import Tensor

from reprise.data.dataset import SequenceDataset
from reprise.data.vocabulary import PAD
from reprise.errors import ConfigError
from reprise.models.batch import Batch, Event
from reprise.models.counts import PairCounts, count_pairs, entries, popularity
from reprise.models.encoder import keep_state
from reprise.nn.cells import State

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
        self._transitions: PairCounts | None = None

    def fit(self, dataset: SequenceDataset) -> Self:
        """Count the transitions of the training part; memory grows with the distinct pairs, not with events.

        Raises:
            DataError: The training part is empty.
        """
        self._share_I = popularity(dataset)
        self._transitions = count_pairs(dataset)
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
        row_P, pair_P = entries(pairs.start, last_N)
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


def _fitted(value: Counted | None, name: str) -> Counted:
    if value is None:
        raise ConfigError(f"{name} is not fitted; call {name}().fit(dataset) first")
    return value
