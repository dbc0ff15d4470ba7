"""Cached user states: a bounded cache over the event log, updated with new events on each request.

A user's state is the result of replaying the user's last events (`StateBuilder.window_start`) through the network in the
order of their times; events with equal times are replayed in the order of arrival. Each cached state keeps a few earlier
states, its snapshots, so that a late event does not force a replay of the whole history. States of long histories are also
kept in the store, if it can (`KeepsStates`), so that they survive a restart.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf

from reprise.server.engine.event_encoding import by_time
from reprise.server.engine.item_overrides import ItemOverrides
from reprise.server.engine.state_builder import StateBuilder
from reprise.server.engine.stored_states import FORMAT, decode_state, encode_state
from reprise.server.engine.user_state import NO_ITEMS, UserState, piece_size
from reprise.server.json_logging import log_event
from reprise.server.store.event_store import DELETIONS_KEPT, EventStore, KeepsStates, StoreError
from reprise.server.store.records import StoredState, User, UserEvent, UserLog

MAX_QUICK_EVENTS = 200
"""Maximum number of events to replay in the quick and the slow queue. Longer replays have a thread of their own."""
SAVED_EVENTS = 1_000
"""Number of new events of a user after which the state is stored again. A restart replays at most this many events of each
user, and the stored states take at most about as much space as the log."""
MAX_UNSAVED = 64
"""Maximum number of states that wait to be stored; the oldest ones are dropped."""
PAGE_EVENTS = 2_000
"""Number of events that a long replay reads from the log at a time."""


class LongHistoryError(Exception):
    """More new events have to be replayed than the caller allows."""

    def __init__(self, cacheable: bool = True) -> None:
        super().__init__()
        self.cacheable = cacheable
        """Whether `StateCache.current` without a limit makes the request a short one. False: its own events are late."""


@dataclass
class _NewEvents:
    """Events of a user that are not in a state yet."""

    generation: int
    events: list[UserEvent]
    """The events in order of time; of a long history at least the last ones that are replayed."""
    count: int = 0
    """Number of the events, with those that were left out of `events`."""
    left_out_seq: int = 0
    """Highest position in the log among the events that were left out."""

    def keep_last(self, count: int) -> None:
        """Leave out all but the last events."""
        left_out = self.events[: max(0, len(self.events) - count)]
        self.left_out_seq = max(self.left_out_seq, *(event.seq for event in left_out), 0)
        del self.events[: len(left_out)]


class StateCache:
    """Least-recently-used cache of user states for one model. Thread-safe."""

    def __init__(
        self,
        builder: StateBuilder,
        store: EventStore,
        max_bytes: int,
        model: str = "",
        items: ItemOverrides | None = None,
    ) -> None:
        """Create an empty cache.

        Args:
            builder: Computes the states.
            store: The log, which may keep states too.
            max_bytes: Maximum memory of the cached states.
            model: Version of the model. Empty: states are not stored.
            items: Items that tenants changed or added; None if tenants cannot change items.
        """
        self._items = items
        self.builder = builder
        self.store = store
        self.max_bytes = max_bytes
        self.replayed_events = 0
        """Number of events that were replayed."""
        self.loaded_states = 0
        """Number of states that were read from the store."""
        self._stored_as = f"{model} {builder.max_events} {FORMAT}" if model else ""
        self._unsaved: OrderedDict[User, UserState] = OrderedDict()
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
            ReplayStoppedError: the replay was stopped.
        """
        builder = self.builder_of(user.tenant)
        state = self._up_to_date(user, self._get(user), builder)
        if not state.log_count and max_new_events is None:
            state = self._load(user, builder) or state
        with_seen = with_seen or state.seen is not None
        if with_seen and state.seen is None:
            state = self._add_seen(user, state, builder, max_new_events)
        while True:
            new = self._new_events(user, state, max_new_events)
            if new.generation != state.generation:
                state = _empty_state(builder, with_seen, new.generation)
            elif not new.events:
                return state
            start = builder.window_start(state.log_count + new.count)
            in_order = builder.can_append(state, new.events)
            if not state.log_count or (in_order and state.window_start == start):
                break
            # Late events, or a window that starts later. Rewind to a snapshot before the late events and read the log again
            # from there: the next pass gets them together with the known events after the snapshot, in order of time.
            time_ms = new.events[0].time_ms
            assert time_ms is not None, "events of the log have times"
            snapshot = state.rewind(time_ms, with_seen)
            if snapshot is None or snapshot.window_start != start:
                snapshot = _empty_state(builder, with_seen, new.generation)
            # the items of a snapshot are among those of the state, so its vectors are as recent
            state = replace(snapshot, change_number=state.change_number)
        state = self._replay(state, new, builder)
        self._put(user, state)
        self.replayed_events += len(new.events)
        return state

    def builder_of(self, tenant: str) -> StateBuilder:
        """Return the builder of states with the items of a tenant."""
        if self._items is None:
            return self.builder
        # the number first: if the items change now, the state counts as one from before the change
        number = self._items.changed_vectors(tenant).number
        return self.builder.for_ranker(self._items.ranker(tenant), number)

    def _up_to_date(self, user: User, state: UserState, builder: StateBuilder) -> UserState:
        """Return a cached state; an empty state if the vector of an item that it has read or skipped has changed since."""
        number = builder.initial.change_number
        if self._items is None or state.change_number == number:
            return state
        if self._items.changed_vectors(user.tenant).any_since(state.change_number, state.changeable):
            return _empty_state(builder, with_seen=False)
        return replace(state, change_number=number)

    def events_of(self, user: User, state: UserState, after: UserState | None = None) -> list[UserEvent]:
        """Return the events of the log that a state has read, in order of time; none if the user has since been deleted.

        Args:
            user: The user of the state.
            state: A state after events of the log.
            after: A snapshot of the state: return the events after it only.
        """
        if not state.seq:
            return []
        first = state.window_start if after is None else max(state.window_start, after.log_count)
        events: list[UserEvent] = []
        for log in self._pages(user, state.generation, 0 if after is None else after.seq, PAGE_EVENTS):
            if log.generation != state.generation:
                return []
            events += [event for event in log.events if event.seq <= state.seq]
        events = by_time(events)
        return events[max(0, len(events) - (state.log_count - first)) :]

    def _new_events(self, user: User, state: UserState, limit: int | None) -> _NewEvents:
        """Read the events of a user that are not in a state: all events, if the user has another generation now.

        Of a long history, only as many events are kept as can be replayed.
        """
        page_events, kept = PAGE_EVENTS if limit is None else limit + 1, self.builder.max_events
        new = _NewEvents(state.generation, [])
        for log in self._pages(user, state.generation, state.seq, page_events):
            if log.generation != new.generation:
                new = _NewEvents(log.generation, [])
            new.events += log.events
            new.count += len(log.events)
            if limit is not None and new.count > limit:
                raise LongHistoryError
            if kept is not None and len(new.events) >= 2 * kept + page_events:
                new.events = by_time(new.events)
                new.keep_last(kept)
        new.events = by_time(new.events)
        return new

    def _pages(self, user: User, generation: int, seq: int, page_events: int) -> Iterator[UserLog]:
        """Read the events of a user after a position in the log in pages, between which the replay can be stopped."""
        while True:
            self.builder.check_running()
            log = self.store.events_since(user, generation, seq, page_events)
            yield log
            if len(log.events) < page_events:
                return
            generation, seq = log.generation, log.events[-1].seq

    def _replay(self, state: UserState, new: _NewEvents, builder: StateBuilder) -> UserState:
        """Return the state after the new events of a log, with snapshots on the way.

        A snapshot must contain exactly the events up to its position in the log, because after a rewind the log is read from
        there. So it is valid only if the first n events by time are also the first n by arrival. Example: events arrive with
        the times 1, 2, 5, 3, 6; by time, their positions in the log are 1, 2, 4, 3, 5. A snapshot after the third of these
        would have position 4 without the event at position 3, which would then be lost. After the first, second, fourth and
        fifth a snapshot is valid.
        """
        total = state.log_count + new.count
        window_start = builder.window_start(total)
        new.keep_last(total - max(window_start, state.log_count))
        events = new.events
        state = replace(state, generation=new.generation, window_start=window_start)
        if not events:
            return replace(state, seq=0)
        begin = builder.session_begin(state, events)
        if begin is not None:  # only the last session is replayed
            position = total - len(events) + begin
            state, events = builder.new_session(state, events[:begin], position), events[begin:]
        lowest_later_seq = [inf]
        for event in reversed(events):
            lowest_later_seq.append(min(lowest_later_seq[-1], event.seq))
        lowest_later_seq.reverse()
        start, last_seq = 0, max(state.seq, new.left_out_seq)
        piece = piece_size(len(events))
        for end, event in enumerate(events, 1):
            last_seq = max(last_seq, event.seq)
            piece_full = end - start >= piece
            if end == len(events) or (piece_full and last_seq < lowest_later_seq[end]):
                advanced = builder.advance(state, events[start:end])
                read = replace(advanced, seq=last_seq, log_count=total - len(events) + end)
                state = read.with_snapshots(state)
                start, piece = end, piece_size(len(events) - end)
        return state

    def take_unsaved(self) -> list[StoredState]:
        """Return the states that should be stored; each is returned once."""
        with self._lock:
            unsaved, self._unsaved = self._unsaved, OrderedDict()
        return [
            encode_state(user, state, self._stored_as)
            for user, state in unsaved.items()
            if not self._reads_changed_items(user, state)
        ]

    def _reads_changed_items(self, user: User, state: UserState) -> bool:
        """Return whether a state has read vectors that are not in the saved model, or is outdated. It must not be stored then.

        Added items may have other indices after a restart.
        """
        if self._items is None:
            return False
        vectors = self._items.changed_vectors(user.tenant)
        return vectors.any_present(state.changeable) or vectors.any_since(
            state.change_number, state.changeable
        )

    def drop_stored(self, limit: int) -> int:
        """Delete at most `limit` states of other models from the store; return their number.

        Raises:
            StoreError: the store does not respond.
        """
        return self.store.drop_states(self._stored_as, limit) if isinstance(self.store, KeepsStates) else 0

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
            self._unsaved.pop(user, None)

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
                self._unsaved.pop(user, None)

    def _get(self, user: User) -> UserState:
        with self._lock:
            state = self._states.get(user)
            if state is None:
                return _empty_state(self.builder, with_seen=False)
            self._states.move_to_end(user)
            return state

    def _load(self, user: User, builder: StateBuilder) -> UserState | None:
        """Return the stored state of a user; None if there is none that fits."""
        if not (self._stored_as and isinstance(self.store, KeepsStates)):
            return None
        try:
            stored = self.store.load_state(user, self._stored_as)
        except StoreError as error:  # a cache: the log has everything
            log_event("stored state not read", error=str(error))
            return None
        state = None if stored is None else decode_state(stored, builder.initial)
        # items that the state has skipped may have been added meanwhile
        if state is not None and self._items is not None:
            vectors = self._items.changed_vectors(user.tenant)
            state = None if vectors.any_present(state.changeable) else state
        if state is not None:
            self.loaded_states += 1
            self._put(user, state)
        return state

    def _add_seen(
        self, user: User, state: UserState, builder: StateBuilder, max_events: int | None
    ) -> UserState:
        """Return the state with its seen items, which are read from the log without running the network."""
        if not state.seq:
            return _empty_state(builder, with_seen=True)
        if max_events is not None and state.log_count > max_events:
            raise LongHistoryError
        state = replace(state, seen=builder.seen_items(self.events_of(user, state)))
        self._put(user, state)
        return state

    def _put(self, user: User, state: UserState) -> None:
        with self._lock:
            self._remove(user)
            if state.generation == 0 or state.generation in self._deleted_generations:
                return  # do not cache users without events or deleted users
            if self._stored_as and abs(state.log_count - state.saved_count) >= SAVED_EVENTS:
                state = replace(state, saved_count=state.log_count)
                self._unsaved[user] = state
                while len(self._unsaved) > MAX_UNSAVED:
                    self._unsaved.popitem(last=False)
            self._states[user] = state
            self.bytes += state.bytes
            while self.bytes > self.max_bytes and len(self._states) > 1:
                self._remove(next(iter(self._states)))

    def _remove(self, user: User) -> None:
        state = self._states.pop(user, None)
        if state is not None:
            self.bytes -= state.bytes


def _empty_state(builder: StateBuilder, with_seen: bool, generation: int = 0) -> UserState:
    return replace(builder.initial, generation=generation, seen=NO_ITEMS if with_seen else None)
