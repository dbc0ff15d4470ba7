"""Exact search that first bounds all scores with int8 products, and then computes the scores of a few candidates.

Shape letters: B queries, I items, D width, N vectors, k results, M corrections, C candidates.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from reprise.arrays import BoolArray, Float32Array, Float64Array, Int8Array, Int64Array
from reprise.recommender.search.exact_index import ExactIndex, SearchResult, empty_result, kth_lower_bound
from reprise.recommender.search.int8_matmul import MAX_BYTES, MAX_ITEM_CODE, MAX_QUERY_CODE, Int8Matmul
from reprise.recommender.search.logit_corrections import LogitCorrections

MIN_ITEMS = 2**14
"""Number of items from which the quantised search is faster than the product of floats (benchmarks/search.py)."""
LARGE_BATCH, MIN_ITEMS_FOR_LARGE_BATCH = 32, 2**16
"""Batches of more than `LARGE_BATCH` queries need this many items instead: the product of floats reads the vectors once for
the whole batch, and reading fewer bytes is what the quantised search gains."""
MAX_WIDTH = 2048
"""Largest width of the vectors: 63 * 127 * 2048 is below 2^24, so a product of codes is exact as a float32."""
QUERIES_PER_PRODUCT = 8
"""Number of queries per int8 product; their scores fit in the processor's cache."""
MAX_MAGNITUDE = 1e12
"""Magnitude from which vectors, queries and corrections are left to the product of floats, as are infinities and NaN."""
MIN_SCALE = 1e-15
"""Smallest scale of a quantised vector, so that a quotient of two scales stays far from infinity."""
EXCLUDED_PENALTY = np.float32(3e38)
"""Number subtracted from the bounds of items that are not allowed."""
MIN_ALLOWED_BOUND = np.float32(-1e38)
"""Number that is below the bounds of all allowed items and above those of all others."""
SPARSE_MASK_RATIO = 64
"""If at most one item in this many is allowed, the scores of all allowed items are computed directly."""
ROUNDING_SHARE = 2.0**-19
"""Bound of the rounding errors of a score in float32, relative to its largest terms: twice 16 roundings of 2^-24 each."""
ROUND_UP = 1 + 2.0**-18
"""Factor that makes a bound hold again after it was rounded to float32."""
MIN_NORMAL = float(np.finfo(np.float32).tiny)
"""Bound of the rounding errors below the normal range of float32."""


@dataclass(frozen=True)
class SearchQuery:
    """One query of a batch, with its own mask and corrections."""

    query_D: Float32Array
    """Query vector."""
    k: int
    """Number of items to return."""
    allowed_I: BoolArray | None
    """Mask of the items that may be returned; None allows all items."""
    corrections: LogitCorrections | None
    """Values to add to some of the scores."""

    @classmethod
    def from_batch(
        cls,
        row: int,
        query_BD: Float32Array,
        k: int,
        allowed: BoolArray | None,
        corrections: LogitCorrections | None,
    ) -> "SearchQuery":
        """Return the query in one row of a batch."""
        allowed_I = allowed if allowed is None or allowed.ndim == 1 else allowed[row]
        return cls(
            query_BD[row], k, allowed_I, None if corrections is None else corrections.rows(row, row + 1)
        )


class ScoreBound(NamedTuple):
    """Upper bounds of all scores of one query: no score is above `unit * upper_I + rounding`."""

    upper_I: Float32Array
    """Bounds in multiples of `unit`; below `MIN_ALLOWED_BOUND` for items that are not allowed."""
    unit: float
    """Scale of the quantised query."""
    rounding: float
    """Bound of the rounding errors of a score and of its bound."""

    def threshold(self, score: float) -> np.float32:
        """Return the value that `upper_I` reaches for every item whose score is at least `score`."""
        return np.float32((score - self.rounding) / self.unit)


