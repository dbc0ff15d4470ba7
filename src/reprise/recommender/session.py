"""One user as a state: each event costs the same, however many came before, and no history is kept."""

from collections.abc import Iterable

import numpy as np

from reprise.data.vocabulary import PAD, ItemId
from reprise.errors import ConfigError
from reprise.recommender.answers import Recommendations
from reprise.recommender.filters import read_filters
from reprise.recommender.ranking import Past, Ranker, check_k
from reprise.recommender.runtime import State


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

    def add(self, item_id: ItemId) -> None:
        """Read one more event. An unknown item changes nothing and is counted in `skipped`.

        Raises:
            DataError: the id is of another type than the model's.
        """
        index_B = self._ranker.catalogue.indices([item_id])
        if index_B[0] == PAD:
            self.skipped += 1
            return
        self.state = self._ranker.network.advance(self.state, index_B)
        self.events += 1
        if self._seen is not None:
            self._seen.add(int(index_B[0]))

    def recommend(
        self,
        k: int = 10,
        *,
        deny: Iterable[ItemId] = (),
        allow: Iterable[ItemId] | None = None,
        exclude_seen: bool = False,
    ) -> Recommendations:
        """What may come next: the same answer as `Recommender.recommend` of all events added so far.

        Raises:
            ConfigError: `k` is impossible, or `exclude_seen` is asked of a session that does not remember what was seen.
        """
        check_k(k, self._ranker.catalogue.warm)
        if exclude_seen and self._seen is None:
            raise ConfigError(
                "this session keeps no history, so it cannot exclude what was seen; "
                "open it with session(remember_seen=True), or pass the ids as deny"
            )
        seen = np.array(sorted(self._seen or ()), dtype=np.int64)
        filters = read_filters(self._ranker.catalogue, deny, allow, exclude_seen)
        past = Past(self.events, self.skipped, seen)
        return self._ranker.rank(self.state, [past], k, filters)[0]

    @property
    def state_bytes(self) -> int:
        """How much the network remembers. It does not grow."""
        return self._ranker.network.runtime.state_bytes
