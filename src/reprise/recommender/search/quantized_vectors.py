"""Upper bounds of all scores of a query, from int8 products.

Shape letters: B queries, I items, D width, N vectors, M corrections, R replaced scores, O outliers.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from reprise.arrays import BoolArray, Float32Array, Float64Array, Int8Array, Int32Array, Int64Array
from reprise.recommender.search.int8_matmul import MAX_ITEM_CODE, MAX_QUERY_CODE, Int8Matmul
from reprise.recommender.search.logit_corrections import LogitCorrections
from reprise.recommender.search.pointer_mixture import PointerMixture, allowed_places

MAX_WIDTH = 2048
"""Largest width of the vectors: 63 * 127 * 2048 is below 2^24, which the numbers for corrections and masks rely on."""
QUERIES_PER_PRODUCT = 8
"""Number of queries per int8 product; their scores fit in the processor's cache."""
MAX_MAGNITUDE = 1e12
"""Magnitude from which vectors, queries and corrections are left to the product of floats, as are infinities and NaN."""
MIN_SCALE = 1e-15
"""Smallest scale of quantised vectors, so that a quotient of two scales stays far from infinity."""
ITEMS_PER_OUTLIER, MAX_OUTLIERS, OUTLIER_RATIO = 256, 256, 2.0
"""At most one item in `ITEMS_PER_OUTLIER`, and at most `MAX_OUTLIERS` items, are outliers: items with components that are more
than `OUTLIER_RATIO` times as large as those of all other items. Their scores are always computed directly."""
MIN_CORRECTION, MAX_CORRECTION = -(2**27), 2**29
"""Range of a correction of a bound, in multiples of the unit. A bound may be too high, so the lower end loses nothing. A bound
that reaches the upper end is above every threshold."""
EXCLUDED_PENALTY = 2**30
"""Number subtracted from the bounds of items that are not allowed, in multiples of the unit."""
MAX_THRESHOLD = 2**28
"""Largest magnitude of a threshold. Bounds of items that are not allowed are below -2^28, because -2^30 + 2^29 + 2^24 is. Those
of all others reach it, because -2^27 - 2^24 does, and bounds that replace others are not below it."""
ROUNDING_SHARE = 2.0**-19
"""Bound of the rounding errors of a score in float32, relative to its terms: twice 16 roundings of 2^-24 each."""
ROUND_UP = 1 + 2.0**-18
"""Factor that makes a length computed in float64 an upper bound."""
MIN_NORMAL = float(np.finfo(np.float32).tiny)
"""Bound of the rounding errors below the normal range of float32."""


@dataclass(frozen=True)
class SearchQuery:
    """One query of a batch, with its own mask, corrections and mixture."""

    query_D: Float32Array
    """Query vector."""
    k: int
    """Number of items to return."""
    allowed_I: BoolArray | None
    """Mask of the items that may be returned; None allows all items."""
    corrections: LogitCorrections | None
    """Values to add to some of the scores."""
    mixture: PointerMixture | None
    """Mixture that replaces the scores of recent items; None if it replaces none that may be returned."""

    @classmethod
    def from_batch(
        cls,
        row: int,
        query_BD: Float32Array,
        k: int,
        allowed: BoolArray | None,
        corrections: LogitCorrections | None,
        mixture: PointerMixture | None,
    ) -> "SearchQuery":
        """Return the query in one row of a batch."""
        allowed_I = allowed if allowed is None or allowed.ndim == 1 else allowed[row]
        if mixture is not None:
            mixture = mixture.rows(row, row + 1)
            if not allowed_places(mixture.item_BW, allowed_I).any():
                mixture = None
        corrections = None if corrections is None else corrections.rows(row, row + 1)
        return cls(query_BD[row], k, allowed_I, corrections, mixture)


class ReplacedScores(NamedTuple):
    """Scores of some items of one query, which replace the others."""

    column_R: Int64Array
    """Columns of the items, ascending."""
    score_R: Float32Array
    """Their scores."""


