"""The fold over events: the runtime with the vectors of the items it reads and compares with.

Shape letters: B users, E events of all of them, I items, M some of them, D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reprise.arrays import AnyArray, Float32Array
from reprise.recommender.artefact.artefact import Artefact
from reprise.recommender.runtime.event_arrays import EventArrays
from reprise.recommender.runtime.logit_corrections import RECENT, CooccurrenceCorrection
from reprise.recommender.runtime.onnx_session import OnnxSession, State
from reprise.recommender.search.exact_index import LogitCorrections


@dataclass(frozen=True)
class OnnxNetwork:
    """A trained network that needs no torch."""

    runtime: OnnxSession
    input_ID: Float32Array
    """The vectors that are read; row j belongs to item index j + 1."""
    output_ID: Float32Array
    """The vectors that score. The same array where they are tied."""
    transitions: CooccurrenceCorrection | None = None
    """What is added to the scores, where the network counts transitions."""

    @classmethod
    def open(cls, artefact: Artefact) -> "OnnxNetwork":
        """The network of an artefact.

        Raises:
            ArtefactError: a graph cannot be read.
        """
        runtime = OnnxSession(artefact.step, artefact.query, artefact.initial)
        return cls(
            runtime, artefact.input_ID, artefact.output_ID, CooccurrenceCorrection.of(artefact.transitions)
        )

    def advance(self, state: State, events: EventArrays) -> State:
        """The state after one more event of each user."""
        return self.runtime.advance(state, self.input_ID[events.item - 1], events)

    def query(self, state: State, now_s: float | AnyArray = np.nan) -> Float32Array:
        """What is compared with the vectors that score, q_BD, at the moment of asking: of all, or [B]; NaN: not known."""
        users = len(next(iter(state.values())))
        return self.runtime.query(state, np.full(users, now_s, dtype=np.float64))

    def additions(self, state: State) -> LogitCorrections | None:
        """What is added to the products of queries and vectors, where anything is."""
        return None if self.transitions is None else self.transitions.after(state[RECENT])

    def scores(self, state: State, now_s: float | AnyArray = np.nan) -> Float32Array:
        """The scores of all items, s_BI."""
        scores_BI: Float32Array = self.query(state, now_s) @ self.output_ID.T
        extra = self.additions(state)
        if extra is not None:
            extra.add_to(scores_BI)
        return scores_BI

    def scores_of(self, state: State, item_M: AnyArray, now_s: float | AnyArray = np.nan) -> Float32Array:
        """The scores of some item indices, s_BM."""
        score_BM: Float32Array = self.query(state, now_s) @ self.output_ID[item_M - 1].T
        extra = self.additions(state)
        if extra is not None:
            place_N, column_N = np.nonzero(extra.item_M[:, None] == item_M)
            score_BM[extra.row_M[place_N], column_N] += extra.value_M[place_N]
        return score_BM

    def fold(self, rows: Sequence[EventArrays]) -> State:
        """The states after whole histories, one row each.

        Each step runs the rows that still have an event; with the longest first these are the rows up to some one.
        """
        length_B = np.array([len(row) for row in rows], dtype=np.int64)
        order_B = np.argsort(-length_B, kind="stable")
        first_B = (length_B.cumsum() - length_B)[order_B]
        events_E = EventArrays.joined(rows)
        state = self.runtime.initial_state(len(rows))
        for step in range(int(length_B.max(initial=0))):
            live = int((length_B > step).sum())
            before = {name: array[:live] for name, array in state.items()}
            for name, array in self.advance(before, events_E.take(first_B[:live] + step)).items():
                state[name][:live] = array
        back_B = np.argsort(order_B)
        return {name: array[back_B] for name, array in state.items()}
