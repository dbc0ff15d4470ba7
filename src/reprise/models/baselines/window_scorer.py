"""Base class of the scorers without gradients, whose state is the last few items of a user.

Shape letters: B users, T steps, N targets, W last items (the window, newest last, `PAD` if there are fewer), I items.
These scorers run on the CPU.
"""

from abc import ABC, abstractmethod
from typing import TypeVar

import torch
from torch import Tensor

from reprise.data.dataset import Part, SequenceDataset
from reprise.data.vocabulary import PAD
from reprise.models.batch import Batch, Event, move_padding_last
from reprise.models.corrections.recent_events import append_event, empty_windows, target_windows
from reprise.models.encoder import select_state
from reprise.nn.cells import State

Counted = TypeVar("Counted", bound="WindowScorer")


class WindowScorer(ABC):
    """A scorer whose state is the last W items. A subclass implements `count_events` and `score_windows`.

    Args:
        name: Name of the model in tables and reports.
        window: W; 0 for a scorer that ignores the history.
    """

    def __init__(self, name: str, window: int) -> None:
        self.name, self.window = name, window
        self.learned_from: str | None = None
        """Fingerprint of the dataset that was fitted."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    def count(self, dataset: SequenceDataset, before: Part = "test") -> None:
        """Count the events before a part, replacing any earlier counts.

        Raises:
            DataError: The training part is empty.
        """
        self.count_events(dataset, before)
        self.learned_from = dataset.fingerprint

    @abstractmethod
    def count_events(self, dataset: SequenceDataset, before: Part) -> None:
        """Compute everything that the scores need from the events before a part."""

    @abstractmethod
    def score_windows(self, recent_NW: Tensor) -> Tensor:
        """Return the scores of all items after each window, s_NI."""

    def initial_state(self, batch: int) -> State:
        """Return empty windows."""
        return {"recent_BW": empty_windows(batch, self.window, torch.device("cpu"))}

    def advance(self, state: State, event: Event) -> State:
        """Append the item of each event to its window, except `PAD`."""
        recent_BW = append_event(state["recent_BW"], event.item_B)
        return select_state({"recent_BW": recent_BW}, state, event.item_B != PAD)

    def scores(self, state: State, now_s_B: Tensor | None = None) -> Tensor:
        """Return the scores after the last items, s_BI."""
        return self.score_windows(state["recent_BW"])

    def score_batch(self, batch: Batch, state: State | None = None) -> tuple[Tensor, State]:
        """Return the scores at each target, s_NI, and the state after the batch."""
        fresh = self.initial_state(len(batch.item_BT))
        before = select_state(state, fresh, ~batch.fresh_B) if state is not None else fresh
        events, _, seen_BT = move_padding_last(batch)
        wanted_BT = batch.target_BT != PAD
        recent_NW, recent_BW = target_windows(before["recent_BW"], events.item_BT, seen_BT, wanted_BT)
        return self.score_windows(recent_NW), {"recent_BW": recent_BW}


def fitted(scorer: Counted, dataset: SequenceDataset) -> Counted:
    """Count the events before the test part and return the scorer."""
    scorer.count(dataset)
    return scorer
