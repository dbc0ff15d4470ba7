"""A session: one user as a recurrent state. Each event takes the same time and memory, and no history is kept."""

from collections.abc import Hashable, Iterable, Mapping
from numbers import Integral
from typing import Any

import numpy as np

from reprise.argument_checks import flag
from reprise.data.history_rules import NO_RULES, HistoryRules, round_to_ms
from reprise.data.vocabulary import ItemId
from reprise.errors import ConfigError, DataError
from reprise.recommender.history import EventLike, Timestamp, read_history, request_time_s
from reprise.recommender.items.candidate_mask import read_filters
from reprise.recommender.option_checks import at_most
from reprise.recommender.ranker import HistorySummary, Ranker
from reprise.recommender.recommendations import Recommendations
from reprise.recommender.runtime.onnx_session import State
from reprise.recommender.search.mmr import check_diversity


class Session:
    """A session in progress. Create it with `Recommender.session`; do not share it between threads."""

    def __init__(
        self, ranker: Ranker, rules: HistoryRules = NO_RULES, *, remember_seen: bool = False
    ) -> None:
        self._ranker = ranker
        self._rules = rules
        self._remember_seen = remember_seen
        self._last_s = np.nan
        self._at_last_time: set[tuple[Hashable, str]] = set()
        self._start()

    def __repr__(self) -> str:
        return f"Session({self.events} events, {self.skipped} skipped)"

    def _start(self) -> None:
        """Set the state and the counts to those of a user without events."""
        self._seen: set[int] | None = set() if self._remember_seen else None
        self.state: State = self._ranker.network.runtime.initial_state(1)
        """Recurrent state of the network: named arrays, each [1, ...]."""
        self.events = 0
        """Number of events that the state has read."""
        self.skipped = 0
        """Number of events that were skipped, because the model has no vector for their items."""

    def add(
        self,
        item_id: ItemId,
        timestamp: Timestamp | None = None,
        kind: str | None = None,
        value: float | None = None,
    ) -> None:
        """Read one more event. An event of an unknown item is skipped and counted in `skipped`.

        The history rules of the model apply. An event that repeats one of the same item, time and kind changes nothing.
        If the log was divided at pauses, the first event after such a pause starts again without the earlier events.

        Args:
            item_id: Id of the event's item.
            timestamp: Time of the event, not before the earlier events; None: not known.
            kind: Kind of the event, as in the log the model was trained on.
            value: Numeric value of the event.

        Raises:
            DataError: the event cannot be read (see `read_history`), or is earlier than the event before it.
        """
        # a tuple would be read as a pair of an id and a time
        plain = isinstance(item_id, str | Integral) and timestamp is None and kind is None and value is None
        event: EventLike = {"item_id": item_id, "timestamp": timestamp, "kind": kind, "value": value}
        history = read_history([item_id if plain else event], self._ranker.catalogue)
        if history.last_s < self._last_s:
            raise DataError(
                f"the event of item {item_id!r} ({timestamp}) is earlier than the one before it; "
                "add the events of a session in the order of their times"
            )
        if timestamp is not None and self._apply_rules(self._rules.key(item_id, kind), history.last_s):
            return
        self.skipped += history.skipped
        if len(history) == 0:
            return
        self.state = self._ranker.network.advance(self.state, history.events)
        self.events += 1
        if self._seen is not None:
            self._seen.add(int(history.events.item[0]))

    def _apply_rules(self, key: tuple[Hashable, str], time_s: float) -> bool:
        """Apply the history rules to an event with a time, and return whether it is a duplicate, which is not read.

        After a pause longer than the session gap, the state becomes that of a user without events.
        """
        last_ms, time_ms = round_to_ms([self._last_s, time_s]).tolist()
        self._last_s = time_s
        if self._rules.starts_session(last_ms, time_ms):
            self._start()
        if time_ms != last_ms:
            self._at_last_time = set()
        repeated = self._rules.drop_duplicates and key in self._at_last_time
        self._at_last_time.add(key)
        return repeated

    def recommend(
        self,
        k: int = 10,
        *,
        deny: Iterable[ItemId] = (),
        allow: Iterable[ItemId] | None = None,
        exclude_seen: bool = False,
        now: Timestamp | None = None,
        filter: Mapping[str, Any] | None = None,
        diversity: float = 0.0,
    ) -> Recommendations:
        """Return the items that may come next: the result of `Recommender.recommend` for all events so far.

        Raises:
            ConfigError: `k` or `diversity` is out of range, or `exclude_seen` is set and the session does not keep the items
                that were seen.
            DataError: `now` is not a timestamp or is before the last event, or a list or the filter cannot be read.
        """
        k = at_most(k, self._ranker.catalogue.recommendable)
        check_diversity(diversity)
        if flag("exclude_seen", exclude_seen) and self._seen is None:
            raise ConfigError(
                "exclude_seen needs the items of the session, and this session does not keep them; "
                "create it with session(remember_seen=True), or pass the ids as deny"
            )
        seen = np.array(sorted(self._seen or ()), dtype=np.int64)
        filters = read_filters(self._ranker.catalogue, deny, allow, exclude_seen, filter)
        history = HistorySummary(self.events, self.skipped, seen)
        now_s = request_time_s(now, self._last_s)
        return self._ranker.rank(self.state, [history], k, filters, now_s, diversity)[0]

    @property
    def state_bytes(self) -> int:
        """Size of the state in bytes. It does not grow with the number of events."""
        return self._ranker.network.runtime.state_bytes
