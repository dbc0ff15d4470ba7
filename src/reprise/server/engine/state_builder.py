"""Replay of events: the state of a user from the user's events, in pieces between which the replay can be stopped.

The history rules of the model apply, as in `Recommender`: after a long pause a state starts again, and duplicates are left out.
"""

import threading
from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from math import nan

import numpy as np

from reprise.arrays import AnyArray
from reprise.data.history_rules import NO_RULES, HistoryRules
from reprise.recommender.items.catalogue import Catalogue
from reprise.recommender.ranker import Ranker
from reprise.recommender.runtime.onnx_network import OnnxNetwork
from reprise.server.engine.changed_vectors import item_hashes
from reprise.server.engine.event_encoding import by_time, changeable_items, encode_events
from reprise.server.engine.user_state import NO_ITEMS, EventKey, UserState
from reprise.server.store.records import UserEvent

MAX_USER_EVENTS = 10_000
"""Default of the maximum number of events of one user that are replayed."""
PIECE_EVENTS = 256
"""Number of events that are replayed in one call, about 20 ms. Between two calls a replay can be stopped."""


class ReplayStoppedError(Exception):
    """The replay of a history was stopped, because the server is shutting down."""


class StateBuilder:
    """Computes user states with one network. States of different networks must not be mixed. Thread-safe."""

    def __init__(
        self,
        network: OnnxNetwork,
        catalogue: Catalogue,
        rules: HistoryRules = NO_RULES,
        max_events: int | None = MAX_USER_EVENTS,
    ) -> None:
        """Create a builder.

        Args:
            network: The network that reads the events.
            catalogue: Its items and kinds of event.
            rules: How the log was cleaned that the network was trained on.
            max_events: Maximum number of events of a user that are replayed (see `window_start`), at least 2. None: all.
        """
        assert max_events is None or max_events >= 2, max_events
        self._network = network
        self._catalogue = catalogue
        self._rules = rules
        self._stopped = threading.Event()
        self.max_events = max_events
        self.initial = UserState(network.runtime.initial_state(1), seen=NO_ITEMS)
        """State of a user without events."""

    def for_ranker(self, ranker: Ranker, change_number: int) -> "StateBuilder":
        """Return a builder of states with the items of a tenant. A call of `stop` on one builder stops both.

        Args:
            ranker: Ranker with the items of the tenant and the model of this builder.
            change_number: Number of the last vector change that the ranker contains.
        """
        if ranker.network is self._network and change_number == self.initial.change_number:
            return self
        other = copy(self)
        other._network, other._catalogue = ranker.network, ranker.catalogue
        other.initial = replace(self.initial, change_number=change_number)
        return other

    @property
    def state_bytes(self) -> int:
        """Size of the network's hidden state of one user, in bytes."""
        return self._network.runtime.state_bytes

    def window_start(self, count: int) -> int:
        """Return how many of a user's earliest events are left out, given how many events the user has in the log.

        The last events of a user form the window. It starts at a multiple of half of `max_events`, so that it stays the same
        for many new events, which then only continue the state. Example with `max_events` 10: with 9 events the window has
        events 0 to 8, with 10 it has 5 to 9, with 14 it has 5 to 13, and with 15 it has 10 to 14.
        """
        if self.max_events is None:
            return 0
        half = self.max_events // 2
        return max(0, (count // half - 1) * half)

    def replay(self, events: Sequence[UserEvent]) -> UserState:
        """Return the state after all events of a user in the log, given in any order."""
        start = self.window_start(len(events))
        state = self.advance(replace(self.initial, log_count=start), by_time(events)[start:])
        return replace(state, log_count=len(events), window_start=start)

    def advance(self, state: UserState, events: Sequence[UserEvent]) -> UserState:
        """Return the state after further events, which are in order of time and not earlier than those in the state.

        They do not count as events of the log: the caller sets `log_count` and `seq`.

        Raises:
            ReplayStoppedError: `stop` was called.
        """
        begin = self.session_begin(state, events)
        if begin is not None:
            state, events = self.new_session(state, events[:begin], state.log_count), events[begin:]
        for start in range(0, len(events), PIECE_EVENTS):
            self.check_running()
            state = self._advance(state, events[start : start + PIECE_EVENTS])
        return state

    def session_begin(self, state: UserState, events: Sequence[UserEvent]) -> int | None:
        """Return the position of the first event of the last session that begins in further events; None if none begins."""
        last_ms, begin = state.last_ms, None
        if self._rules.session_gap_ms is not None:
            for position, event in enumerate(events):
                if event.time_ms is not None:
                    if self._rules.starts_session(last_ms, event.time_ms):
                        begin = position
                    last_ms = event.time_ms
        return begin

    def new_session(self, state: UserState, events: Sequence[UserEvent], log_count: int) -> UserState:
        """Return the state before the first event of a session that begins after a state and further events.

        The state has read no events. It keeps the snapshots, because a late event may make the sessions one.

        Args:
            state: The state before the further events.
            events: The further events before the session.
            log_count: Number of events of the log before the session.
        """
        times_ms = [event.time_ms for event in events if event.time_ms is not None]
        return replace(
            state,
            network_state=self.initial.network_state,
            seq=max([state.seq, *(event.seq for event in events)]),
            last_ms=max([state.last_ms, *times_ms]),
            event_count=0,
            skipped_count=0,
            log_count=log_count,
            session_start=log_count,
            last_keys=frozenset(),
            seen=None if state.seen is None else NO_ITEMS,
        )

    def select(self, state: UserState, events: Sequence[UserEvent]) -> list[UserEvent]:
        """Return the events that a state would read of further events: without duplicates, and of the last session only."""
        begin = self.session_begin(state, events)
        known = state.last_keys if begin is None else frozenset()
        return self._distinct(state.last_ms, known, events[begin or 0 :])

    def _distinct(
        self, last_ms: float, last_keys: frozenset[EventKey], events: Sequence[UserEvent]
    ) -> list[UserEvent]:
        """Return events of one session without duplicates, given the items and kinds of the earlier events at `last_ms`."""
        if not self._rules.drop_duplicates:
            return [*events]
        # the earlier events take part in the comparison
        time_ms = [last_ms] * len(last_keys) + [
            nan if event.time_ms is None else event.time_ms for event in events
        ]
        items = [item for item, _ in last_keys] + [event.item_id for event in events]
        kinds = [kind for _, kind in last_keys] + [event.kind for event in events]
        rules = replace(self._rules, session_gap_ms=None)
        kept = rules.select(np.array(time_ms, dtype=np.float64), items, kinds) - len(last_keys)
        return [events[position] for position in kept.tolist() if position >= 0]

    def _advance(self, state: UserState, events: Sequence[UserEvent]) -> UserState:
        """Return the state after events of the same session."""
        encoded = encode_events(self._distinct(state.last_ms, state.last_keys, events), self._catalogue)
        times_ms = [event.time_ms for event in events if event.time_ms is not None]
        last_ms = max([state.last_ms, *times_ms])
        return replace(
            state,
            network_state=self._network.advance_all(state.network_state, encoded.events),
            last_ms=last_ms,
            last_keys=self._keys_at(last_ms, state, events),
            event_count=state.event_count + len(encoded.events),
            skipped_count=state.skipped_count + encoded.skipped_count,
            seen=None if state.seen is None else _insert_sorted(state.seen, encoded.events.item),
            changeable=_insert_sorted(
                state.changeable, item_hashes(changeable_items(events, self._catalogue))
            ),
        )

    def _keys_at(self, time_ms: float, state: UserState, events: Sequence[UserEvent]) -> frozenset[EventKey]:
        """Return the items and kinds of all events with this time, if duplicates are left out."""
        if not self._rules.drop_duplicates:
            return frozenset()
        keys = {self._rules.key(event.item_id, event.kind) for event in events if event.time_ms == time_ms}
        return state.last_keys | keys if state.last_ms == time_ms else frozenset(keys)

    def seen_items(self, events: Sequence[UserEvent]) -> AnyArray:
        """Return the distinct item indices of the last session of all events in a window, ascending."""
        return np.unique(encode_events(self.select(self.initial, events), self._catalogue).events.item)

    def can_append(self, state: UserState, events: Sequence[UserEvent]) -> bool:
        """Return whether events, which are in order of time, all come after the events in the state."""
        return not events or events[0].time_ms is None or events[0].time_ms >= state.last_ms

    def stop(self) -> None:
        """Stop all replays that are running, and refuse new ones."""
        self._stopped.set()

    def check_running(self) -> None:
        """Raise `ReplayStoppedError` if `stop` was called."""
        if self._stopped.is_set():
            raise ReplayStoppedError


def _insert_sorted(sorted_items: AnyArray, items: AnyArray) -> AnyArray:
    """Insert items into an ascending array of distinct items. Return the same array if it contains all of them."""
    item_N = np.unique(items)
    place_N = np.searchsorted(sorted_items, item_N)
    new_N = np.ones(len(item_N), dtype=np.bool_)
    inside_N = place_N < len(sorted_items)
    new_N[inside_N] = sorted_items[place_N[inside_N]] != item_N[inside_N]
    return np.insert(sorted_items, place_N[new_N], item_N[new_N]) if new_N.any() else sorted_items
