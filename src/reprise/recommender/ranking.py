"""From states to answers: query, filters, search, and the caller's ids.

Shape letters: B users, I warm items, k answers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np

from reprise.errors import ConfigError
from reprise.recommender.answers import Recommendation, Recommendations
from reprise.recommender.catalogue import Catalogue, Indices
from reprise.recommender.filters import Filters
from reprise.recommender.index import ExactIndex, Found, Index
from reprise.recommender.network import Network
from reprise.recommender.runtime import State

POPULAR = "popular: no event of a known item to go by"
Row = np.ndarray[Any, np.dtype[Any]]


class Past(NamedTuple):
    """What is known of a user besides the state."""

    events: int
    """How many events the state has read."""
    skipped: int
    """How many it has not, because their items have no vector."""
    seen: Indices
    """The indices of the items of the events, where they are remembered."""


@dataclass(frozen=True)
class Ranker:
    """Answers for states."""

    catalogue: Catalogue
    network: Network
    index: Index

    def rank(
        self, state: State, past_B: Sequence[Past], k: int, filters: Filters, now_s: float
    ) -> list[Recommendations]:
        """The k best items that pass the filters, for each of B users; popular ones for users without events.

        `now_s` is the moment of asking, NaN where it is not known.
        """
        mask = filters.mask([past.seen for past in past_B])
        index_Bk, score_Bk = self.index.search(
            self.network.query(state, now_s), k, mask, self.network.additions(state)
        )
        if any(past.events == 0 for past in past_B):
            popular = self._popular(k, filters)
        answers = []
        for past, index_k, score_k in zip(past_B, index_Bk, score_Bk, strict=True):
            reason = POPULAR if past.events == 0 else f"follows from {_events(past.events)}"
            best = (index_k, score_k) if past.events else (popular[0][0], popular[1][0])
            named = self.name(*best, reason)
            answers.append(
                Recommendations(named, skipped=past.skipped, unknown_allowed=filters.unknown_allowed)
            )
        return answers

    def name(self, index_k: Row, score_k: Row, reason: str) -> list[Recommendation]:
        """Indices and scores as recommendations, without the empty places at the end."""
        ids, titles = self.catalogue.ids, self.catalogue.titles
        return [
            Recommendation(ids[index - 1], score, rank, reason, titles[index - 1])
            for rank, (index, score) in enumerate(zip(index_k.tolist(), score_k.tolist(), strict=True), 1)
            if index
        ]

    def _popular(self, k: int, filters: Filters) -> Found:
        # a search too: popularity as vectors of width 1
        shares = ExactIndex(self.catalogue.popularity_I[:, None])
        return shares.search(
            np.ones((1, 1), dtype=np.float32), k, filters.mask([np.empty(0, dtype=np.int64)])
        )


def check_k(k: int, most: int, what: str = "the catalogue of {} items that can be recommended") -> None:
    """Raise `ConfigError` where no answer can have `k` items."""
    if not isinstance(k, Integral) or isinstance(k, bool):
        raise ConfigError(f"k must be a whole number, got {k!r}")
    if k < 1:
        raise ConfigError(f"k must be at least 1, got {k!r}")
    if k > most:
        raise ConfigError(f"k={k} is above {what.format(most)}; ask for fewer")


def _events(count: int) -> str:
    return "1 event" if count == 1 else f"{count} events"
