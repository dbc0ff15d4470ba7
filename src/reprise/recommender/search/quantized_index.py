"""Exact search that first bounds all scores with int8 products, and then computes the scores of a few candidates.

Shape letters: B queries, I items, D width, k results, M corrections, C candidates, W places of a window of recent items,
R replaced scores.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from reprise.arrays import BoolArray, Float32Array, Int64Array
from reprise.data.vocabulary import PAD
from reprise.recommender.search.column_scores import column_scores, mixed_scores
from reprise.recommender.search.exact_index import ExactIndex, SearchResult, empty_result, kth_lower_bound
from reprise.recommender.search.logit_corrections import LogitCorrections
from reprise.recommender.search.pointer_mixture import NORMALISER_ITEMS, PointerMixture
from reprise.recommender.search.quantized_vectors import (
    MAX_MAGNITUDE,
    MAX_THRESHOLD,
    MAX_WIDTH,
    QuantizedVectors,
    ReplacedScores,
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

Candidates = tuple[Int64Array, Float32Array]
"""(column_C, score_C): columns, ascending, and their scores."""


class QuantizedIndex:
    """A search with the results of `ExactIndex`, by int8 products if they are faster. Safe to call from several threads.

    The search has three steps, and its result is exact:

    1. Compute an upper bound of every score (`QuantizedVectors`).
    2. Compute the true scores of at least k items with the largest bounds. Let t be the k-th largest of these scores.
    3. Compute the true scores of all items whose bound reaches t, and return the k best. No other item can be among the k
       best: its score is below t, and k items have scores of at least t.

    Example with k = 1 and the bounds 0.82, 0.79 and 0.40: the first item has the score t = 0.80. The second item's score is at
    most 0.79, so one true score is enough. With a second bound of 0.81, the second score has to be computed as well.

    A mixture depends on the best scores of all items. The three steps find them, without the mask and for somewhat more than k
    items. If k items that are allowed still reach the least of these scores when the scores of recent items are replaced, they
    are the result. If not, the bounds of recent items are replaced, and steps 2 and 3 follow on the same bounds.

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
        mixture: PointerMixture | None = None,
    ) -> SearchResult:
        """Return the k items with the largest scores of each query. See `Index.search`.

        A score is the inner product in float64, rounded once to float32, plus the correction in float32.
        """
        if self._quantized is None or not self._is_faster(len(query_BD), k):
            return self._exact.search(query_BD, k, allowed, corrections, mixture)
        if not self._quantized.supports(query_BD, corrections):
            return self._exact.search(query_BD, k, allowed, corrections, mixture)
        index_Bk, score_Bk = empty_result(len(query_BD), k)
        queries = [
            SearchQuery.from_batch(row, query_BD, k, allowed, corrections, mixture)
            for row in range(len(query_BD))
        ]
        for row, found in enumerate(self._candidates(queries, self._quantized)):
            if found is None:
                one, query = slice(row, row + 1), queries[row]
                index_Bk[one], score_Bk[one] = self._exact.search(
                    query_BD[one], k, query.allowed_I, query.corrections, query.mixture
                )
                continue
            column_C, score_C = found
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
    ) -> Iterator[Candidates | None]:
        """Yield candidates that include the k best items of each query; None if they would be more than `_max_candidates`."""
        direct = [self._direct_candidates(query) for query in queries]
        needs_bound = [
            column_C is None or query.mixture is not None
            for query, column_C in zip(queries, direct, strict=True)
        ]
        bounds = quantized.bounds(
            [query for query, needed in zip(queries, needs_bound, strict=True) if needed]
        )
        for query, column_C, needed in zip(queries, direct, needs_bound, strict=True):
            yield self._candidates_of(query, column_C, next(bounds) if needed else None, quantized.outlier_O)

    def _candidates_of(
        self,
        query: SearchQuery,
        column_C: Int64Array | None,
        bound: ScoreBound | None,
        outlier_O: Int64Array,
    ) -> Candidates | None:
        """Return the candidates of one query, given the columns if bounds are not needed to find them."""
        replaced = None
        if query.mixture is not None:
            assert bound is not None
            # more than the mixture needs, so that often all results are among them
            best = min(max(NORMALISER_ITEMS, query.k + query.k // 2), len(self.vectors_ID))
            found = self._bounded_candidates(query, best, bound, outlier_O)
            if found is None:
                return None
            best_K = np.sort(found[1])[-best:]
            replaced = mixed_scores(self.vectors_ID, query, query.mixture, best_K)
            if replaced is None:
                return None
            changed = _with_replaced(query, found, replaced, best_K[0])
            if changed is not None:
                return changed
            bound.replace_scores(replaced)
        if column_C is None:
            assert bound is not None
            if query.allowed_I is not None:
                bound.exclude(query.allowed_I)
                outlier_O = outlier_O[query.allowed_I[outlier_O]]
            return self._bounded_candidates(query, query.k, bound, outlier_O, replaced)
        if len(column_C) > self._max_candidates:
            return None
        return column_C, column_scores(self.vectors_ID, query, column_C, replaced)

    def _direct_candidates(self, query: SearchQuery) -> Int64Array | None:
        """Return the candidates of a zero query, or of a mask that allows few items; None if bounds are needed."""
        if not query.query_D.any():
            return _zero_query_candidates(query, len(self.vectors_ID))
        if query.allowed_I is None:
            return None
        few = max(query.k, len(query.allowed_I) // SPARSE_MASK_RATIO)
        return None if np.count_nonzero(query.allowed_I) > few else np.flatnonzero(query.allowed_I)

    def _bounded_candidates(
        self,
        query: SearchQuery,
        k: int,
        bound: ScoreBound,
        outlier_O: Int64Array,
        replaced: ReplacedScores | None = None,
    ) -> Candidates | None:
        """Return the items whose bounds reach the k-th largest score of the items with the largest bounds, and the outliers."""
        (largest_bounds,) = kth_lower_bound(bound.upper_I[None], k)
        first_C = bound.reaching(max(int(largest_bounds), -MAX_THRESHOLD), outlier_O)
        if len(first_C) > self._max_candidates:
            return None
        score_C = column_scores(self.vectors_ID, query, first_C, replaced)
        score_C.partition(-k)
        column_C = bound.reaching(bound.threshold(float(score_C[-k])), outlier_O)
        if len(column_C) > self._max_candidates:
            return None
        return column_C, column_scores(self.vectors_ID, query, column_C, replaced)


def _with_replaced(
    query: SearchQuery, found: Candidates, replaced: ReplacedScores, least: np.float32
) -> Candidates | None:
    """Return the allowed candidates with replaced scores; None if a further item may be among the k best.

    Args:
        query: The query.
        found: Candidates before the mixture and the mask.
        replaced: Scores that the mixture replaces.
        least: A score that no further item reaches before the mixture.
    """
    column_C, score_C = found
    column_R = replaced.column_R
    kept_C = column_R[np.minimum(column_R.searchsorted(column_C), len(column_R) - 1)] != column_C
    column_C = np.concatenate([column_C[kept_C], column_R])
    score_C = np.concatenate([score_C[kept_C], replaced.score_R])
    if query.allowed_I is not None:
        allowed_C = query.allowed_I[column_C]
        column_C, score_C = column_C[allowed_C], score_C[allowed_C]
    # Example with k = 2: the candidates have the scores 9, 8, 7 and 6, and all further items are below 6. The mask leaves out
    # the first one, and the mixture lowers the second one to 1. The scores 7 and 6 remain, and no further item is above them.
    if np.count_nonzero(score_C >= least) < query.k:
        return None
    order_C = column_C.argsort()
    return column_C[order_C], score_C[order_C]


def _zero_query_candidates(query: SearchQuery, items: int) -> Int64Array:
    """Return the columns that include the k best items if all products are zero.

    These are the items whose scores are changed, and the first allowed items: as many as can remain in the result.
    """
    changed = [np.empty(0, dtype=np.int64)]
    if query.corrections is not None:
        changed.append(query.corrections.item_M - 1)
    if query.mixture is not None:
        changed.append(query.mixture.item_BW[query.mixture.item_BW != PAD] - 1)
    column_M = np.concatenate(changed)
    enough = query.k + len(column_M)
    if query.allowed_I is None:
        return np.union1d(np.arange(min(items, enough)), column_M)
    return np.union1d(np.flatnonzero(query.allowed_I)[:enough], column_M[query.allowed_I[column_M]])
