"""From states to recommendations: compute queries, apply filters, search, and translate indices to ids.

Shape letters: B users, N users with events, I items, k recommendations, S places of a shortlist.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from reprise.arrays import AnyArray
from reprise.data.popular_items import Moment, PopularItems, PopularList
from reprise.recommender.exploration import CANDIDATES, Exploration
from reprise.recommender.items.candidate_mask import Filters
from reprise.recommender.items.catalogue import Catalogue
from reprise.recommender.items.content_vectors import ContentVectors
from reprise.recommender.recommendations import Recommendation, Recommendations
from reprise.recommender.runtime.onnx_network import OnnxNetwork
from reprise.recommender.runtime.onnx_session import State
from reprise.recommender.search.exact_index import Index
from reprise.recommender.search.mmr import diversify, shortlist_size

NO_EVENTS = "because the history has no known item"
"""End of the reason of a recommendation for a user without known events."""
PUBLIC_NAMES = {"time_s": "timestamp", "kind": "kind", "value": "value", "now_s": "now"}
"""Inputs of the graphs, and their names in requests."""
NOT_FINITE = "because the state of the history is not finite"
"""End of the reason of a recommendation for a user whose events made the network compute infinite numbers or NaN."""


class HistorySummary(NamedTuple):
    """Facts about a user's history that the state does not contain."""

    events: int
    """Number of events that the state has read."""
    skipped: int
    """Number of events that were skipped, because the model has no vector for their items."""
    seen: AnyArray
    """Indices of the items of the events; may be empty if no request excludes them."""
    attributes: Mapping[str, Any] = MappingProxyType({})
    """Attributes of the user by column."""