class ScoreBound(NamedTuple):
    """Upper bounds of all scores of one query: no score is above `unit * upper_I + slack`, except those of outliers."""

    upper_I: Int32Array
    """Bounds in multiples of `unit`; below `-MAX_THRESHOLD` for items that are not allowed."""
    unit: float
    """Product of the scales of the query and of the items."""
    slack: float
    """Bound of the errors of quantisation and rounding."""

    def reaching(self, threshold: int, outlier_O: Int64Array) -> Int64Array:
        """Return the columns whose bounds reach a threshold, and the outliers, which have no bounds; ascending."""
        column_C = np.flatnonzero(self.upper_I >= np.int32(threshold))
        return np.union1d(column_C, outlier_O) if len(outlier_O) else column_C

    def replace_scores(self, replaced: ReplacedScores) -> None:
        """Replace the bounds of items whose scores are known, in place."""
        units_R = np.ceil((replaced.score_R.astype(np.float64) - self.slack) / self.unit)
        self.upper_I[replaced.column_R] = units_R.clip(-MAX_THRESHOLD, MAX_THRESHOLD).astype(np.int32)

    def exclude(self, allowed_I: BoolArray) -> None:
        """Subtract `EXCLUDED_PENALTY` from the bounds of items that are not allowed, in place."""
        # by arithmetic, because a masked copy takes ten times as long for masks that are mixed
        penalty_I = np.subtract(allowed_I.view(np.int8), np.int8(1)).astype(np.int32)
        penalty_I *= np.int32(EXCLUDED_PENALTY)
        np.add(self.upper_I, penalty_I, out=self.upper_I)

    def threshold(self, score: float) -> int:
        """Return the number that `upper_I` reaches for every item whose score is at least `score`."""
        # a lower threshold is valid too, so it is rounded down
        return int(np.floor(np.clip((score - self.slack) / self.unit, -MAX_THRESHOLD, MAX_THRESHOLD)))


class QuantizedVectors:
    """Item vectors as int8 codes with a common scale, and bounds of the quantisation errors. Safe to call from several threads.

    A vector v is quantised to v' = scale * code, a query q to q' in the same way. Then
    q v = q' v' + q' (v - v') + (q - q') v, and by the Cauchy-Schwarz inequality

        q v <= q' v' + |q'| |v - v'| + |q - q'| |v|

    q' v' is an integer product times two scales. In the other terms |v - v'| and |v| are at most their maxima over all items,
    so the terms are one number for each query. The bounds of two items are therefore in the order of their integer products,
    and the scores need not be computed in floats.

    Example: v = (1, 0.3) has the scale 1 / 127 and the codes (127, 38), so |v - v'| = 0.0008 and |v| = 1.0440.
    q = (0.6, 1) has the scale 1 / 63 and the codes (38, 63), so |q - q'| = 0.0032 and |q'| = 1.1678.
    The integer product is 38 * 127 + 63 * 38 = 7220, and q' v' = 7220 / (63 * 127) = 0.9024.
    The bound is 0.9024 + 1.1678 * 0.0008 + 0.0032 * 1.0440 = 0.9066. The score, 0.9, is below it.
    """

    def __init__(self, vectors_ID: Float32Array) -> None:
        """Quantise the vectors. All magnitudes are below `MAX_MAGNITUDE`."""
        largest_I = np.maximum(vectors_ID.max(axis=1), -vectors_ID.min(axis=1))
        limit = _limit(largest_I)
        self.outlier_O: Int64Array = np.flatnonzero(largest_I > limit)
        """Columns of the outliers, ascending. The bounds do not hold for them."""
        self._scale = max(limit / MAX_ITEM_CODE, MIN_SCALE)
        code_ID = np.empty(vectors_ID.shape, dtype=np.int8)
        error_I, length_I = np.empty(len(vectors_ID)), np.empty(len(vectors_ID))
        for start in range(0, len(vectors_ID), 4096):  # in parts, because the errors are computed in float64
            part = slice(start, start + 4096)
            scale_N = np.full(len(vectors_ID[part]), self._scale)
            code_ID[part] = _codes(vectors_ID[part], scale_N, MAX_ITEM_CODE)
            error_I[part], length_I[part] = _errors(vectors_ID[part], code_ID[part], scale_N)
        error_I[self.outlier_O] = length_I[self.outlier_O] = 0
        self._max_error, self._max_length = float(error_I.max()), float(length_I.max())
        self._product = Int8Matmul(code_ID)

    def supports(self, query_BD: Float32Array, corrections: LogitCorrections | None) -> bool:
        """Return whether the scores of these queries are finite numbers of moderate size."""
        return max_magnitude(query_BD) < MAX_MAGNITUDE and (
            corrections is None or max_magnitude(corrections.value_M) < MAX_MAGNITUDE
        )

    def bounds(self, queries: Sequence[SearchQuery]) -> Iterator[ScoreBound]:
        """Yield upper bounds of the scores of each query, with its corrections, before its mixture and its mask."""
        for start in range(0, len(queries), QUERIES_PER_PRODUCT):
            group = queries[start : start + QUERIES_PER_PRODUCT]
            query_BD = np.stack([query.query_D for query in group])
            scale_B = np.maximum(np.abs(query_BD).max(axis=1) / MAX_QUERY_CODE, MIN_SCALE).astype(np.float64)
            code_BD = _codes(query_BD, scale_B, MAX_QUERY_CODE)
            error_B, length_B = _errors(query_BD, code_BD, scale_B)
            product_BI = self._product(code_BD)
            for row, query in enumerate(group):
                unit, error, length = (
                    float(scale_B[row]) * self._scale,
                    float(error_B[row]),
                    float(length_B[row]),
                )
                if query.corrections is not None:
                    _add_corrections(query.corrections, product_BI[row], unit)
                # |q'| is at most |q| + |q - q'|
                slack = (length + error) * self._max_error + error * self._max_length
                rounding = ROUNDING_SHARE * (length + error) * self._max_length + MIN_NORMAL
                yield ScoreBound(product_BI[row], unit, slack + rounding)


