"""Exact search that first bounds all scores with int8 products, and then computes the scores of a few candidates.

Shape letters: B queries, I items, D width, k results, M corrections, C candidates.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from reprise.arrays import BoolArray, Float32Array, Int64Array
from reprise.recommender.search.exact_index import ExactIndex, SearchResult, empty_result, kth_lower_bound
from reprise.recommender.search.logit_corrections import LogitCorrections
from reprise.recommender.search.quantized_vectors import (
    MAX_MAGNITUDE,
    MAX_THRESHOLD,
    MAX_WIDTH,
    QuantizedVectors,
    ScoreBound,
    SearchQuery,
    max_magnitude,
)

MIN_ITEMS = 2**14
"""Number of items from which the quantised search is faster than the product of floats (benchmarks/search.py)."""
LARGE_BATCH, MIN_ITEMS_FOR_LARGE_BATCH = 32, 2**16
"""Batches of more than `LARGE_BATCH` queries need this many items instead: the product of floats reads the vectors once for
the whole batch, and reading fewer bytes is what the quantised search gains."""
SPARSE_MASK_RATIO = 64
"""If at most one item in this many is allowed, the scores of all allowed items are computed directly."""


class QuantizedIndex:
    """A search with the results of `ExactIndex`, by int8 products if they are faster. Safe to call from several threads.

    The search has three steps, and its result is exact:

    1. Compute an upper bound of every score (`QuantizedVectors`).
    2. Compute the true scores of at least k items with the largest bounds. Let t be the k-th largest of these scores.
    3. Compute the true scores of all items whose bound reaches t, and return the k best. No other item can be among the k
       best: its score is below t, and k items have scores of at least t.

    Example with k = 1 and the bounds 0.82, 0.79 and 0.40: the first item has the score t = 0.80. The second item's score is at
    most 0.79, so one true score is enough. With a second bound of 0.81, the second score has to be computed as well.

    `ExactIndex` computes all scores if the catalogue is small, if too many bounds reach t, or if numbers are too large for the
    bounds.
    """

    def __init__(self, vectors_ID: Float32Array, min_items: int = MIN_ITEMS) -> None:
        """Quantise the vectors, if that makes the search faster.

        Args:
            vectors_ID: Item vectors.
            min_items: Number of items from which the vectors are quantised.
        """
        items, width = vectors_ID.shape
        self.vectors_ID = vectors_ID
        self._exact = ExactIndex(vectors_ID)
        # the true score of one candidate takes about ten times as long as one score of a product of floats
        self._max_candidates = max(64, min(items // 8, 2**22 // max(1, width)))
        self._quantized: QuantizedVectors | None = None
        if items >= min_items and 0 < width <= MAX_WIDTH and max_magnitude(vectors_ID) < MAX_MAGNITUDE:
            self._quantized = QuantizedVectors(vectors_ID)

    def search(
        self,
        query_BD: Float32Array,
        k: int,
        allowed: BoolArray | None = None,
        corrections: LogitCorrections | None = None,
    ) -> SearchResult:
        """Return the k items with the largest scores of each query. See `Index.search`.

        A score is the inner product in float64, rounded once to float32, plus the correction in float32.
        """
        if self._quantized is None or not self._is_faster(len(query_BD), k):
            return self._exact.search(query_BD, k, allowed, corrections)
        if not self._quantized.supports(query_BD, corrections):
            return self._exact.search(query_BD, k, allowed, corrections)
        index_Bk, score_Bk = empty_result(len(query_BD), k)
        queries = [
            SearchQuery.from_batch(row, query_BD, k, allowed, corrections) for row in range(len(query_BD))
        ]
        for row, column_C in enumerate(self._candidates(queries, self._quantized)):
            one, query = slice(row, row + 1), queries[row]
            if len(column_C) > self._max_candidates:
                index_Bk[one], score_Bk[one] = self._exact.search(
                    query_BD[one], k, query.allowed_I, query.corrections
                )
                continue
            score_C = self._scores(query, column_C)
            # the columns ascend and the sort is stable, so items with equal scores stay in index order
            best_k = (-score_C).argsort(kind="stable")[:k]
            index_Bk[row, : len(best_k)] = column_C[best_k] + 1
            score_Bk[row, : len(best_k)] = score_C[best_k]
        return index_Bk, score_Bk

    def _is_faster(self, queries: int, k: int) -> bool:
        large_batch = queries > LARGE_BATCH and len(self.vectors_ID) < MIN_ITEMS_FOR_LARGE_BATCH
        return not large_batch and 2 * k <= self._max_candidates

    def _candidates(
        self, queries: Sequence[SearchQuery], quantized: QuantizedVectors
    ) -> Iterator[Int64Array]:
        """Yield columns, ascending, that include the k best items of each query; more than `_max_candidates` if too many."""
        direct = [self._direct_candidates(query) for query in queries]
        bounded = [query for query, column_C in zip(queries, direct, strict=True) if column_C is None]
        bounds = quantized.bounds(bounded)
        for query, column_C in zip(queries, direct, strict=True):
            if column_C is None:
                column_C = self._bounded_candidates(query, next(bounds), quantized.outlier_O)
            yield column_C

    def _direct_candidates(self, query: SearchQuery) -> Int64Array | None:
        """Return the candidates of a zero query, or of a mask that allows few items; None if bounds are needed."""
        if not query.query_D.any():
            return _zero_query_candidates(query, len(self.vectors_ID))
        if query.allowed_I is None:
            return None
        few = max(query.k, len(query.allowed_I) // SPARSE_MASK_RATIO)
        return None if np.count_nonzero(query.allowed_I) > few else np.flatnonzero(query.allowed_I)

    def _bounded_candidates(self, query: SearchQuery, bound: ScoreBound, outlier_O: Int64Array) -> Int64Array:
        """Return the columns whose bounds reach the k-th largest score of the items with the largest bounds."""
        if len(outlier_O) and query.allowed_I is not None:
            outlier_O = outlier_O[query.allowed_I[outlier_O]]
        (largest_bounds,) = kth_lower_bound(bound.upper_I[None], query.k)
        first_C = _reaching(bound, max(int(largest_bounds), -MAX_THRESHOLD), outlier_O)
        if len(first_C) > self._max_candidates:
            return first_C
        score_C = self._scores(query, first_C)
        score_C.partition(-query.k)
        return _reaching(bound, bound.threshold(float(score_C[-query.k])), outlier_O)

    def _scores(self, query: SearchQuery, column_C: Int64Array) -> Float32Array:
        # einsum sums each row separately and in one order, so equal vectors have equal scores in every column;
        # a matrix product may sum the last rows in another order than the first ones
        vectors_CD = self.vectors_ID.take(column_C, axis=0).astype(np.float64)
        score_C: Float32Array = np.einsum("cd,d->c", vectors_CD, query.query_D.astype(np.float64)).astype(
            np.float32
        )
        if query.corrections is not None and len(column_C):
            column_M = query.corrections.item_M - 1
            at_M = np.minimum(column_C.searchsorted(column_M), len(column_C) - 1)
            here_M = column_C[at_M] == column_M
            score_C[at_M[here_M]] += query.corrections.value_M[here_M]
        return score_C


def _reaching(bound: ScoreBound, threshold: int, outlier_O: Int64Array) -> Int64Array:
    """Return the columns whose bounds reach a threshold, and the outliers; ascending."""
    column_C = np.flatnonzero(bound.upper_I >= np.int32(threshold))
    return np.union1d(column_C, outlier_O) if len(outlier_O) else column_C


def _zero_query_candidates(query: SearchQuery, items: int) -> Int64Array:
    """Return the columns that include the k best items if all products are zero.

    These are the items with corrections, and the first allowed items: as many as can remain in the result.
    """
    no_columns = np.empty(0, dtype=np.int64)
    column_M = no_columns if query.corrections is None else query.corrections.item_M - 1
    enough = query.k + len(column_M)
    if query.allowed_I is None:
        return np.union1d(np.arange(min(items, enough)), column_M)
    return np.union1d(np.flatnonzero(query.allowed_I)[:enough], column_M[query.allowed_I[column_M]])
