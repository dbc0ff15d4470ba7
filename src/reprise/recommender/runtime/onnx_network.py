"""A trained network without torch: the ONNX session, the item vectors, and the tables that change the scores.

Shape letters: B users, T events of one user, E events of all users, I items, A added items, M selected items, W recent items,
D width; N users of whom a selected item is recent, K best items, U different recent items, P pairs of a selected and a recent
item.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from reprise.arrays import AnyArray, BoolArray, Float32Array
from reprise.data.vocabulary import PAD
from reprise.recommender.runtime.cooccurrence_tables import RECENT, CooccurrenceTables
from reprise.recommender.runtime.event_arrays import EventArrays
from reprise.recommender.runtime.onnx_session import OnnxSession, State
from reprise.recommender.runtime.repeat_tables import RepeatTables
from reprise.recommender.runtime.user_map import USER, UserMap
from reprise.recommender.search.exact_index import Index, best_scores
from reprise.recommender.search.logit_corrections import LogitCorrections
from reprise.recommender.search.pointer_mixture import NORMALISER_ITEMS, PointerMixture
from reprise.recommender.search.vector_changes import VectorChanges


@dataclass(frozen=True)
class OnnxNetwork:
    """A recurrent network that computes states, queries and scores. Safe to call from several threads."""

    runtime: OnnxSession
    """Graphs of the step and the query."""
    input_ID: Float32Array
    """Input vectors of the items; row j belongs to item index j + 1."""
    output_ID: Float32Array
    """Output vectors of the items, whose products with a query are scores. The same array as `input_ID` if they are tied."""
    cooccurrence: CooccurrenceTables | None = None
    """Co-occurrence logits that are added to the products; None if the network has none."""
    repeats: RepeatTables | None = None
    """Repeat head, which replaces the scores of recent items; None if the network has none."""
    input_changes: VectorChanges | None = None
    """Input vectors that replace rows of `input_ID` or extend it; None if there are none."""
    output_changes: VectorChanges | None = None
    """Output vectors of the same items."""
    users: UserMap | None = None
    """Map from attributes of users to vectors that the query reads; None if the network reads none."""

    def with_attributes(self, state: State, attributes_B: Sequence[Mapping[str, Any]]) -> State:
        """Return the states of users with these attributes. Only the query depends on them, so they may change at any time.

        Raises:
            DataError: An attribute has a value of a wrong type.
        """
        return state if self.users is None else {**state, USER: self.users.vectors(attributes_B)}

    @property
    def size(self) -> int:
        """Largest item index, I: the number of columns of masks and scores."""
        return len(self.output_ID) if self.output_changes is None else self.output_changes.size

    def input_of(self, item_N: AnyArray) -> Float32Array:
        """Return the input vectors of item indices, [..., D]."""
        changes = self.input_changes
        return self.input_ID[item_N - 1] if changes is None else changes.take(self.input_ID, item_N)

    def output_of(self, item_N: AnyArray) -> Float32Array:
        """Return the output vectors of item indices, [..., D]."""
        changes = self.output_changes
        return self.output_ID[item_N - 1] if changes is None else changes.take(self.output_ID, item_N)

    def advance(self, state: State, events: EventArrays) -> State:
        """Return the state after one more event of each user."""
        return self.runtime.advance(state, self.input_of(events.item), events)

    def advance_all(self, state: State, events: EventArrays) -> State:
        """Return the state of one user after several events, oldest first: the same as `advance` for each of them."""
        return self.runtime.advance_all(state, self.input_of(events.item), events)

    def query(self, state: State, now_s: float | AnyArray = np.nan) -> Float32Array:
        """Return the query vectors q_BD. `now_s` is the time of the request, one for all or [B]; NaN: not known."""
        users = len(next(iter(state.values())))
        return self.runtime.query(state, np.full(users, now_s, dtype=np.float64))

    def corrections(self, state: State) -> LogitCorrections | None:
        """Return the values to add to the products of queries and output vectors; None if the network adds nothing."""
        if self.cooccurrence is None:
            return None
        recent_BW = state[RECENT]
        # the tables have no pairs of items that were added after the export
        return self.cooccurrence.corrections(np.where(recent_BW > len(self.output_ID), PAD, recent_BW))

    def mixture(self, state: State, allowed: BoolArray | None = None) -> PointerMixture | None:
        """Return what replaces the scores of recent items; None if it replaces no score of a candidate.

        Args:
            state: States of the users.
            allowed: Mask of the candidates, [I] for all users or [B, I]; None: all items are.
        """
        if self.repeats is None:
            return None
        if self.output_changes is not None:
            # an item may have been removed while the state was computed
            known_BW = self.output_changes.has_vector(state[RECENT], len(self.output_ID))
            state = {**state, RECENT: np.where(known_BW, state[RECENT], PAD)}
        return self.repeats.mixture(state, allowed)

    def scores(self, state: State, now_s: float | AnyArray = np.nan) -> Float32Array:
        """Return the scores of all items, s_BI; minus infinity for an index without a vector."""
        query_BD, changes = self.query(state, now_s), self.output_changes
        scores_BI: Float32Array = query_BD @ self.output_ID.T
        if changes is not None:
            added_BA = np.full((len(query_BD), self.size - len(self.output_ID)), -np.inf, dtype=np.float32)
            scores_BI = np.concatenate([scores_BI, added_BA], axis=1)
            scores_BI[:, changes.item_M - 1] = query_BD @ changes.vector_MD.T
        corrections, mixture = self.corrections(state), self.mixture(state)
        if corrections is not None:
            corrections.add_to(scores_BI)
        if mixture is not None:
            mixture.apply(scores_BI, best_scores(scores_BI, NORMALISER_ITEMS))
        return scores_BI

    def scores_of(
        self, state: State, item_M: AnyArray, index: Index, now_s: float | AnyArray = np.nan
    ) -> Float32Array:
        """Return the scores of selected item indices, s_BM; `index` searches the output vectors."""
        query_BD, corrections = self.query(state, now_s), self.corrections(state)
        score_BM: Float32Array = query_BD @ self.output_of(item_M).T
        if corrections is not None:
            score_BM += corrections.of_items(np.broadcast_to(item_M, score_BM.shape))
        mixture = self.mixture(state)
        if mixture is None:
            return score_BM
        row_N = np.flatnonzero(np.isin(mixture.item_BW, item_M).any(axis=1))
        mixture, query_ND = mixture.take(row_N), query_BD[row_N]
        # the windows of the versions of one history have nearly the same items
        item_U, place_NW = np.unique(mixture.item_BW, return_inverse=True)
        product_NU: Float32Array = query_ND @ self.output_of(np.maximum(item_U, 1)).T
        own_NW = np.take_along_axis(product_NU, place_NW.reshape(mixture.item_BW.shape), axis=1)
        if corrections is not None:
            corrections = corrections.take(row_N)
            own_NW += corrections.of_items(mixture.item_BW)
        _, best_NK = index.search(query_ND, min(NORMALISER_ITEMS, self.size), None, corrections)
        mixed_NW = mixture.mixed(own_NW, best_NK)
        row_P, place_P, column_P = np.nonzero(mixture.item_BW[:, :, None] == item_M)
        score_BM[row_N[row_P], column_P] = mixed_NW[row_P, place_P]
        return score_BM

    def fold(self, histories: Sequence[EventArrays]) -> State:
        """Return the states after whole histories, one row for each.

        Users are sorted by the length of their histories, longest first. Each step then advances the users that still have an
        event, and these are the first rows.
        """
        if len(histories) == 1:
            return self.advance_all(self.runtime.initial_state(1), histories[0])
        length_B = np.array([len(history) for history in histories], dtype=np.int64)
        order_B = np.argsort(-length_B, kind="stable")
        first_B = (length_B.cumsum() - length_B)[order_B]
        events_E = EventArrays.concatenate(histories)
        state = self.runtime.initial_state(len(histories))
        for step in range(int(length_B.max(initial=0))):
            active = int((length_B > step).sum())
            before = {name: array[:active] for name, array in state.items()}
            for name, array in self.advance(before, events_E.take(first_B[:active] + step)).items():
                state[name][:active] = array
        back_B = np.argsort(order_B)
        return {name: array[back_B] for name, array in state.items()}
