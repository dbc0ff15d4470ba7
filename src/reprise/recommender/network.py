"""The fold over item indices: the runtime with the vectors of the items it reads and compares with.

Shape letters: B users, E events of all of them, I items, D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reprise.recommender.catalogue import Indices
from reprise.recommender.index import Floats
from reprise.recommender.runtime import Runtime, State


@dataclass(frozen=True)
class Network:
    """A trained network that needs no torch."""

    runtime: Runtime
    input_ID: Floats
    """The vectors that are read; row j belongs to item index j + 1."""
    output_ID: Floats
    """The vectors that score. The same array where they are tied."""

    def advance(self, state: State, index_B: Indices) -> State:
        """The state after one more event of each user."""
        return self.runtime.advance(state, self.input_ID[index_B - 1])

    def scores(self, state: State) -> Floats:
        """The scores of all items, s_BI."""
        scores_BI: Floats = self.runtime.query(state) @ self.output_ID.T
        return scores_BI

    def fold(self, rows: Sequence[Indices]) -> State:
        """The states after whole histories, one row each.

        Each step runs the rows that still have an event; with the longest first these are the rows up to some one.
        """
        length_B = np.array([len(row) for row in rows], dtype=np.int64)
        order_B = np.argsort(-length_B, kind="stable")
        first_B = (length_B.cumsum() - length_B)[order_B]
        index_E = np.concatenate(rows) if rows else np.empty(0, dtype=np.int64)
        state = self.runtime.initial_state(len(rows))
        for step in range(int(length_B.max(initial=0))):
            live = int((length_B > step).sum())
            before = {name: array[:live] for name, array in state.items()}
            for name, array in self.advance(before, index_E[first_B[:live] + step]).items():
                state[name][:live] = array
        back_B = np.argsort(order_B)
        return {name: array[back_B] for name, array in state.items()}
