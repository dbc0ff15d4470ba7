"""A trained network without torch: the ONNX session, the item vectors and the co-occurrence tables.

Shape letters: B users, T events of one user, E events of all users, I items, M selected items, N corrections of them, D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reprise.arrays import AnyArray, Float32Array
from reprise.recommender.runtime.cooccurrence_tables import RECENT, CooccurrenceTables
from reprise.recommender.runtime.event_arrays import EventArrays
from reprise.recommender.runtime.onnx_session import OnnxSession, State
from reprise.recommender.search.logit_corrections import LogitCorrections


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

    def advance(self, state: State, events: EventArrays) -> State:
        """Return the state after one more event of each user."""
        return self.runtime.advance(state, self.input_ID[events.item - 1], events)

    def advance_all(self, state: State, events: EventArrays) -> State:
        """Return the state of one user after several events, oldest first: the same as `advance` for each of them."""
        return self.runtime.advance_all(state, self.input_ID[events.item - 1], events)

    def query(self, state: State, now_s: float | AnyArray = np.nan) -> Float32Array:
        """Return the query vectors q_BD. `now_s` is the time of the request, one for all or [B]; NaN: not known."""
        users = len(next(iter(state.values())))
        return self.runtime.query(state, np.full(users, now_s, dtype=np.float64))

    def corrections(self, state: State) -> LogitCorrections | None:
        """Return the values to add to the products of queries and output vectors; None if the network adds nothing."""
        return None if self.cooccurrence is None else self.cooccurrence.corrections(state[RECENT])

    def scores(self, state: State, now_s: float | AnyArray = np.nan) -> Float32Array:
        """Return the scores of all items, s_BI."""
        scores_BI: Float32Array = self.query(state, now_s) @ self.output_ID.T
        corrections = self.corrections(state)
        if corrections is not None:
            corrections.add_to(scores_BI)
        return scores_BI

    def scores_of(self, state: State, item_M: AnyArray, now_s: float | AnyArray = np.nan) -> Float32Array:
        """Return the scores of selected item indices, s_BM."""
        score_BM: Float32Array = self.query(state, now_s) @ self.output_ID[item_M - 1].T
        corrections = self.corrections(state)
        if corrections is not None:
            correction_N, column_N = np.nonzero(corrections.item_M[:, None] == item_M)
            score_BM[corrections.row_M[correction_N], column_N] += corrections.value_M[correction_N]
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
