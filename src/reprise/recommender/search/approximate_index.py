"""Approximate search: candidates from compressed vectors, and exact scores of the candidates.

Shape letters: B queries, I items, D width, k results, C candidates.
"""

from typing import NamedTuple, Protocol

import numpy as np

from reprise.arrays import BoolArray, Float32Array, Int64Array
from reprise.data.vocabulary import PAD
from reprise.recommender.search.column_scores import change_scores, column_scores, mixed_scores
from reprise.recommender.search.exact_index import ExactIndex, Index, SearchResult, empty_result
from reprise.recommender.search.logit_corrections import LogitCorrections
from reprise.recommender.search.pointer_mixture import NORMALISER_ITEMS, PointerMixture
from reprise.recommender.search.quantized_vectors import (
    MAX_MAGNITUDE,
    ReplacedScores,
    SearchQuery,
    max_magnitude,
)

TUNED_K = 20
"""Number of results for which the parameters were chosen. More results need more candidates."""
FEW_ALLOWED = 2**14
"""If a mask allows at most this many items, the scores of all of them are computed. That takes about two milliseconds."""
MOST_ALLOWED = 0.5
"""Share of allowed items from which the candidates are found without the mask, which then drops a few of them."""
MAX_SCORED = 0.5
"""Largest share of the items that may be candidates; for more, all scores are computed."""
SPARE = 64
"""Number of further candidates that get exact scores in float64, because products in float32 may order them differently."""
BLOCK = 2**16
"""Number of vectors that are read together."""


class SearchParameters(NamedTuple):
    """Parameters of an approximate search, chosen when the model is saved."""

    lists: int
    """Number of lists that are read for each query."""
    candidates: int
    """Number of candidates of each query whose scores are computed from the vectors."""


class CompressedItems(Protocol):
    """A fast estimate of the best items; `InvertedFile` is one."""

    @property
    def lists(self) -> int:
        """Number of lists."""
        ...

    def candidates(
        self, query_BD: Float32Array, lists: int, count: int, allowed_I: BoolArray | None = None
    ) -> Int64Array:
        """Return the columns of candidates, [B, C]; see `InvertedFile.candidates`."""
        ...


