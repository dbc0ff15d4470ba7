"""The exact search, quicker: a scan of bytes, and then floats for the few items in question.

Shape letters: B queries, I items, D width, k answers, M additions, C candidates.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from reprise.arrays import BoolArray, Float32Array, Float64Array, Int64Array
from reprise.recommender.search.exact_index import (
    ExactIndex,
    Found,
    LogitCorrections,
    below_kth,
    nothing_found,
)
from reprise.recommender.search.int8_matmul import BYTES, LARGEST, LARGEST_ASKED, Int8Matmul

FEWEST = 2**14
"""Items from which a scan is quicker than the product of floats (benchmarks/search.py)."""
BATCH, FEWEST_IN_BATCH = 32, 2**16
"""The same for more queries at once than these: they share the reading of the vectors, which is what a scan saves."""
WIDEST = 2048
"""Up to which 63 * 127 * D stays below 2^24, so that a product of integers is exact as a float32."""
ROWS = 8
"""Queries that are scanned together: their products stay near the processor."""
LARGE, SMALL = 1e12, 1e-15
"""Numbers beyond are left to the product of floats, which says what becomes of infinities; no scale is below, so that no
quotient of two numbers comes near an infinity either."""
FORBIDDEN, ALLOWED = np.float32(3e38), np.float32(-1e38)
"""What is taken from the scores of items that are not allowed, and what those of the others stay above."""
FEW = 64
"""Where less than a 64th of the items is allowed, only those are looked at."""
SLACK = 2.0**-19
"""More than all roundings of float32 on the way, as a share of the largest terms: fewer than 16, of 2^-24 each."""
UP = 1 + 2.0**-18
"""Makes a rounded bound a bound again."""
TINY = float(np.finfo(np.float32).tiny)
"""More than all roundings below the range of float32."""


@dataclass(frozen=True)
class SearchQuery:
    """What is asked in one row of a search."""

    query_D: Float32Array
    k: int
    allowed_I: BoolArray | None
    extra: LogitCorrections | None

    @classmethod
    def of(
        cls,
        row: int,
        query_BD: Float32Array,
        k: int,
        allowed: BoolArray | None,
        extra: LogitCorrections | None,
    ) -> "SearchQuery":
        """That of one row."""
        allowed_I = allowed if allowed is None or allowed.ndim == 1 else allowed[row]
        return cls(query_BD[row], k, allowed_I, None if extra is None else extra.rows(row, row + 1))


class ScoreBound(NamedTuple):
    """What the scores of one question are not above, in a unit of its own."""

    upper_I: Float32Array
    """Below `ALLOWED` for what is not allowed."""
    unit: float
    """Scores are at most `upper_I` of these, and the slack."""
    slack: float

    def of(self, score: float) -> np.float32:
        """What the bounds of all scores reach that are at least so large."""
        return np.float32((score - self.slack) / self.unit)


class QuantizedVectors:
    """Item vectors as bytes times a scale each, and how far these are from the vectors."""

    def __init__(self, vectors_ID: Float32Array) -> None:
        code_ID = np.empty(vectors_ID.shape, dtype=np.int8)
        self._scale_I = np.empty(len(vectors_ID), dtype=np.float32)
        error_I, length_I = np.empty(len(vectors_ID)), np.empty(len(vectors_ID))
        for start in range(0, len(vectors_ID), 4096):
            part = slice(start, start + 4096)
            code_ID[part], self._scale_I[part] = _rounded(vectors_ID[part], LARGEST)
            error_I[part], length_I[part] = _errors(vectors_ID[part], code_ID[part], self._scale_I[part])
        self._product = Int8Matmul(code_ID)
        # the largest error and length, and the share of them that an item has at most: one number for both rather than two,
        # since errors go with lengths
        self._error, self._length = max(float(error_I.max()), TINY), max(float(length_I.max()), TINY)
        share_I = np.maximum(error_I / self._error, length_I / self._length) * UP
        self._share_I: Float32Array = share_I.astype(np.float32)

    def is_in_range(self, query_BD: Float32Array, extra: LogitCorrections | None) -> bool:
        """Whether the bounds of these queries can be computed in float32."""
        return _largest(query_BD) < LARGE and (extra is None or _largest(extra.value_M) < LARGE)

    def bounds(self, asked_B: Sequence[SearchQuery]) -> Iterator[ScoreBound]:
        """What the scores of each question are not above."""
        for start in range(0, len(asked_B), ROWS):
            group = asked_B[start : start + ROWS]
            query_BD = np.stack([asked.query_D for asked in group])
            code_BD, scale_B = _rounded(query_BD, LARGEST_ASKED)
            error_B, length_B = _errors(query_BD, code_BD, scale_B)
            product_BI = self._product(code_BD)
            for row, asked in enumerate(group):
                unit, error, length = float(scale_B[row]), float(error_B[row]), float(length_B[row])
                upper_I = np.multiply(product_BI[row], self._scale_I, dtype=np.float32, casting="unsafe")
                bound = (length + error) * self._error + error * self._length
                upper_I += self._share_I * np.float32(bound * UP / unit)
                added = _apply(asked, upper_I, unit)
                yield ScoreBound(upper_I, unit, SLACK * ((length + error) * self._length + added) + TINY)


class QuantizedIndex:
    """The answers of `ExactIndex`, always, by whichever way is quicker. Safe to call from several threads.

    Vectors v and queries q are rounded to bytes, v' and q'. By Cauchy and Schwarz q v is at most q' v', which is an exact sum
    of integers, and |q'| |v - v'| + |q - q'| |v|. Only items for which this reaches the k-th best of some true scores can
    be among the k best, and of those the true scores are computed. Where too many items are that close together all scores
    are computed, so nothing rests on luck. The bytes take a quarter of the vectors' memory, several times in ONNX Runtime.
    """

    def __init__(self, vectors_ID: Float32Array, fewest: int = FEWEST) -> None:
        """Round the vectors, if there are at least `fewest`."""
        items, width = vectors_ID.shape
        self.vectors_ID = vectors_ID
        self._exact = ExactIndex(vectors_ID)
        # looking at an item again costs some ten times its share of a product
        self._most = max(FEW, min(items // 8, 2**22 // max(1, width)))
        pays = items >= fewest and 0 < width <= WIDEST and items * width <= BYTES
        self._rounded = QuantizedVectors(vectors_ID) if pays and _largest(vectors_ID) < LARGE else None

    def search(
        self,
        query_BD: Float32Array,
        k: int,
        allowed: BoolArray | None = None,
        extra: LogitCorrections | None = None,
    ) -> Found:
        """See `Index`. A score is the product in float64, rounded once, and what is added to it in float32."""
        in_batch = len(query_BD) > BATCH and len(self.vectors_ID) < FEWEST_IN_BATCH
        if (
            self._rounded is None
            or in_batch
            or 2 * k > self._most
            or not self._rounded.is_in_range(query_BD, extra)
        ):
            return self._exact.search(query_BD, k, allowed, extra)
        index_Bk, score_Bk = nothing_found(len(query_BD), k)
        asked_B = [SearchQuery.of(row, query_BD, k, allowed, extra) for row in range(len(query_BD))]
        for row, place_C in enumerate(self._candidates(asked_B)):
            one, asked = slice(row, row + 1), asked_B[row]
            if len(place_C) > self._most:
                index_Bk[one], score_Bk[one] = self._exact.search(
                    query_BD[one], k, asked.allowed_I, asked.extra
                )
                continue
            score_C = self._scores(asked, place_C)
            # stable, and the places ascend: equal scores stay in index order
            best_k = (-score_C).argsort(kind="stable")[:k]
            index_Bk[row, : len(best_k)] = place_C[best_k] + 1
            score_Bk[row, : len(best_k)] = score_C[best_k]
        return index_Bk, score_Bk

    def _candidates(self, asked_B: Sequence[SearchQuery]) -> Iterator[Int64Array]:
        """For each question places that the k best are among, ascending; more than `_most` where they are too many."""
        assert self._rounded is not None
        few_B = [self._few(asked) for asked in asked_B]
        wide = [asked for asked, few_C in zip(asked_B, few_B, strict=True) if few_C is None]
        bounds = self._rounded.bounds(wide)
        for asked, few_C in zip(asked_B, few_B, strict=True):
            yield self._reaching(asked, next(bounds)) if few_C is None else few_C

    def _few(self, asked: SearchQuery) -> Int64Array | None:
        """All that is allowed, if that is little; where nothing is asked, the first of all that are equal."""
        if not asked.query_D.any():
            return _first(asked, len(self.vectors_ID))
        if asked.allowed_I is None:
            return None
        most = max(asked.k, len(asked.allowed_I) // FEW)
        return None if np.count_nonzero(asked.allowed_I) > most else np.flatnonzero(asked.allowed_I)

    def _reaching(self, asked: SearchQuery, bound: ScoreBound) -> Int64Array:
        """The places whose bounds reach the k-th best of the true scores of those with the highest bounds."""
        (floor,) = below_kth(bound.upper_I[None], asked.k)
        first_C = np.flatnonzero(bound.upper_I >= max(floor, ALLOWED))
        if len(first_C) > self._most:
            return first_C
        score_C = self._scores(asked, first_C)
        score_C.partition(-asked.k)
        reached = bound.of(float(score_C[-asked.k]))
        return np.flatnonzero(bound.upper_I >= reached)

    def _scores(self, asked: SearchQuery, place_C: Int64Array) -> Float32Array:
        # einsum takes each row by itself, so that equal vectors have equal scores wherever they stand
        vectors_CD = self.vectors_ID.take(place_C, axis=0).astype(np.float64)
        score_C: Float32Array = np.einsum("cd,d->c", vectors_CD, asked.query_D.astype(np.float64)).astype(
            np.float32
        )
        if asked.extra is not None and len(place_C):
            place_M = asked.extra.item_M - 1
            at_M = np.minimum(place_C.searchsorted(place_M), len(place_C) - 1)
            here_M = place_C[at_M] == place_M
            score_C[at_M[here_M]] += asked.extra.value_M[here_M]
        return score_C


def _first(asked: SearchQuery, items: int) -> Int64Array:
    """Places that the k best are among if all products are zero: what something is added to, and the first of the rest."""
    added_M = np.empty(0, dtype=np.int64) if asked.extra is None else asked.extra.item_M - 1
    enough = asked.k + len(added_M)
    if asked.allowed_I is None:
        return np.union1d(np.arange(min(items, enough)), added_M)
    return np.union1d(np.flatnonzero(asked.allowed_I)[:enough], added_M[asked.allowed_I[added_M]])


def _apply(asked: SearchQuery, upper_I: Float32Array, unit: float) -> float:
    """Add what is to be added and take away what is not allowed, in place. The largest number added."""
    if asked.extra is not None:
        upper_I[asked.extra.item_M - 1] += asked.extra.value_M / np.float32(unit)
    if asked.allowed_I is not None:
        # by arithmetic: a masked copy takes ten times as long where the mask is mixed
        refused_I = np.subtract(asked.allowed_I, np.float32(1), dtype=np.float32)
        refused_I *= FORBIDDEN
        upper_I += refused_I
    return 0.0 if asked.extra is None else _largest(asked.extra.value_M)


def _rounded(x_ND: Float32Array, largest: int) -> tuple[np.ndarray[Any, np.dtype[np.int8]], Float32Array]:
    """Integers up to `largest` and the scale of each row."""
    scale_N = np.maximum(np.abs(x_ND).max(axis=1) / np.float32(largest), np.float32(SMALL))
    code_ND = np.rint(x_ND / scale_N[:, None]).clip(-largest, largest)
    return code_ND.astype(np.int8), scale_N


def _errors(
    x_ND: Float32Array, code_ND: np.ndarray[Any, np.dtype[np.int8]], scale_N: Float32Array
) -> tuple[Float64Array, Float64Array]:
    """(error_N, length_N): not less than the lengths of x - x' and of x."""
    exact_ND = x_ND.astype(np.float64)
    error_ND = exact_ND - code_ND * scale_N[:, None].astype(np.float64)
    return _lengths(error_ND), _lengths(exact_ND)


def _lengths(x_ND: Float64Array) -> Float64Array:
    lengths_N: Float64Array = np.sqrt(np.einsum("nd,nd->n", x_ND, x_ND)) * UP
    return lengths_N


def _largest(x: Float32Array) -> float:
    """The largest magnitude; infinity where a number is none."""
    if not x.size:
        return 0.0
    high, low = float(x.max()), float(x.min())
    return np.inf if np.isnan(high) else max(high, -low)
