"""Scorers that only count: popularity, a smoothed first-order Markov chain, and transitions over several distances.

Shape letters: B users, T steps, N targets, W last events, I items (the warm ones), P pairs of item and successor.
They run on the CPU and score in float64, so that smoothing can break ties between large counts.
"""

from typing import Self, TypeVar

import torch
from torch import Tensor

from reprise.data.dataset import Part, SequenceDataset
from reprise.data.vocabulary import PAD
from reprise.errors import ConfigError
from reprise.models.batch import Batch, Event, known_first
from reprise.models.counts import PairCounts, count_pairs, entries, item_counts, popularity
from reprise.models.encoder import keep_state
from reprise.models.fitting import find_cases, fit_residual
from reprise.models.transitions import TransitionResidual, after_event, no_events, windows
from reprise.nn.cells import State

Counted = TypeVar("Counted")


class Popularity:
    """Scores every item by its share of the training events, whatever came before."""

    name = "Popularity"

    def __init__(self) -> None:
        self.learned_from: str | None = None
        """Fingerprint of the dataset that was counted."""
        self._share_I: Tensor | None = None

    def fit(self, dataset: SequenceDataset) -> Self:
        """Count the items of the training part.

        Raises:
            DataError: The training part is empty.
        """
        self._share_I = popularity(dataset)
        self.learned_from = dataset.fingerprint
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
        self.learned_from: str | None = None
        """Fingerprint of the dataset that was counted."""
        self._share_I: Tensor | None = None
        self._transitions: PairCounts | None = None

    def fit(self, dataset: SequenceDataset) -> Self:
        """Count the transitions of the training part; memory grows with the distinct pairs, not with events.

        Raises:
            DataError: The training part is empty.
        """
        self._share_I = popularity(dataset)
        self._transitions = count_pairs(dataset)
        self.learned_from = dataset.fingerprint
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


class Transitions:
    """What came near the last W items, at several distances: log p_j + g log(1 + s_j / e), see `TransitionResidual`.

    The parameters are fitted on the validation part, whose events are not counted; without one they keep their defaults.
    Popular items that came near the same ones stand first: a chain with a memory of W events instead of one.

    Args:
        window: Last events that are looked at, W.
        neighbours: Items counted near each item, at most.
        exclude_seen: Whether it will be asked for items that the user has not had.
    """

    name = "Transitions"

    def __init__(self, window: int = 20, neighbours: int = 128, *, exclude_seen: bool = False) -> None:
        if min(window, neighbours) < 1:
            raise ConfigError(f"window and neighbours must be at least 1, got {window} and {neighbours}")
        self.window, self.neighbours, self.exclude_seen = window, neighbours, exclude_seen
        self.learned_from: str | None = None
        """Fingerprint of the dataset that was counted."""
        self._log_share_I: Tensor | None = None
        self._residual: TransitionResidual | None = None

    def fit(self, dataset: SequenceDataset) -> Self:
        """Count the pairs of the training part, fit what they are worth on the validation part, and count that part too.

        Raises:
            DataError: The training part is empty.
        """
        log_share_I = popularity(dataset).log()
        residual = TransitionResidual(dataset.items.warm, self.window, self.neighbours)
        residual.observe(dataset, before="valid")
        cases = find_cases(dataset, "valid", self.window, exclude_seen=self.exclude_seen)
        # beside popularity log loss gives the better lists; beside a network it does not
        fit_residual(residual, cases, lambda case_C: log_share_I.float().expand(len(case_C), -1), focus=0.0)
        self._residual = residual.requires_grad_(False)
        self.observe(dataset)
        return self

    def observe(self, dataset: SequenceDataset, before: Part = "test") -> None:
        """Count the events before a part, with the parameters that were fitted."""
        residual = _fitted(self._residual, self.name)
        residual.observe(dataset, before)
        count_I = item_counts(dataset, before)
        self._log_share_I = (count_I / count_I.sum()).log()
        self.learned_from = dataset.fingerprint

    def initial_state(self, batch: int) -> State:
        """No events yet."""
        return {"recent_BW": no_events(batch, self.window, torch.device("cpu"))}

    def advance(self, state: State, event: Event) -> State:
        """The state with this event's item at its end, unless that is `PAD`."""
        recent_BW = after_event(state["recent_BW"], event.item_B)
        return keep_state({"recent_BW": recent_BW}, state, event.item_B != PAD)

    def scores(self, state: State, now_s_B: Tensor | None = None) -> Tensor:
        """The logits after the last items, s_BI."""
        return self._after(state["recent_BW"])

    def score_batch(self, batch: Batch, state: State | None = None) -> tuple[Tensor, State]:
        """The logits at each target, s_NI, and the state after the batch."""
        fresh = self.initial_state(len(batch.item_BT))
        before = keep_state(state, fresh, ~batch.fresh_B) if state is not None else fresh
        events, _, seen_BT = known_first(batch)
        wanted_BT = batch.target_BT != PAD
        recent_NW, recent_BW = windows(before["recent_BW"], events.item_BT, seen_BT, wanted_BT)
        return self._after(recent_NW), {"recent_BW": recent_BW}

    def _after(self, recent_NW: Tensor) -> Tensor:
        residual, log_share_I = _fitted(self._residual, self.name), _fitted(self._log_share_I, self.name)
        s_NI = log_share_I.repeat(len(recent_NW), 1)
        residual(recent_NW).add_to(s_NI)
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
