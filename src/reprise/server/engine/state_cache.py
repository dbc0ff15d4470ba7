"""Cached user states: a bounded cache over the event log, updated with new events on each request.

A user's state is the result of replaying the user's events through the network in the order of their times; events with
equal times are replayed in the order of arrival. Each cached state keeps a few earlier states, its snapshots, so that a
late event does not force a replay of the whole history.
"""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import inf, nan

import numpy as np

from reprise.arrays import AnyArray
from reprise.recommender.items.catalogue import Catalogue
from reprise.recommender.runtime.onnx_network import OnnxNetwork
from reprise.recommender.runtime.onnx_session import State
from reprise.server.engine.event_encoding import by_time, encode_events
from reprise.server.store.event_store import DELETIONS_KEPT, EventStore
from reprise.server.store.records import User, UserEvent, UserLog

MAX_QUICK_EVENTS = 200
"""Maximum number of events to replay for a request in the quick queue; longer requests go to the slow queue."""
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
NO_ITEMS: AnyArray = np.empty(0, dtype=np.int64)


class LongHistoryError(Exception):
    """More new events have to be replayed than the caller allows."""


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
            + sum(array.nbytes for array in arrays)
            + sum(snapshot.bytes for snapshot in snapshots.values())
        )

    def with_snapshots(self, previous: "UserState") -> "UserState":
        """Return this state with the snapshots of the previous one, and a new one for each interval that was crossed."""
        if self.event_count < MIN_SNAPSHOT_EVENTS:
            return self
        snapshot = replace(self, snapshots=UserState.snapshots)
        snapshots: list[UserState | None] = []
        for place, interval in enumerate(SNAPSHOT_INTERVALS):
            newer, older = previous.snapshots[2 * place : 2 * place + 2]
            crossed = self.event_count // interval > previous.event_count // interval
            snapshots += [snapshot, newer] if crossed else [newer, older]
        return replace(self, snapshots=tuple(snapshots))

    def snapshot_before_last(self, count: int) -> "UserState | None":
        """Return the newest snapshot without any of the last `count` events; None if there is none."""
        snapshots = [
            snapshot
            for snapshot in self.snapshots
            if snapshot is not None and snapshot.event_count <= self.event_count - count
        ]
        return max(snapshots, key=lambda snapshot: snapshot.event_count, default=None)

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
        newest = max(
            (snapshot for snapshot in kept if snapshot is not None),
            key=lambda snapshot: snapshot.event_count,
            default=None,
        )
        return None if newest is None else replace(newest, snapshots=tuple(kept))


class StateBuilder:
    """Computes user states with one network. States of different networks must not be mixed."""

    def __init__(self, network: OnnxNetwork, catalogue: Catalogue) -> None:
        self._network = network
        self._catalogue = catalogue
        self.initial = UserState(network.runtime.initial_state(1), seen=NO_ITEMS)
        """State of a user without events."""

    @property
    def state_bytes(self) -> int:
        """Size of the network's hidden state of one user, in bytes."""
        return self._network.runtime.state_bytes

    def replay(self, events: Sequence[UserEvent]) -> UserState:
        """Return the state after all events of a user, given in any order."""
        return self.advance(self.initial, by_time(events))

    def advance(self, state: UserState, events: Sequence[UserEvent]) -> UserState:
        """Return the state after further events, which are in order of time and not earlier than those in the state."""
        if not events:
            return state
        encoded = encode_events(events, self._catalogue)
        network_state = state.network_state
        for step in range(len(encoded.events)):
            network_state = self._network.advance(network_state, encoded.events.take(np.array([step])))
        times_ms = [event.time_ms for event in events if event.time_ms is not None]
        return replace(
            state,
            network_state=network_state,
            last_ms=max([state.last_ms, *times_ms]),
            event_count=state.event_count + len(encoded.events),
            skipped_count=state.skipped_count + encoded.skipped_count,
            seen=None if state.seen is None else _insert_sorted(state.seen, encoded.events.item),
        )

    def seen_items(self, events: Sequence[UserEvent]) -> AnyArray:
        """Return the distinct item indices of events, ascending."""
        return np.unique(encode_events(events, self._catalogue).events.item)

    def can_append(self, state: UserState, events: Sequence[UserEvent]) -> bool:
        """Return whether events, which are in order of time, all come after the events in the state."""
        return not events or events[0].time_ms is None or events[0].time_ms >= state.last_ms


