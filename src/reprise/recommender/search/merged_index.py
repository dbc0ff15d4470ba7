"""Exact search over a large table of item vectors, some of which were replaced or added later.

The few changed vectors are searched separately, so that the quantised search of the large table can stay as it is. The result
equals that of one exact search over all current vectors.

Shape letters: B queries, I items of the large table, M items with a changed vector, W places of a window of recent items, C
candidates, k results, K best scores.
"""

from typing import NamedTuple

import numpy as np

from reprise.arrays import AnyArray, BoolArray, Float32Array, Int64Array
from reprise.data.vocabulary import PAD
from reprise.recommender.search.approximate_index import ApproximateIndex
from reprise.recommender.search.exact_index import ExactIndex, SearchResult, empty_result
from reprise.recommender.search.logit_corrections import LogitCorrections
from reprise.recommender.search.pointer_mixture import NORMALISER_ITEMS, PointerMixture, allowed_places
from reprise.recommender.search.quantized_index import QuantizedIndex
from reprise.recommender.search.vector_changes import VectorChanges


class _Candidates(NamedTuple):
    """Candidates of each query; places without an item have a score of minus infinity."""

    index_BC: Int64Array
    score_BC: Float32Array

    def best(self, k: int) -> SearchResult:
        """Return the k candidates with the largest scores; of equal scores the smallest item index comes first."""
        score_BC = np.where(np.isfinite(self.score_BC), self.score_BC, -np.float32(np.inf))
        index_Bk, score_Bk = empty_result(len(score_BC), k)
        # candidates without a finite score are behind all others
        order_BC = np.lexsort((self.index_BC, -score_BC), axis=-1)[:, :k]
        found = order_BC.shape[1]
        score_Bk[:, :found] = np.take_along_axis(score_BC, order_BC, axis=1)
        index_Bk[:, :found] = np.take_along_axis(self.index_BC, order_BC, axis=1)
        index_Bk[score_Bk == -np.inf] = PAD
        return index_Bk, score_Bk

    def joined(self, other: "_Candidates") -> "_Candidates":
        """Return the candidates of this search followed by those of another one, for each query."""
        return _Candidates(
            np.concatenate([self.index_BC, other.index_BC], axis=1),
            np.concatenate([self.score_BC, other.score_BC], axis=1),
        )

    def only(self, kept_BC: BoolArray) -> "_Candidates":
        """Return the candidates with a score of minus infinity where the mask is False."""
        return self._replace(score_BC=np.where(kept_BC, self.score_BC, -np.float32(np.inf)))


class MergedIndex:
    """A search over a table with replaced and added vectors. Safe to call from several threads."""

    def __init__(self, index: ExactIndex | QuantizedIndex | ApproximateIndex, changes: VectorChanges) -> None:
        """Create a search.

        Args:
            index: Search over the large table.
            changes: Vectors that replace rows of the table, or extend it.
        """
        self._index = index
        self._changes = changes
        self._items = len(index.vectors_ID)
        self._replaced_I = changes.replaced_I(self._items)

    def search(
        self,
        query_BD: Float32Array,
        k: int,
        allowed: BoolArray | None = None,
        corrections: LogitCorrections | None = None,
        mixture: PointerMixture | None = None,
    ) -> SearchResult:
        """Return the k items with the largest scores of each query. See `Index.search`.

        Masks have a column for each index up to `VectorChanges.size`.
        """
        changed = self._changed(query_BD, corrections)
        if mixture is None or not allowed_places(mixture.item_BW, allowed).any():
            unchanged = self._unchanged(query_BD, k, allowed, corrections)
            return unchanged.joined(changed.only(_allows(allowed, changed.index_BC))).best(k)
        # The k best items outside the window are among the k + W best ones; the mixture gives the window's items other scores.
        wanted = k + mixture.item_BW.shape[1]
        if allowed is None:
            unchanged = normaliser = self._unchanged(
                query_BD, max(wanted, NORMALISER_ITEMS), None, corrections
            )
        else:
            normaliser = self._unchanged(query_BD, NORMALISER_ITEMS, None, corrections)
            unchanged = self._unchanged(query_BD, wanted, allowed, corrections)
        _, best_BK = normaliser.joined(changed).best(NORMALISER_ITEMS)
        others = unchanged.joined(changed.only(_allows(allowed, changed.index_BC)))
        recent_BC = (others.index_BC[:, :, None] == mixture.item_BW[:, None, :]).any(axis=2)
        window = self._window(query_BD, corrections, mixture, best_BK)
        window = window.only(allowed_places(mixture.item_BW, allowed))
        return others.only(~recent_BC).joined(window).best(k)

    def _changed(self, query_BD: Float32Array, corrections: LogitCorrections | None) -> _Candidates:
        """Return all M items with a changed vector as candidates, with their scores before the mixture."""
        changes = self._changes
        score_BM: Float32Array = query_BD @ changes.vector_MD.T
        index_BM = np.broadcast_to(changes.item_M, score_BM.shape)
        if corrections is not None:
            score_BM += corrections.of_items(index_BM)
        return _Candidates(index_BM, score_BM)

    def _unchanged(
        self,
        query_BD: Float32Array,
        k: int,
        allowed: BoolArray | None,
        corrections: LogitCorrections | None,
    ) -> _Candidates:
        """Return the k best items of the large table among those without a changed vector, before the mixture."""
        mask = None if allowed is None else allowed[..., : self._items]
        if len(self._replaced_I):
            mask = np.ones(self._items, dtype=np.bool_) if mask is None else mask.copy()
            mask[..., self._replaced_I - 1] = False
        return _Candidates(*self._index.search(query_BD, min(k, self._items), mask, corrections))

    def _window(
        self,
        query_BD: Float32Array,
        corrections: LogitCorrections | None,
        mixture: PointerMixture,
        best_BK: Float32Array,
    ) -> _Candidates:
        """Return the items of the windows as candidates, with their scores after the mixture."""
        item_BW = np.maximum(mixture.item_BW, 1)
        vector_BWD = self._changes.take(self._index.vectors_ID, item_BW)
        # in float64, as `QuantizedIndex` computes the scores of its candidates
        own_BW: Float32Array = np.einsum("bwd,bd->bw", vector_BWD, query_BD, dtype=np.float64).astype(
            np.float32
        )
        if corrections is not None:
            own_BW += corrections.of_items(item_BW)
        return _Candidates(mixture.item_BW, mixture.mixed(own_BW, best_BK)).only(mixture.item_BW != PAD)


def _allows(allowed: BoolArray | None, index_BC: AnyArray) -> BoolArray:
    """Return the mask of the candidates that an item mask, [I] or [B, I], allows, [B, C]."""
    if allowed is None:
        return np.ones(index_BC.shape, dtype=np.bool_)
    return allowed[index_BC - 1] if allowed.ndim == 1 else np.take_along_axis(allowed, index_BC - 1, axis=1)
