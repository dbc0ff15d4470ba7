"""What a network remembers of users: a bounded cache of folds over the log, brought up to date by each question.

A state is the fold of a user's events in the order of their times, and of their arrival where times are equal. For users
with many events some earlier states are kept too, so that a late event costs as many steps as it is late, and no more.
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
from reprise.server.store.event_store import FORGOTTEN_KEPT, EventStore
from reprise.server.store.records import User, UserEvent, UserLog

LONG = 200
"""From so many new events on, an answer takes too long for those who wait behind it."""
MARKED_EVERY = (8, 64, 512, 4096)
"""At each multiple of these numbers of events the state is kept beside the last one: two marks of each kind."""
UNMARKED = 32
"""Users with fewer events have no marks: all is soon folded again."""
OVERHEAD_BYTES = 1_500
"""What an entry takes besides the numbers of its state."""
NOTHING_SEEN: AnyArray = np.empty(0, dtype=np.int64)


class LongHistoryError(Exception):
    """There are more new events than the caller wanted to wait for."""


@dataclass(frozen=True)
class UserState:
    """What is known of a user: never changed, only replaced."""

    state: State
    """Named arrays, each [1, ...]."""
    generation: int = 0
    """Of the user in the log."""
    seq: int = 0
    """The place of the last event of the log that was folded."""
    last_ms: float = -inf
    """The latest time of all events, also of those that could not be read."""
    events: int = 0
    """How many events the state has read."""
    skipped: int = 0
    """How many it has not."""
    seen: AnyArray | None = None
    """The indices of the items of the events, ascending; None: not asked for yet."""
    marks: tuple["UserState | None", ...] = (None,) * 2 * len(MARKED_EVERY)
    """What was known at earlier places of the log, without marks of their own: the last two of each kind, newest first."""

    @property
    def last_s(self) -> float:
        """`last_ms` in seconds; NaN where there is no event with a time."""
        return nan if self.last_ms == -inf else self.last_ms / 1000

    @cached_property
    def bytes(self) -> int:
        """What it takes in memory."""
        arrays = [*self.state.values(), *([] if self.seen is None else [self.seen])]
        marks = {id(mark): mark for mark in self.marks if mark is not None}
        return (
            OVERHEAD_BYTES
            + sum(array.nbytes for array in arrays)
            + sum(mark.bytes for mark in marks.values())
        )

    def marked(self, before: "UserState") -> "UserState":
        """The same with the marks of what was known before, and new ones where a multiple was passed."""
        if self.events < UNMARKED:
            return self
        mark = replace(self, marks=UserState.marks)
        marks: list[UserState | None] = []
        for kind, every in enumerate(MARKED_EVERY):
            last, older = before.marks[2 * kind : 2 * kind + 2]
            passed = self.events // every > before.events // every
            marks += [mark, last] if passed else [last, older]
        return replace(self, marks=tuple(marks))

    def before_last(self, events: int) -> "UserState | None":
        """The newest mark before the last so many events; None where there is none."""
        marks = [mark for mark in self.marks if mark is not None and mark.events <= self.events - events]
        return max(marks, key=lambda mark: mark.events, default=None)

    def back_to(self, time_ms: float, seen: bool) -> "UserState | None":
        """What was known before this time, with the marks that are not later; None where there is no such mark."""
        kept: list[UserState | None] = []
        for kind in range(len(MARKED_EVERY)):
            pair = [mark for mark in self.marks[2 * kind : 2 * kind + 2] if mark is not None]
            fit = [mark for mark in pair if mark.last_ms <= time_ms and (mark.seen is not None or not seen)]
            # the newest first, as ever: otherwise the next mark would push out the only one that is left
            kept += [*fit, None, None][:2]
        newest = max((mark for mark in kept if mark is not None), key=lambda mark: mark.events, default=None)
        return None if newest is None else replace(newest, marks=tuple(kept))


class StateBuilder:
    """Folds pasts with one network, and with nothing else: what it makes belongs to this network."""

    def __init__(self, network: OnnxNetwork, catalogue: Catalogue) -> None:
        self._network = network
        self._catalogue = catalogue
        self.nothing = UserState(network.runtime.initial_state(1), seen=NOTHING_SEEN)
        """What is known of a stranger."""

    @property
    def state_bytes(self) -> int:
        """What a network remembers of a user."""
        return self._network.runtime.state_bytes

    def fold(self, past: Sequence[UserEvent]) -> UserState:
        """What is known after a past that is in any order."""
        return self.advance(self.nothing, by_time(past))

    def advance(self, known: UserState, news: Sequence[UserEvent]) -> UserState:
        """What is known after some events more, which are in order and not before those that are known."""
        if not news:
            return known
        found = encode_events(news, self._catalogue)
        state = known.state
        for step in range(len(found.events)):
            state = self._network.advance(state, found.events.take(np.array([step])))
        times_ms = [event.time_ms for event in news if event.time_ms is not None]
        return replace(
            known,
            state=state,
            last_ms=max([known.last_ms, *times_ms]),
            events=known.events + len(found.events),
            skipped=known.skipped + found.skipped,
            seen=None if known.seen is None else _with(known.seen, found.events.item),
        )

    def items_of(self, past: Sequence[UserEvent]) -> AnyArray:
        """The indices of the items of a past, ascending."""
        return np.unique(encode_events(past, self._catalogue).events.item)

    def fits(self, known: UserState, news: Sequence[UserEvent]) -> bool:
        """Whether these events, which are in order, come after all that is known."""
        return not news or news[0].time_ms is None or news[0].time_ms >= known.last_ms


class StateCache:
    """The users that one model knows, those asked for last. Safe to use from several threads."""

    def __init__(self, folder: StateBuilder, store: EventStore, most_bytes: int) -> None:
        self.folder = folder
        self.store = store
        self.most_bytes = most_bytes
        self._known: OrderedDict[User, UserState] = OrderedDict()
        self._gone: set[int] = set()
        self._lock = threading.Lock()
        self.bytes = 0
        """What all entries take."""

    def current(self, user: User, *, seen: bool = False, long: int | None = None) -> UserState:
        """What is known of a user now: the log is asked for what it has since.

        Args:
            user: Whose.
            seen: Whether the items seen are needed.
            long: How many new events are too many; None: none are.

        Raises:
            StoreError: the log does not answer.
            LongPastError: there are more new events than `long`.
        """
        before = self._get(user)
        seen = seen or before.seen is not None
        if seen and before.seen is None:
            before = self._with_seen(user, before, long)
        while True:
            log = self.store.since(
                user, before.generation, before.seq, limit=None if long is None else long + 1
            )
            if log.generation != before.generation:
                before = self._stranger(seen, log.generation)
            elif not log.events:
                return before
            if long is not None and len(log.events) > long:
                raise LongHistoryError
            news = by_time(log.events)
            if self.folder.fits(before, news):
                break
            # a late event: its place is in the past, so what came after it is folded again
            assert news[0].time_ms is not None, "events of the log have times"
            before = before.back_to(news[0].time_ms, seen) or self._stranger(seen, log.generation)
        after = self._after(before, log)
        self._put(user, after)
        return after

    def _after(self, before: UserState, log: UserLog) -> UserState:
        """What is known after some events more, with marks on the way: wherever what is later also came in later."""
        events = by_time(log.events)
        every = MARKED_EVERY[0]
        known, start = replace(before, generation=log.generation), 0
        if not events:
            return replace(known, seq=0)
        first_after = [inf]
        for event in reversed(events):
            first_after.append(min(first_after[-1], event.seq))
        first_after.reverse()
        last = before.seq
        for end, event in enumerate(events, 1):
            last = max(last, event.seq)
            if end == len(events) or (end - start >= every and last < first_after[end]):
                known = replace(self.folder.advance(known, events[start:end]), seq=last).marked(known)
                start = end
        return known

    def recent(self) -> list[User]:
        """The users who are remembered, those asked for last first."""
        with self._lock:
            return list(reversed(self._known))

    def __len__(self) -> int:
        return len(self._known)

    def drop(self, user: User) -> None:
        """Remember nothing of a user."""
        with self._lock:
            self._take_out(user)

    def drop_forgotten(self, generations: Sequence[int]) -> None:
        """Remember nobody whom the log, and so perhaps another process, has forgotten."""
        gone, all_gone = set(generations), len(generations) >= FORGOTTEN_KEPT
        with self._lock:
            self._gone = gone if len(self._gone) > FORGOTTEN_KEPT else self._gone | gone
            # a question that is being answered may still know one of them, and shall not remember them
            for user in [user for user, known in self._known.items() if all_gone or known.generation in gone]:
                self._take_out(user)

    def _get(self, user: User) -> UserState:
        with self._lock:
            known = self._known.get(user)
            if known is None:
                return self._stranger(seen=False)
            self._known.move_to_end(user)
            return known

    def _with_seen(self, user: User, known: UserState, long: int | None) -> UserState:
        """The same with the items seen, which are read from the log; nothing is folded for them."""
        if not known.seq:
            return self._stranger(seen=True)
        log = self.store.since(user, limit=None if long is None else long + 1)
        if log.generation != known.generation:
            return self._stranger(seen=True)  # forgotten since
        if long is not None and len(log.events) > long:
            raise LongHistoryError
        past = [event for event in log.events if event.seq <= known.seq]
        known = replace(known, seen=self.folder.items_of(past))
        self._put(user, known)
        return known

    def _stranger(self, seen: bool, generation: int = 0) -> UserState:
        return replace(self.folder.nothing, generation=generation, seen=NOTHING_SEEN if seen else None)

    def _put(self, user: User, known: UserState) -> None:
        with self._lock:
            self._take_out(user)
            if known.generation == 0 or known.generation in self._gone:
                return  # strangers are not worth a place, and whoever was forgotten is one
            self._known[user] = known
            self.bytes += known.bytes
            while self.bytes > self.most_bytes and len(self._known) > 1:
                self._take_out(next(iter(self._known)))

    def _take_out(self, user: User) -> None:
        known = self._known.pop(user, None)
        if known is not None:
            self.bytes -= known.bytes


def _with(seen: AnyArray, item_T: AnyArray) -> AnyArray:
    """Some more of them, in their order. Most were there before: then nothing is copied."""
    item_N = np.unique(item_T)
    place_N = np.searchsorted(seen, item_N)
    new_N = np.ones(len(item_N), dtype=np.bool_)
    inside_N = place_N < len(seen)
    new_N[inside_N] = seen[place_N[inside_N]] != item_N[inside_N]
    return np.insert(seen, place_N[new_N], item_N[new_N]) if new_N.any() else seen