def max_magnitude(x: Float32Array) -> float:
    """Return the largest magnitude, infinity if a number is NaN, or 0 for an empty array."""
    if not x.size:
        return 0.0
    high, low = float(x.max()), float(x.min())
    return np.inf if np.isnan(high) else max(high, -low)


def _limit(largest_I: Float32Array) -> float:
    """Return the largest component of all items without outliers, given the largest component of each item."""
    outliers = min(MAX_OUTLIERS, len(largest_I) // ITEMS_PER_OUTLIER)
    largest, other = float(largest_I.max()), float(np.partition(largest_I, -1 - outliers)[-1 - outliers])
    return other if largest > OUTLIER_RATIO * other else largest


def _add_corrections(corrections: LogitCorrections, upper_I: Int32Array, unit: float) -> None:
    """Add corrections, rounded up, to bounds, in place."""
    value_M = corrections.value_M.astype(np.float64)
    units_M = np.ceil((value_M + ROUNDING_SHARE * np.abs(value_M)) / unit)
    upper_I[corrections.item_M - 1] += units_M.clip(MIN_CORRECTION, MAX_CORRECTION).astype(np.int32)


def _codes(x_ND: Float32Array, scale_N: Float64Array, max_code: int) -> Int8Array:
    """Return the integer codes of vectors with these scales, of at most `max_code`."""
    code_ND: Int8Array = np.rint(x_ND / scale_N[:, None]).clip(-max_code, max_code).astype(np.int8)
    return code_ND


def _errors(
    x_ND: Float32Array, code_ND: Int8Array, scale_N: Float64Array
) -> tuple[Float64Array, Float64Array]:
    """Return (error_N, length_N): upper bounds of the lengths of x - x' and of x."""
    exact_ND = x_ND.astype(np.float64)
    return _length_bounds(exact_ND - code_ND * scale_N[:, None]), _length_bounds(exact_ND)


def _length_bounds(x_ND: Float64Array) -> Float64Array:
    lengths_N: Float64Array = np.sqrt(np.einsum("nd,nd->n", x_ND, x_ND)) * ROUND_UP
    return lengths_N
