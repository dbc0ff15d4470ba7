"""From states to answers: query, filters, search, and the caller's ids.

Shape letters: B users, I warm items, k answers, S places of a shortlist.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import NamedTuple

import numpy as np

from reprise.arrays import AnyArray
from reprise.errors import ConfigError
from reprise.recommender.items.candidate_mask import Filters
from reprise.recommender.items.catalogue import Catalogue
from reprise.recommender.recommendations import Recommendation, Recommendations
from reprise.recommender.runtime.onnx_network import OnnxNetwork
from reprise.recommender.runtime.onnx_session import State
from reprise.recommender.search.exact_index import Index
from reprise.recommender.search.mmr import diversified, shortlist

POPULAR = "popular: no event of a known item to go by"


class HistorySummary(NamedTuple):
    """What is known of a user besides the state."""

    events: int
    """How many events the state has read."""
    skipped: int
    """How many it has not, because their items have no vector."""
    seen: AnyArray
    """The indices of the items of the events, where they are remembered."""


@dataclass(frozen=True)
class Ranker:
    """Answers for states."""

    catalogue: Catalogue
    network: OnnxNetwork
    index: Index

    def rank(
        self,
        state: State,
        past_B: Sequence[HistorySummary],
        k: int,
        filters: Filters,
        now_s: float | AnyArray,
        diversity: float = 0.0,
    ) -> list[Recommendations]:
        """The k best items that pass the filters, for each of B users; popular ones for users without events.

        `now_s` is the moment of asking, of all or [B], NaN where it is not known. With `diversity` (0 to 1) they are chosen
        from a shortlist to be unlike one another, and stand in the order of choice.
        """
        wanted = shortlist(k, self.catalogue.warm) if diversity else k
        answers = []
        for past, (index_S, score_S) in zip(
            past_B, self._best(state, past_B, wanted, filters, now_s), strict=True
        ):
            reason = f"follows from {_events(past.events)}" if past.events else POPULAR
            best = index_S, score_S
            if diversity:
                best = diversified(*best, self.network.input_ID, k, diversity)
            named = self.name(*best, reason)
            answers.append(
                Recommendations(named, skipped=past.skipped, unknown_allowed=filters.unknown_allowed)
            )
        return answers

    def _best(
        self,
        state: State,
        past_B: Sequence[HistorySummary],
        k: int,
        filters: Filters,
        now_s: float | AnyArray,
    ) -> list[tuple[AnyArray, AnyArray]]:
        """Indices and scores of the k best items of each user."""
        row_N = np.array([row for row, past in enumerate(past_B) if past.events], dtype=np.int64)
        best: dict[int, tuple[AnyArray, AnyArray]] = {}
        if len(row_N):
            everybody = len(row_N) == len(past_B)
            known = state if everybody else {name: array[row_N] for name, array in state.items()}
            mask = filters.mask([past_B[row].seen for row in row_N.tolist()])
            query_ND = self.network.query(known, now_s[row_N] if isinstance(now_s, np.ndarray) else now_s)
            found = self.index.search(query_ND, k, mask, self.network.additions(known))
            best = dict(zip(row_N.tolist(), zip(*found, strict=True), strict=True))
        popular = self._popular(k, filters) if len(best) < len(past_B) else None
        return [best.get(row, popular) for row in range(len(past_B))]  # type: ignore[misc]

    def name(self, index_k: AnyArray, score_k: AnyArray, reason: str) -> list[Recommendation]:
        """Indices and scores as recommendations, without the empty places at the end."""
        ids, title = self.catalogue.ids, self.catalogue.title
        return [
            Recommendation(ids[index - 1], score, rank, reason, title(index))
            for rank, (index, score) in enumerate(zip(index_k.tolist(), score_k.tolist(), strict=True), 1)
            if index
        ]

    def _popular(self, k: int, filters: Filters) -> tuple[AnyArray, AnyArray]:
        """Indices and shares of the commonest items."""
        place_I = self.catalogue.commonest_I
        if filters.listed_I is not None:  # nothing was seen
            place_I = place_I[filters.listed_I[place_I]]
        return place_I[:k] + 1, self.catalogue.popularity_I[place_I[:k]]


def check_k(k: int, most: int, what: str = "the catalogue of {} items that can be recommended") -> None:
    """Raise `ConfigError` where no answer can have `k` items."""
    check_count("k", k)
    if k > most:
        raise ConfigError(f"k={k} is above {what.format(most)}; ask for fewer")


def check_count(name: str, value: object, hint: str = "", least: int = 1) -> None:
    """Raise `ConfigError` for what is no whole number from `least` on."""
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise ConfigError(f"{name} must be a whole number, got {value!r}{hint}")
    if int(value) < least:
        raise ConfigError(f"{name} must be at least {least}, got {value!r}{hint}")


def _events(count: int) -> str:
    return "1 event" if count == 1 else f"{count} events"
