"""Sparse corrections that are added to the scores of a search.

Shape letters: B queries, I items, M corrections.
"""

from typing import NamedTuple

import numpy as np

from reprise.arrays import Float32Array, Int64Array


class LogitCorrections(NamedTuple):
    """Values that are added to some of the scores. Each pair of a query and an item occurs at most once."""

    row_M: Int64Array
    """Row of the query of each correction, ascending."""
    item_M: Int64Array
    """Item index of each correction, from 1 to I."""
    value_M: Float32Array
    """Value that is added to the score."""

    def rows(self, first: int, last: int) -> "LogitCorrections":
        """Return the corrections of the queries `first` to `last - 1`, with rows counted from `first`."""
        begin, end = np.searchsorted(self.row_M, (first, last))
        return LogitCorrections(
            self.row_M[begin:end] - first, self.item_M[begin:end], self.value_M[begin:end]
        )

    def add_to(self, score_BI: Float32Array) -> None:
        """Add all corrections to the scores of all queries, in place."""
        score_BI[self.row_M, self.item_M - 1] += self.value_M