class QuantizedVectors:
    """Item vectors as int8 codes, with a scale for each vector and bounds of the quantisation errors.

    A vector v is quantised to v' = scale * code, a query q to q' in the same way. Then
    q v = q' v' + q' (v - v') + (q - q') v, and by the Cauchy-Schwarz inequality

        q v <= q' v' + |q'| |v - v'| + |q - q'| |v|

    q' v' is an integer product times two scales. The other terms need one number for each item and one for each query.

    Example: v = (1, 0.3) has the scale 1 / 127 and the codes (127, 38), so |v - v'| = 0.0008 and |v| = 1.0440.
    q = (0.6, 1) has the scale 1 / 63 and the codes (38, 63), so |q - q'| = 0.0032 and |q'| = 1.1678.
    The integer product is 38 * 127 + 63 * 38 = 7220, and q' v' = 7220 / (63 * 127) = 0.9024.
    The bound is 0.9024 + 1.1678 * 0.0008 + 0.0032 * 1.0440 = 0.9066. The score, 0.9, is below it.
    """

    def __init__(self, vectors_ID: Float32Array, matmul_graph: bytes) -> None:
        """Quantise the vectors and open the session that multiplies their codes.

        Raises:
            ArtefactError: the graph is for other vectors.
        """
        code_ID = np.empty(vectors_ID.shape, dtype=np.int8)
        self._scale_I = np.empty(len(vectors_ID), dtype=np.float32)
        error_I, length_I = np.empty(len(vectors_ID)), np.empty(len(vectors_ID))
        for start in range(0, len(vectors_ID), 4096):  # in parts, because the errors are computed in float64
            part = slice(start, start + 4096)
            code_ID[part], self._scale_I[part] = _quantize(vectors_ID[part], MAX_ITEM_CODE)
            error_I[part], length_I[part] = _errors(vectors_ID[part], code_ID[part], self._scale_I[part])
        self._product = Int8Matmul(matmul_graph, code_ID)
        # The bound needs |v - v'| and |v| of each item. One number for both saves a pass over all items: with E and L the
        # largest error and length, share = max(|v - v'| / E, |v| / L), and each term is at most share times its maximum.
        # Little is lost, because long vectors have large errors.
        self._max_error = max(float(error_I.max()), MIN_NORMAL)
        self._max_length = max(float(length_I.max()), MIN_NORMAL)
        share_I = np.maximum(error_I / self._max_error, length_I / self._max_length) * ROUND_UP
        self._share_I: Float32Array = share_I.astype(np.float32)

    def supports(self, query_BD: Float32Array, corrections: LogitCorrections | None) -> bool:
        """Return whether the bounds of these queries can be computed in float32."""
        return _max_magnitude(query_BD) < MAX_MAGNITUDE and (
            corrections is None or _max_magnitude(corrections.value_M) < MAX_MAGNITUDE
        )

    def bounds(self, queries: Sequence[SearchQuery]) -> Iterator[ScoreBound]:
        """Yield upper bounds of the scores of each query."""
        for start in range(0, len(queries), QUERIES_PER_PRODUCT):
            group = queries[start : start + QUERIES_PER_PRODUCT]
            query_BD = np.stack([query.query_D for query in group])
            code_BD, scale_B = _quantize(query_BD, MAX_QUERY_CODE)
            error_B, length_B = _errors(query_BD, code_BD, scale_B)
            product_BI = self._product(code_BD)
            for row, query in enumerate(group):
                unit, error, length = float(scale_B[row]), float(error_B[row]), float(length_B[row])
                # In multiples of the query's scale, so that a product needs one multiplication per item. Scales inside the
                # ONNX graph were not faster: 1.48 to 1.76 ms per query for 100,000 items of width 128, against 1.60 ms.
                upper_I = np.multiply(product_BI[row], self._scale_I, dtype=np.float32, casting="unsafe")
                # |q'| is at most |q| + |q - q'|
                error_bound = (length + error) * self._max_error + error * self._max_length
                upper_I += self._share_I * np.float32(error_bound * ROUND_UP / unit)
                largest = _apply_corrections_and_mask(query, upper_I, unit)
                rounding = ROUNDING_SHARE * ((length + error) * self._max_length + largest) + MIN_NORMAL
                yield ScoreBound(upper_I, unit, rounding)


def should_quantize(items: int, width: int) -> bool:
    """Return whether the quantised search is faster than the product of floats, and possible, for vectors of this shape."""
    return items >= MIN_ITEMS and 0 < width <= MAX_WIDTH and items * width <= MAX_BYTES


