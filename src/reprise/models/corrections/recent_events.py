"""The last W events of each user: the window that the corrections of the logits read, carried in the state.

Shape letters: B rows, T steps, N targets, W events of a window (newest last).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from reprise.data.vocabulary import PAD
from reprise.models.batch import Event, Inputs
from reprise.nn.cells import State

ITEM, TIME, KIND = "recent", "recent_time_s", "recent_kind"
"""Names of the arrays of the state, [B, W]: items, timestamps and kinds of the last events."""


class RecentEvents(NamedTuple):
    """The last W warm events before each of N targets, newest last."""

    item_NW: Tensor
    """Item indices, int64; `PAD` if there are fewer than W events."""
    time_s_NW: Tensor | None = None
    """Timestamps, float64 seconds; NaN if unknown. None if the correction reads no times."""
    kind_NW: Tensor | None = None
    """Kinds of the events, int64. None if the correction reads no kinds."""

    def take(self, row_N: Tensor) -> "RecentEvents":
        """Return the windows of some targets."""
        return RecentEvents(
            self.item_NW[row_N], *(column if column is None else column[row_N] for column in self[1:])
        )

    def to(self, device: torch.device) -> "RecentEvents":
        """Return the windows on another device."""
        others = (column if column is None else column.to(device) for column in self[1:])
        return RecentEvents(self.item_NW.to(device), *others)

    @classmethod
    def of_state(cls, state: State) -> "RecentEvents":
        """Return the windows in a state, one for each row."""
        return cls(state[ITEM], state.get(TIME), state.get(KIND))


class RecentEventsWindow(NamedTuple):
    """What is kept of the last events of each user."""

    size: int
    """W: number of events."""
    times: bool = False
    """Whether timestamps are kept."""
    kinds: bool = False
    """Whether kinds are kept."""

    def initial_state(self, batch: int, device: torch.device) -> State:
        """Return the windows of `batch` users without events."""
        state = {ITEM: empty_windows(batch, self.size, device)}
        if self.times:
            state[TIME] = torch.zeros((batch, self.size), dtype=torch.float64, device=device)
        if self.kinds:
            state[KIND] = torch.zeros((batch, self.size), dtype=torch.int64, device=device)
        return state

    def advance(self, state: State, event: Event) -> State:
        """Return the windows after one more event of each row; the oldest event is dropped."""
        columns = {ITEM: event.item_B, TIME: event.time_s_B, KIND: event.kind_B}
        return {
            name: append_event(state[name], column_B) for name, column_B in columns.items() if name in state
        }

    def at_targets(
        self, state: State, events: Inputs, seen_BT: Tensor, wanted_BT: Tensor
    ) -> tuple[RecentEvents, State]:
        """Return the windows before each target and after the whole batch.

        Args:
            state: The windows before the batch.
            events: The events of each row, padding last.
            seen_BT: Number of events of the row that precede the prediction at each step.
            wanted_BT: True at the steps that have a target.
        """
        found, after = {}, {}
        for name, column_BT in zip((ITEM, TIME, KIND), events[:3], strict=True):
            if name in state:
                found[name], after[name] = target_windows(state[name], column_BT, seen_BT, wanted_BT)
        return RecentEvents.of_state(found), after


def target_windows(
    before_BW: Tensor, column_BT: Tensor, seen_BT: Tensor, wanted_BT: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the last W entries of a column of events before each target, [N, W], and after the whole batch, [B, W].

    Args:
        before_BW: The windows before the batch.
        column_BT: One column of the events of each row, such as their items; padding last.
        seen_BT: Number of events of the row that precede the prediction at each step.
        wanted_BT: True at the steps that have a target.
    """
    # Window k of a row is the one after its first k events. Example with W = 2: the window (0, 7) and the items 1, 2, 3
    # give the row 0 7 1 2 3 and its windows (0, 7), (7, 1), (1, 2), (2, 3) for k = 0 .. 3.
    window_BSW = torch.cat([before_BW, column_BT], dim=1).unfold(1, before_BW.shape[1], 1)
    row_N, step_N = wanted_BT.nonzero(as_tuple=True)
    row_B = torch.arange(len(column_BT), device=column_BT.device)
    return window_BSW[row_N, seen_BT[row_N, step_N]], window_BSW[row_B, seen_BT[:, -1]]


def append_event(before_BW: Tensor, column_B: Tensor) -> Tensor:
    """Return the windows of a column after one more event of each row; the oldest entry is dropped."""
    return torch.cat([before_BW, column_B.unsqueeze(1)], dim=1)[:, 1:]


def empty_windows(batch: int, window: int, device: torch.device) -> Tensor:
    """Return the windows of `batch` users without events, int64 [B, W], filled with `PAD`."""
    return torch.full((batch, window), PAD, dtype=torch.int64, device=device)
