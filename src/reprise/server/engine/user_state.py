"""The state of a user after some events, with snapshots: earlier states that a late event goes back to."""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from math import inf, nan
from typing import TypeAlias

import numpy as np

from reprise.arrays import AnyArray
from reprise.recommender.runtime.onnx_session import State

# Why two snapshots for each interval: with one, a late event that belonged 5 events back cost 62 steps; with two it costs
# at most 16 (docs/experiments.md). Example: a user with 100 events has snapshots after events 96 and 88 (interval 8) and
# after event 64 (interval 64). A late event that belongs between events 93 and 94 rewinds the state to the snapshot after
# event 88. The 12 known events since then and the late one are replayed: 13 steps in place of 101.
SNAPSHOT_INTERVALS = (8, 64, 512, 4096)
"""Numbers of events between snapshots: one is taken at each multiple of each number, and the last two are kept."""
MIN_SNAPSHOT_EVENTS = 32
"""Minimum number of events for snapshots. Replaying a shorter history takes little time."""
ENTRY_OVERHEAD_BYTES = 1_500
"""Estimated memory of a cache entry besides its arrays, in bytes."""
EventKey: TypeAlias = tuple[Hashable, str]
"""Item and kind of an event. Events with the same time and key are duplicates."""
KEY_BYTES = 150
"""Estimated memory of an item and a kind in `UserState.last_keys`, in bytes."""
NO_ITEMS: AnyArray = np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class UserState:
    """The state of a user after some events. Immutable: new events make a new state."""

    network_state: State
    """Hidden state of the network: named arrays of shape [1, ...]."""
    generation: int = 0
    """Generation of the user in the log; 0: the user has no events in the log."""
    seq: int = 0
    """Highest position in the log among the replayed events; 0: none."""
    last_ms: float = -inf
    """Latest time of all events, including skipped ones, in milliseconds since 1970; -inf: no event has a time."""
    event_count: int = 0
    """Number of events in the state."""
    skipped_count: int = 0
    """Number of events that the model could not read."""
    log_count: int = 0
    """Number of events in the log up to the last event of the state, with those before its window."""
    window_start: int = 0
    """Number of the user's earliest events that are left out of the state (`StateBuilder.window_start`)."""
    session_start: int = 0
    """Number of events of the log before the session of the last event; 0: the log is not divided into sessions."""
    last_keys: frozenset[EventKey] = frozenset()
    """Items and kinds of the events at the latest time, by which duplicates are found. Empty if they are not looked for."""
    saved_count: int = 0
    """Value of `log_count` when a state of the user was last marked for storing."""
    changeable: AnyArray = field(default_factory=lambda: NO_ITEMS)
    """Hashes of the items whose vectors can change while the model is served, ascending: items of events that the state has
    read or skipped. The state is outdated as soon as the vector of one of them changes."""
    change_number: int = 0
    """Number of the last vector change (`ChangedVectors.number`) before the state was computed."""
    seen: AnyArray | None = None
    """Distinct item indices of the events, ascending. None: not computed yet."""
    snapshots: tuple["UserState | None", ...] = (None,) * 2 * len(SNAPSHOT_INTERVALS)
    """Earlier states without snapshots of their own: two for each of `SNAPSHOT_INTERVALS`, the newer one first."""

    @property
    def last_s(self) -> float:
        """Latest time of all events in seconds since 1970; NaN if no event has a time."""
        return nan if self.last_ms == -inf else self.last_ms / 1000

    @cached_property
    def bytes(self) -> int:
        """Memory of the state and its snapshots, in bytes."""
        arrays = [*self.network_state.values(), *([] if self.seen is None else [self.seen])]
        # by identity: one state may be the snapshot of several intervals
        snapshots = {id(snapshot): snapshot for snapshot in self.snapshots if snapshot is not None}
        return (
            ENTRY_OVERHEAD_BYTES
            + KEY_BYTES * len(self.last_keys)
            + sum(array.nbytes for array in (*arrays, self.changeable))
            + sum(snapshot.bytes for snapshot in snapshots.values())
        )

    def with_snapshots(self, previous: "UserState") -> "UserState":
        """Return this state with the snapshots of the previous one, and a new one for each interval that was crossed."""
        if self.log_count < MIN_SNAPSHOT_EVENTS:
            return self
        snapshot = replace(self, snapshots=UserState.snapshots)
        snapshots: list[UserState | None] = []
        for place, interval in enumerate(SNAPSHOT_INTERVALS):
            newer, older = previous.snapshots[2 * place : 2 * place + 2]
            crossed = self.log_count // interval > previous.log_count // interval
            snapshots += [snapshot, newer] if crossed else [newer, older]
        return replace(self, snapshots=tuple(snapshots))

    def snapshot_before_last(self, count: int) -> "UserState | None":
        """Return the newest snapshot without any of the last `count` events; None if there is none."""
        return _newest(
            snapshot
            for snapshot in self.snapshots
            if snapshot is not None
            and (
                snapshot.event_count <= self.event_count - count
                if snapshot.session_start == self.session_start
                else snapshot.log_count <= self.session_start
            )
        )

    def rewind(self, time_ms: float, with_seen: bool) -> "UserState | None":
        """Return the newest snapshot without events after a time, with all older snapshots; None if there is none.

        Args:
            time_ms: Milliseconds since 1970.
            with_seen: Accept only snapshots with known seen items.
        """
        kept: list[UserState | None] = []
        for place in range(len(SNAPSHOT_INTERVALS)):
            pair = [
                snapshot for snapshot in self.snapshots[2 * place : 2 * place + 2] if snapshot is not None
            ]
            valid = [
                snapshot
                for snapshot in pair
                if snapshot.last_ms <= time_ms and (snapshot.seen is not None or not with_seen)
            ]
            # Move a remaining snapshot to the first place. In the second place it would be dropped when the next snapshot
            # is taken, and a second late event would find none: that cost 42 steps in place of 18 (docs/experiments.md).
            kept += [*valid, None, None][:2]
        newest = _newest(snapshot for snapshot in kept if snapshot is not None)
        return None if newest is None else replace(newest, snapshots=tuple(kept))


def _newest(snapshots: "Iterable[UserState]") -> "UserState | None":
    return max(snapshots, key=lambda snapshot: snapshot.log_count, default=None)


def piece_size(remaining: int) -> int:
    """Return how many events to replay until the next snapshot, given how many there are in total.

    Only the last two snapshots of each interval are kept, so those far from the end can be far from each other.
    """
    pairs = pairwise(SNAPSHOT_INTERVALS)
    return next((short for short, long in pairs if remaining <= 2 * long), SNAPSHOT_INTERVALS[-1])