class StateCache:
    """Least-recently-used cache of user states for one model. Thread-safe."""

    def __init__(self, builder: StateBuilder, store: EventStore, max_bytes: int) -> None:
        self.builder = builder
        self.store = store
        self.max_bytes = max_bytes
        self._states: OrderedDict[User, UserState] = OrderedDict()
        self._deleted_generations: set[int] = set()
        self._lock = threading.Lock()
        self.bytes = 0
        """Memory of all cached states, in bytes."""

    def current(self, user: User, *, with_seen: bool = False, max_new_events: int | None = None) -> UserState:
        """Return the state of a user after all events in the log, and cache it.

        Args:
            user: The user whose events to read.
            with_seen: Also compute the seen items.
            max_new_events: Maximum number of events to replay. None: no limit.

        Raises:
            StoreError: the log cannot be read.
            LongHistoryError: more than `max_new_events` events would have to be replayed.
        """
        state = self._get(user)
        with_seen = with_seen or state.seen is not None
        if with_seen and state.seen is None:
            state = self._add_seen(user, state, max_new_events)
        while True:
            log = self.store.events_since(
                user,
                state.generation,
                state.seq,
                limit=None if max_new_events is None else max_new_events + 1,
            )
            if log.generation != state.generation:
                state = self._empty_state(with_seen, log.generation)
            elif not log.events:
                return state
            if max_new_events is not None and len(log.events) > max_new_events:
                raise LongHistoryError
            events = by_time(log.events)
            if self.builder.can_append(state, events):
                break
            # A late event. Rewind to a snapshot before its time and read the log again from there: the next pass gets the
            # late event together with the known events after the snapshot, now in order of time.
            assert events[0].time_ms is not None, "events of the log have times"
            state = state.rewind(events[0].time_ms, with_seen) or self._empty_state(with_seen, log.generation)
        state = self._replay(state, log)
        self._put(user, state)
        return state

    def _replay(self, state: UserState, log: UserLog) -> UserState:
        """Return the state after the new events of a log, with snapshots on the way.

        A snapshot must contain exactly the events up to its position in the log, because after a rewind the log is read from
        there. So it is valid only if the first n events by time are also the first n by arrival. Example: events arrive with
        the times 1, 2, 5, 3, 6; by time, their positions in the log are 1, 2, 4, 3, 5. A snapshot after the third of these
        would have position 4 without the event at position 3, which would then be lost. After the first, second, fourth and
        fifth a snapshot is valid.
        """
        events = by_time(log.events)
        state = replace(state, generation=log.generation)
        if not events:
            return replace(state, seq=0)
        lowest_later_seq = [inf]
        for event in reversed(events):
            lowest_later_seq.append(min(lowest_later_seq[-1], event.seq))
        lowest_later_seq.reverse()
        start, last_seq = 0, state.seq
        for end, event in enumerate(events, 1):
            last_seq = max(last_seq, event.seq)
            piece_full = end - start >= SNAPSHOT_INTERVALS[0]
            if end == len(events) or (piece_full and last_seq < lowest_later_seq[end]):
                advanced = self.builder.advance(state, events[start:end])
                state = replace(advanced, seq=last_seq).with_snapshots(state)
                start = end
        return state

    def recent_users(self) -> list[User]:
        """Return the users with a cached state, the most recently used first."""
        with self._lock:
            return list(reversed(self._states))

    def __len__(self) -> int:
        return len(self._states)

    def drop(self, user: User) -> None:
        """Remove the state of a user from the cache."""
        with self._lock:
            self._remove(user)

    def drop_deleted(self, generations: Sequence[int]) -> None:
        """Remove the states of deleted users from the cache, given their generations in the log."""
        deleted = set(generations)
        # the log reports only so many deletions: with that many, earlier ones may be missing, so drop every state
        drop_all = len(generations) >= DELETIONS_KEPT
        with self._lock:
            # Remember the generations: a request that is running now may still hold the state of a deleted user, and must
            # not put it back into the cache.
            self._deleted_generations = (
                deleted
                if len(self._deleted_generations) > DELETIONS_KEPT
                else self._deleted_generations | deleted
            )
            for user in [
                user for user, state in self._states.items() if drop_all or state.generation in deleted
            ]:
                self._remove(user)

    def _get(self, user: User) -> UserState:
        with self._lock:
            state = self._states.get(user)
            if state is None:
                return self._empty_state(with_seen=False)
            self._states.move_to_end(user)
            return state

    def _add_seen(self, user: User, state: UserState, max_events: int | None) -> UserState:
        """Return the state with its seen items, which are read from the log without running the network."""
        if not state.seq:
            return self._empty_state(with_seen=True)
        log = self.store.events_since(user, limit=None if max_events is None else max_events + 1)
        if log.generation != state.generation:
            return self._empty_state(with_seen=True)  # the user was deleted in between
        if max_events is not None and len(log.events) > max_events:
            raise LongHistoryError
        events = [event for event in log.events if event.seq <= state.seq]
        state = replace(state, seen=self.builder.seen_items(events))
        self._put(user, state)
        return state

    def _empty_state(self, with_seen: bool, generation: int = 0) -> UserState:
        return replace(self.builder.initial, generation=generation, seen=NO_ITEMS if with_seen else None)

    def _put(self, user: User, state: UserState) -> None:
        with self._lock:
            self._remove(user)
            if state.generation == 0 or state.generation in self._deleted_generations:
                return  # do not cache users without events or deleted users
            self._states[user] = state
            self.bytes += state.bytes
            while self.bytes > self.max_bytes and len(self._states) > 1:
                self._remove(next(iter(self._states)))

    def _remove(self, user: User) -> None:
        state = self._states.pop(user, None)
        if state is not None:
            self.bytes -= state.bytes


def _insert_sorted(sorted_items: AnyArray, items: AnyArray) -> AnyArray:
    """Insert items into an ascending array of distinct items. Return the same array if it contains all of them."""
    item_N = np.unique(items)
    place_N = np.searchsorted(sorted_items, item_N)
    new_N = np.ones(len(item_N), dtype=np.bool_)
    inside_N = place_N < len(sorted_items)
    new_N[inside_N] = sorted_items[place_N[inside_N]] != item_N[inside_N]
    return np.insert(sorted_items, place_N[new_N], item_N[new_N]) if new_N.any() else sorted_items
