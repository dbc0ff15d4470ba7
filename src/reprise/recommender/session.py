"""One user as a state: each event costs the same, however many came before, and no history is kept."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from reprise.data.vocabulary import ItemId
from reprise.errors import ConfigError, DataError
from reprise.recommender.history import PastEvent, Timestamp, asked_s, read_history
from reprise.recommender.items.candidate_mask import read_filters
from reprise.recommender.ranker import HistorySummary, Ranker, check_k
from reprise.recommender.recommendations import Recommendations
from reprise.recommender.runtime.onnx_session import State
from reprise.recommender.search.mmr import check_diversity


class Session:
    """A visit in progress. Made by `Recommender.session`; not to be shared between threads."""

    def __init__(self, ranker: Ranker, *, remember_seen: bool = False) -> None:
        self._ranker = ranker
        self._seen: set[int] | None = set() if remember_seen else None
        self.state: State = ranker.network.runtime.initial_state(1)
        """Everything the network remembers: named arrays, each [1, ...]."""
        self.events = 0
        """How many events the state has read."""
        self.skipped = 0
        """How many events were not read, because the model has no vector for their items."""
        self._last_s = np.nan

    def add(
        self,
        item_id: ItemId,
        timestamp: Timestamp | None = None,
        kind: str | None = None,
        value: float | None = None,
    ) -> None:
        """Read one more event. An unknown item changes nothing and is counted in `skipped`.

        Args:
            item_id: With what.
            timestamp: When, if that is known; not before the events so far.
            kind: What was done, as in the log the model was trained on.
            value: A number that goes with it.

        Raises:
            DataError: the id is of another type than the model's, or what `Recommender.recommend` refuses of an event.
        """
        plain = timestamp is None and kind is None and value is None
        event: PastEvent = {"item_id": item_id, "timestamp": timestamp, "kind": kind, "value": value}
        read = read_history([item_id if plain else event], self._ranker.catalogue)
        if read.last_s < self._last_s:
            raise DataError(
                f"the event of item {item_id!r} ({timestamp}) is earlier than the one before it; "
                "add the events of a session in their order"
            )
        if timestamp is not None:
            self._last_s = read.last_s
        self.skipped += read.skipped
        if len(read) == 0:
            return
        self.state = self._ranker.network.advance(self.state, read.events)
        self.events += 1
        if self._seen is not None:
            self._seen.add(int(read.events.item[0]))

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
        """What may come next: the same answer as `Recommender.recommend` of all events added so far.

        Raises:
            ConfigError: `k` or `diversity` is impossible, or `exclude_seen` is asked of a session that does not remember what
                was seen.
            DataError: `now` is no time, or before the last event, or what `Recommender.recommend` refuses of a filter.
        """
        check_k(k, self._ranker.catalogue.warm)
        check_diversity(diversity)
        if exclude_seen and self._seen is None:
            raise ConfigError(
                "this session keeps no history, so it cannot exclude what was seen; "
                "open it with session(remember_seen=True), or pass the ids as deny"
            )
        seen = np.array(sorted(self._seen or ()), dtype=np.int64)
        filters = read_filters(self._ranker.catalogue, deny, allow, exclude_seen, filter)
        past = HistorySummary(self.events, self.skipped, seen)
        now_s = asked_s(now, self._last_s)
        return self._ranker.rank(self.state, [past], k, filters, now_s, diversity)[0]

    @property
    def state_bytes(self) -> int:
        """How much the network remembers. It does not grow."""
        return self._ranker.network.runtime.state_bytes