class ApproximateIndex:
    """A search that may miss a few of the best items. Safe to call from several threads.

    Only the choice of candidates is approximate. All scores are exact, and so are masks, corrections and mixtures for the
    items that are found: items with a correction and recent items are always candidates. The normaliser of a mixture has the
    best scores among the candidates instead of those among all items.

    If a mask allows few items, or if the candidates leave fewer than k of the allowed items, the scores of all allowed items
    are computed, and the result is exact.
    """

    def __init__(
        self, vectors_ID: Float32Array, source: CompressedItems, parameters: SearchParameters
    ) -> None:
        """Create a search.

        Args:
            vectors_ID: Item vectors.
            source: Source of candidates, built from the same vectors.
            parameters: How many lists are read, and how many candidates are scored.
        """
        self.vectors_ID = vectors_ID
        self._source = source
        self._parameters = parameters
        self.exact = ExactIndex(vectors_ID)
        """Exact search over the same vectors."""

    def search(
        self,
        query_BD: Float32Array,
        k: int,
        allowed: BoolArray | None = None,
        corrections: LogitCorrections | None = None,
        mixture: PointerMixture | None = None,
    ) -> SearchResult:
        """Return k items with large scores of each query. See `Index.search` and the class."""
        lists, count = self._scaled(k)
        magnitude = max(
            max_magnitude(query_BD), 0 if corrections is None else max_magnitude(corrections.value_M)
        )
        # without a direction all items have the same product, and which of them come first is a question of their order
        if (
            count > MAX_SCORED * len(self.vectors_ID)
            or magnitude >= MAX_MAGNITUDE
            or not query_BD.any(axis=1).all()
        ):
            return self.exact.search(query_BD, k, allowed, corrections, mixture)
        index_Bk, score_Bk = empty_result(len(query_BD), k)
        queries = [
            SearchQuery.from_batch(row, query_BD, k, allowed, corrections, mixture)
            for row in range(len(query_BD))
        ]
        free_B = self._are_free(queries, allowed)
        open_B = np.array(
            [free or query.mixture is not None for free, query in zip(free_B, queries, strict=True)]
        )
        open_rows = np.flatnonzero(open_B)
        found = {}
        if len(open_rows):
            found = dict(
                zip(
                    open_rows.tolist(),
                    self._source.candidates(query_BD[open_rows], lists, count),
                    strict=True,
                )
            )
        for row, query in enumerate(queries):
            best = self._answer(query, found.get(row), bool(free_B[row]), lists, count)
            index_Bk[row, : len(best[0])] = best[0] + 1
            score_Bk[row, : len(best[0])] = best[1]
        return index_Bk, score_Bk

    def _scaled(self, k: int) -> tuple[int, int]:
        """Return the number of lists and of candidates for k results."""
        scale = max(1.0, k / TUNED_K)
        return (
            min(self._source.lists, int(np.ceil(self._parameters.lists * scale))),
            int(np.ceil(self._parameters.candidates * scale)),
        )

    def _are_free(self, queries: list[SearchQuery], allowed: BoolArray | None) -> list[bool]:
        """Return for each query whether its mask allows most items."""
        if allowed is None:
            return [True] * len(queries)
        enough = max(FEW_ALLOWED, MOST_ALLOWED * len(self.vectors_ID))
        # one row after another: counting along an axis takes six times as long
        free = [int(np.count_nonzero(allowed_I)) > enough for allowed_I in np.atleast_2d(allowed)]
        return free if allowed.ndim > 1 else free * len(queries)

    def _answer(
        self,
        query: SearchQuery,
        found_C: Int64Array | None,
        free: bool,
        lists: int,
        count: int,
    ) -> tuple[Int64Array, Float32Array]:
        """Return the columns and scores of the best items of one query, best first.

        Args:
            query: The query.
            found_C: Candidates without the mask; None if the mask is used to find them.
            free: Whether the mask allows most items.
            lists: Number of lists to read.
            count: Number of candidates.
        """
        replaced = None
        open_C = None if found_C is None else self._with_changed(query, found_C)
        if query.mixture is not None:
            assert open_C is not None
            _, best_K = self._best(query, open_C, NORMALISER_ITEMS)
            replaced = mixed_scores(self.vectors_ID, query, query.mixture, best_K[::-1])
        if open_C is not None and free:
            if query.allowed_I is not None:
                open_C = open_C[query.allowed_I[open_C]]
            if len(open_C) >= query.k:
                return self._best(query, open_C, query.k, replaced)
        if query.allowed_I is None:
            return self._best(query, np.arange(len(self.vectors_ID)), query.k, replaced)
        return self._best(query, self._allowed_candidates(query, lists, count), query.k, replaced)

    def _allowed_candidates(self, query: SearchQuery, lists: int, count: int) -> Int64Array:
        """Return candidates that a mask allows: all allowed items if they are few, or if too few are found."""
        assert query.allowed_I is not None
        allowed = np.count_nonzero(query.allowed_I)
        if allowed > max(FEW_ALLOWED, query.k):
            # as many allowed items are read as without the mask
            wanted = int(np.ceil(lists * len(self.vectors_ID) / allowed))
            (found_C,) = self._source.candidates(query.query_D[None], wanted, count, query.allowed_I)
            column_C = self._with_changed(query, found_C)
            column_C = column_C[query.allowed_I[column_C]]
            if len(column_C) >= query.k:
                return column_C
        return np.flatnonzero(query.allowed_I)

    @staticmethod
    def _with_changed(query: SearchQuery, found_C: Int64Array) -> Int64Array:
        """Return candidates, ascending, together with the items whose scores a correction or a mixture changes."""
        parts = [found_C[found_C >= 0]]
        if query.corrections is not None:
            parts.append(query.corrections.item_M - 1)
        if query.mixture is not None:
            item_W = query.mixture.item_BW[0]
            parts.append(item_W[item_W != PAD] - 1)
        return np.unique(np.concatenate(parts))

    def _best(
        self, query: SearchQuery, column_C: Int64Array, k: int, replaced: ReplacedScores | None = None
    ) -> tuple[Int64Array, Float32Array]:
        """Return the k best of ascending columns, best first; of equal scores the smallest column comes first."""
        kept = 2 * k + SPARE
        if len(column_C) > kept:
            blocks = [column_C[start : start + BLOCK] for start in range(0, len(column_C), BLOCK)]
            score_C = np.concatenate([self.vectors_ID.take(part, axis=0) @ query.query_D for part in blocks])
            change_scores(score_C, query, column_C, replaced)
            least = np.partition(score_C, -kept)[-kept]
            # equal scores stay together, because their order is that of the items
            column_C = column_C[score_C >= least]
        score_C = column_scores(self.vectors_ID, query, column_C, replaced)
        best_k = (-score_C).argsort(kind="stable")[:k]
        return column_C[best_k], score_C[best_k]


def exact_index(index: Index) -> Index:
    """Return an exact search over the same vectors; the index itself if it is not approximate."""
    return index.exact if isinstance(index, ApproximateIndex) else index