@dataclass(frozen=True)
class Ranker:
    """Recommendations from recurrent states. Safe to call from several threads."""

    catalogue: Catalogue
    """Items of the model, with the caller's ids and columns."""
    network: OnnxNetwork
    """Network that computes queries from states."""
    index: Index
    """Search over the output vectors of the items."""
    popular: PopularItems
    """Popularity of the items for users without known events."""
    exploration: Exploration | None = None
    """Which slots go to rarely shown items; None: none."""
    content: ContentVectors | None = None
    """Map from the columns of items to their vectors; None: the network reads ids only."""

    @property
    def reads(self) -> tuple[str, ...]:
        """Inputs besides the items and their order, as requests name them."""
        return tuple(PUBLIC_NAMES[name] for name in self.network.runtime.reads if name in PUBLIC_NAMES)

    def rank(
        self,
        state: State,
        histories: Sequence[HistorySummary],
        k: int,
        filters: Filters,
        now_s: float | AnyArray,
        diversity: float = 0.0,
    ) -> list[Recommendations]:
        """Return the k best items that pass the filters, for each of B users.

        Users without events get the items that are popular at the time of the request, and so do users whose state has
        become infinite or NaN.

        Args:
            state: States of the users, [B, ...].
            histories: Summaries of the users' histories, B of them.
            k: Number of items per user.
            filters: Items that may be recommended.
            now_s: Time of the request in seconds since 1970, one for all users or [B]; NaN: not known.
            diversity: Weight of dissimilarity, from 0 to 1. Above 0, items are chosen from a shortlist (`diversify`) and are
                in the order of choice.
        """
        candidates = shortlist_size(k, self.catalogue.recommendable) if diversity else k
        state = self.network.with_attributes(state, [history.attributes for history in histories])
        best = self._best(state, histories, candidates, filters, now_s)
        results = []
        for row, history in enumerate(histories):
            moment = Moment(float(now_s[row] if isinstance(now_s, np.ndarray) else now_s), history.attributes)
            index_S, score_S = best[row] if row in best else self._popular(candidates, filters, moment)
            if diversity:
                vectors_SD = self.network.input_of(np.maximum(index_S, 1))
                index_S, score_S = diversify(index_S, score_S, vectors_SD, k, diversity)
            if row in best:
                reason = f"based on {_events(history.events)}"
            else:
                cause = NOT_FINITE if history.events else NO_EVENTS
                reason = f"{self.popular.description(moment)}, {cause}"
            items = self.recommendations(index_S, score_S, reason)
            results.append(
                Recommendations(items, skipped=history.skipped, unknown_allowed=filters.unknown_allowed)
            )
        if self.exploration is not None:
            return self._explore(self.exploration, results, state, histories, filters, now_s)
        return results

    def _explore(
        self,
        exploration: Exploration,
        results: list[Recommendations],
        state: State,
        histories: Sequence[HistorySummary],
        filters: Filters,
        now_s: float | AnyArray,
    ) -> list[Recommendations]:
        """Return the lists with some slots for rarely shown items that pass the filters, and count all impressions."""
        exploration.impressions.follow(self.catalogue.scored, self.catalogue.added.ids)
        listed_I = exploration.few(self.catalogue.size)
        if filters.listed_I is not None:
            listed_I &= filters.listed_I
        longest = max((len(best) for best in results), default=0)
        rarely = replace(filters, listed_I=listed_I)
        plain = replace(self, exploration=None)
        candidates = (
            plain.rank(state, histories, longest + CANDIDATES, rarely, now_s) if listed_I.any() else []
        )
        mixed = []
        for row, best in enumerate(results):
            listed = set(best.item_ids)
            others = [one for one in (candidates[row] if candidates else ()) if one.item_id not in listed]
            others = others[:CANDIDATES]
            found = exploration.mix(best, others, self.catalogue.indices(one.item_id for one in others))
            exploration.impressions.add(self.catalogue.indices(found.item_ids))
            mixed.append(found)
        return mixed

    def _best(
        self,
        state: State,
        histories: Sequence[HistorySummary],
        k: int,
        filters: Filters,
        now_s: float | AnyArray,
    ) -> dict[int, tuple[AnyArray, AnyArray]]:
        """Return indices and scores of the k best items of each user who has events and a finite state, by row."""
        row_N = np.array([row for row, history in enumerate(histories) if history.events], dtype=np.int64)
        if not len(row_N):
            return {}
        known = state if len(row_N) == len(histories) else _rows(state, row_N)
        query_ND = self.network.query(known, now_s[row_N] if isinstance(now_s, np.ndarray) else now_s)
        finite_N = np.asarray(np.isfinite(query_ND).all(axis=1))
        if not finite_N.all():
            row_N, known, query_ND = row_N[finite_N], _rows(known, finite_N), query_ND[finite_N]
            if not len(row_N):
                return {}
        mask = filters.mask([histories[row].seen for row in row_N.tolist()])
        corrections, mixture = self.network.corrections(known), self.network.mixture(known, mask)
        found = self.index.search(query_ND, k, mask, corrections, mixture)
        return dict(zip(row_N.tolist(), zip(*found, strict=True), strict=True))

    def recommendations(self, index_k: AnyArray, score_k: AnyArray, reason: str) -> list[Recommendation]:
        """Return item indices and scores as recommendations, without empty places at the end."""
        item_id, title = self.catalogue.item_id, self.catalogue.title
        return [
            Recommendation(item_id(index), score, rank, reason, title(index))
            for rank, (index, score) in enumerate(zip(index_k.tolist(), score_k.tolist(), strict=True), 1)
            if index
        ]

    def popular_at(self, moment: Moment) -> PopularList:
        """Return the items in the order of their popularity at a moment; added items come last, with a share of 0."""
        row_I, share_I = self.popular.at(moment)
        added_I = np.arange(len(share_I), self.catalogue.size)
        if not len(added_I):
            return PopularList(row_I, share_I)
        return PopularList(
            np.append(row_I, added_I), np.append(share_I, np.zeros(len(added_I), dtype=np.float32))
        )

    def _popular(self, k: int, filters: Filters, moment: Moment) -> tuple[AnyArray, AnyArray]:
        """Return indices and shares of the k most popular items at a moment."""
        row_I, share_I = self.popular_at(moment)
        if (
            filters.listed_I is not None
        ):  # a user without events has seen nothing, so the lists are the whole mask
            row_I = row_I[filters.listed_I[row_I]]
        return row_I[:k] + 1, share_I[row_I[:k]]


def _events(count: int) -> str:
    return "1 event" if count == 1 else f"{count} events"


def _rows(state: State, row_N: AnyArray) -> State:
    """Return the states of some users."""
    return {name: array[row_N] for name, array in state.items()}