class QuantizedIndex:
    """A search with the results of `ExactIndex`, by int8 products if they are faster. Safe to call from several threads.

    The search has three steps, and its result is exact:

    1. Compute an upper bound of every score (`QuantizedVectors`).
    2. Compute the true scores of at least k items with the largest bounds. Let t be the k-th largest of these scores.
    3. Compute the true scores of all items whose bound reaches t, and return the k best. No other item can be among the k
       best: its score is below t, and k items have scores of at least t.

    Example with k = 1 and the bounds 0.82, 0.79 and 0.40: the first item has the score t = 0.80. The second item's score is at
    most 0.79, so one true score is enough. With a second bound of 0.81, the second score has to be computed as well.

    `ExactIndex` computes all scores if too many bounds reach t, if there is no graph, or if numbers are too large for the
    bounds.
    """

    def __init__(self, vectors_ID: Float32Array, matmul_graph: bytes | None) -> None:
        """Quantise the vectors, if there is a graph for them.

        Args:
            vectors_ID: Item vectors.
            matmul_graph: ONNX graph of the int8 product for vectors of this shape; None searches with products of floats.

        Raises:
            ArtefactError: the graph is for vectors of another shape.
        """
        items, width = vectors_ID.shape
        self.vectors_ID = vectors_ID
        self._exact = ExactIndex(vectors_ID)
        # the true score of one candidate takes about ten times as long as one score of a product of floats
        self._max_candidates = max(64, min(items // 8, 2**22 // max(1, width)))
        self._quantized: QuantizedVectors | None = None
        if matmul_graph is not None and _max_magnitude(vectors_ID) < MAX_MAGNITUDE:
            self._quantized = QuantizedVectors(vectors_ID, matmul_graph)

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
            yield self._bounded_candidates(query, next(bounds)) if column_C is None else column_C

    def _direct_candidates(self, query: SearchQuery) -> Int64Array | None:
        """Return the candidates of a zero query, or of a mask that allows few items; None if bounds are needed."""
        if not query.query_D.any():
            return _zero_query_candidates(query, len(self.vectors_ID))
        if query.allowed_I is None:
            return None
        few = max(query.k, len(query.allowed_I) // SPARSE_MASK_RATIO)
        return None if np.count_nonzero(query.allowed_I) > few else np.flatnonzero(query.allowed_I)

    def _bounded_candidates(self, query: SearchQuery, bound: ScoreBound) -> Int64Array:
        """Return the columns whose bounds reach the k-th largest score of the items with the largest bounds."""
        (largest_bounds,) = kth_lower_bound(bound.upper_I[None], query.k)
        first_C = np.flatnonzero(bound.upper_I >= max(largest_bounds, MIN_ALLOWED_BOUND))
        if len(first_C) > self._max_candidates:
            return first_C
        score_C = self._scores(query, first_C)
        score_C.partition(-query.k)
        return np.flatnonzero(bound.upper_I >= bound.threshold(float(score_C[-query.k])))

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


def _apply_corrections_and_mask(query: SearchQuery, upper_I: Float32Array, unit: float) -> float:
    """Add corrections and subtract `EXCLUDED_PENALTY`, in place; return the largest magnitude of a correction."""
    if query.corrections is not None:
        upper_I[query.corrections.item_M - 1] += query.corrections.value_M / np.float32(unit)
    if query.allowed_I is not None:
        # by arithmetic, because a masked copy takes ten times as long for masks that are mixed
        penalty_I = np.subtract(query.allowed_I, np.float32(1), dtype=np.float32)
        penalty_I *= EXCLUDED_PENALTY
        upper_I += penalty_I
    return 0.0 if query.corrections is None else _max_magnitude(query.corrections.value_M)


def _quantize(x_ND: Float32Array, max_code: int) -> tuple[Int8Array, Float32Array]:
    """Return integer codes of at most `max_code`, and the scale of each row."""
    scale_N = np.maximum(np.abs(x_ND).max(axis=1) / np.float32(max_code), np.float32(MIN_SCALE))
    code_ND = np.rint(x_ND / scale_N[:, None]).clip(-max_code, max_code)
    return code_ND.astype(np.int8), scale_N


def _errors(
    x_ND: Float32Array, code_ND: Int8Array, scale_N: Float32Array
) -> tuple[Float64Array, Float64Array]:
    """Return (error_N, length_N): upper bounds of the lengths of x - x' and of x."""
    exact_ND = x_ND.astype(np.float64)
    error_ND = exact_ND - code_ND * scale_N[:, None].astype(np.float64)
    return _length_bounds(error_ND), _length_bounds(exact_ND)


def _length_bounds(x_ND: Float64Array) -> Float64Array:
    lengths_N: Float64Array = np.sqrt(np.einsum("nd,nd->n", x_ND, x_ND)) * ROUND_UP
    return lengths_N


def _max_magnitude(x: Float32Array) -> float:
    """Return the largest magnitude, infinity if a number is NaN, or 0 for an empty array."""
    if not x.size:
        return 0.0
    high, low = float(x.max()), float(x.min())
    return np.inf if np.isnan(high) else max(high, -low)
