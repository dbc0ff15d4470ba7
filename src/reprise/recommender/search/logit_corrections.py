"""Sparse corrections that are added to the scores of a search.

Shape letters: B queries, I items, M corrections, N looked-up items of each query.
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

    def take(self, row_B: Int64Array) -> "LogitCorrections":
        """Return the corrections of some queries, given in ascending order, with rows counted among them."""
        place_M = np.searchsorted(row_B, self.row_M)
        kept_M = np.append(row_B, -1)[place_M] == self.row_M
        return LogitCorrections(place_M[kept_M], self.item_M[kept_M], self.value_M[kept_M])

    def of_items(self, item_BN: Int64Array) -> Float32Array:
        """Return the corrections of some items of each query, 0 for an item without one, [B, N]."""
        if not len(self.row_M):
            return np.zeros(item_BN.shape, dtype=np.float32)
        # Example: item 3 of query 1 has the key 1 * 8 + 3 if the largest item is 7. The keys of all pairs are different.
        base = max(int(self.item_M.max()), int(item_BN.max(initial=0))) + 1
        key_M = self.row_M * base + self.item_M
        order_M = key_M.argsort(kind="stable")
        key_BN = np.arange(len(item_BN))[:, None] * base + item_BN
        place_BN = np.minimum(key_M[order_M].searchsorted(key_BN), len(key_M) - 1)
        found_BN = order_M[place_BN]
        return np.where(key_M[found_BN] == key_BN, self.value_M[found_BN], np.float32(0))

    def add_to(self, score_BI: Float32Array) -> None:
        """Add all corrections to the scores of all queries, in place."""
        score_BI[self.row_M, self.item_M - 1] += self.value_M
