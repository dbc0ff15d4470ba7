"""Search for the items whose vectors have the largest inner products with a query.

Shape letters: B queries, I items, D width, k answers, M additions. Column j of the scores belongs to item index j + 1.
"""

from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from reprise.arrays import BoolArray, Float32Array
from reprise.data.vocabulary import PAD

Found = tuple[np.ndarray[Any, np.dtype[np.int64]], Float32Array]

BLOCK = 2**22
"""Scores that exist at once, at most (unless one query has more): 16 MiB of them."""


class LogitCorrections(NamedTuple):
    """Numbers added to some of the scores, each place at most once."""

    row_M: np.ndarray[Any, np.dtype[np.int64]]
    """Which query, ascending."""
    item_M: np.ndarray[Any, np.dtype[np.int64]]
    """Item index, 1..I."""
    value_M: Float32Array
    """What is added."""

    def rows(self, first: int, last: int) -> "LogitCorrections":
        """Those of the queries `first`..`last`, counted from the first of them."""
        begin, end = np.searchsorted(self.row_M, (first, last))
        return LogitCorrections(
            self.row_M[begin:end] - first, self.item_M[begin:end], self.value_M[begin:end]
        )

    def add_to(self, score_BI: Float32Array) -> None:
        """Add them to the scores of all queries, in place."""
        score_BI[self.row_M, self.item_M - 1] += self.value_M


@runtime_checkable
class Index(Protocol):
    """Finds the best items for queries."""

    def search(
        self,
        query_BD: Float32Array,
        k: int,
        allowed: BoolArray | None = None,
        extra: LogitCorrections | None = None,
    ) -> Found:
        """(index_Bk, score_Bk), best first by the inner product and what `extra` adds to it.

        `allowed` says which items may be answered, [I] for all queries or [B, I]. Where fewer than k are, the rest of the
        row is `PAD` with a score of minus infinity.
        """
        ...


class ExactIndex:
    """Every inner product and what is added to it, then the k largest.

    Equal scores stand in index order, so the commoner item comes first.
    """

    def __init__(self, vectors_ID: Float32Array) -> None:
        self.vectors_ID = vectors_ID

    def search(
        self,
        query_BD: Float32Array,
        k: int,
        allowed: BoolArray | None = None,
        extra: LogitCorrections | None = None,
    ) -> Found:
        """See `Index`."""
        rows = max(1, BLOCK // max(1, len(self.vectors_ID)))
        index_Bk, score_Bk = nothing_found(len(query_BD), k)
        for start in range(0, len(query_BD), rows):
            block = slice(start, start + rows)
            score_BI = query_BD[block] @ self.vectors_ID.T
            if extra is not None:
                extra.rows(start, start + len(score_BI)).add_to(score_BI)
            if allowed is not None:
                np.copyto(score_BI, -np.inf, where=~(allowed if allowed.ndim == 1 else allowed[block]))
            top_k(score_BI, index_Bk[block], score_Bk[block])
        return index_Bk, score_Bk


def nothing_found(queries: int, k: int) -> Found:
    """An answer without items, to be filled."""
    return (
        np.full((queries, k), PAD, dtype=np.int64),
        np.full((queries, k), -np.inf, dtype=np.float32),
    )


def below_kth(score_BI: Float32Array, k: int) -> Float32Array:
    """A number for each row that its k-th largest is not below, and seldom far above; itself where there are few.

    The items are dealt out to places, and of the best of each place the k-th largest is taken: any k of them are items.
    """
    items = score_BI.shape[1]
    places = max(1024, 8 * k)
    deals = items // places
    if deals >= 4:
        best_BP = score_BI[:, : deals * places].reshape(len(score_BI), deals, places).max(axis=1)
        score_BI = np.concatenate([best_BP, score_BI[:, deals * places :]], axis=1)
    kth_B: Float32Array = np.partition(score_BI, -k, axis=1)[:, -k]
    return kth_B


def top_k(
    score_BI: Float32Array, index_Bk: np.ndarray[Any, np.dtype[np.int64]], score_Bk: Float32Array
) -> None:
    """Write the k best of each row into `index_Bk` and `score_Bk`, leaving what is beyond the finite scores as it is."""
    items, k = score_BI.shape[1], index_Bk.shape[1]
    # finite, so that what is not allowed stays below it
    floor_B1 = np.full((len(score_BI), 1), np.finfo(np.float32).min, dtype=np.float32)
    if k < items:
        np.maximum(floor_B1, below_kth(score_BI, k)[:, None], out=floor_B1)
    # everything as good as the k-th best, so that ties are cut by index and not by the luck of the partition;
    # flat, because numpy looks through one dimension several times faster than through two
    row_N, column_N = np.divmod(np.flatnonzero(score_BI >= floor_B1), items)
    score_N = score_BI[row_N, column_N]
    order_N = np.lexsort((column_N, -score_N, row_N))
    first_B = np.searchsorted(row_N, np.arange(len(score_BI)))
    rank_N = np.arange(len(row_N)) - first_B[row_N]
    kept_N = rank_N < k
    row_M, rank_M, best_M = row_N[kept_N], rank_N[kept_N], order_N[kept_N]
    index_Bk[row_M, rank_M] = column_N[best_M] + 1
    score_Bk[row_M, rank_M] = score_N[best_M]
