"""Exact maximum inner product search: compute every score, then select the k largest.

Shape letters: B queries, I items, D width, k results, K best scores, N selected scores. Column j of the scores belongs to
item index j + 1.
"""

from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from reprise.arrays import BoolArray, Float32Array, Int64Array
from reprise.data.vocabulary import PAD
from reprise.recommender.search.logit_corrections import LogitCorrections
from reprise.recommender.search.pointer_mixture import NORMALISER_ITEMS, PointerMixture, allowed_places

Number = TypeVar("Number", np.float32, np.int32)
SearchResult = tuple[Int64Array, Float32Array]
"""(index_Bk, score_Bk): item indices and scores, best first; `PAD` and minus infinity in places without an item."""

MAX_SCORES = 2**22
"""Largest number of scores that are in memory together, unless one query needs more; 16 MiB of float32."""


@runtime_checkable
class Index(Protocol):
    """A search for the items with the largest scores."""

    def search(
        self,
        query_BD: Float32Array,
        k: int,
        allowed: BoolArray | None = None,
        corrections: LogitCorrections | None = None,
        mixture: PointerMixture | None = None,
    ) -> SearchResult:
        """Return the k items with the largest scores of each query, best first.

        Args:
            query_BD: Query vectors. A score is the inner product with an item vector, plus the item's correction, unless the
                mixture replaces it.
            k: Number of items per query. If fewer are allowed, the rest of the row is `PAD` with a score of minus infinity.
            allowed: Mask of the items that may be returned, [I] for all queries or [B, I]; None allows all items.
            corrections: Values to add to some of the scores.
            mixture: Mixture that replaces the scores of recent items. It depends on the best scores of all items, also of
                those that are not allowed.
        """
        ...


class ExactIndex:
    """A search that computes the scores of all items. Items with equal scores are in index order: most popular first."""

    def __init__(self, vectors_ID: Float32Array) -> None:
        self.vectors_ID = vectors_ID

    def search(
        self,
        query_BD: Float32Array,
        k: int,
        allowed: BoolArray | None = None,
        corrections: LogitCorrections | None = None,
        mixture: PointerMixture | None = None,
    ) -> SearchResult:
        """Return the k items with the largest scores of each query. See `Index.search`."""
        rows = max(1, MAX_SCORES // max(1, len(self.vectors_ID)))
        index_Bk, score_Bk = empty_result(len(query_BD), k)
        for start in range(0, len(query_BD), rows):
            block = slice(start, start + rows)
            score_BI = query_BD[block] @ self.vectors_ID.T
            if corrections is not None:
                corrections.rows(start, start + len(score_BI)).add_to(score_BI)
            mask = allowed if allowed is None or allowed.ndim == 1 else allowed[block]
            if mixture is not None:
                part = mixture.rows(start, start + len(score_BI))
                if allowed_places(part.item_BW, mask).any():
                    part.apply(score_BI, best_scores(score_BI, NORMALISER_ITEMS))
            if mask is not None:
                np.copyto(score_BI, -np.inf, where=~mask)
            write_top_k(score_BI, index_Bk[block], score_Bk[block])
        return index_Bk, score_Bk


def empty_result(queries: int, k: int) -> SearchResult:
    """Return a search result without items, to be filled."""
    return (
        np.full((queries, k), PAD, dtype=np.int64),
        np.full((queries, k), -np.inf, dtype=np.float32),
    )


def best_scores(score_BI: Float32Array, k: int) -> Float32Array:
    """Return the k largest finite scores of each row, or all if there are fewer items, best first."""
    index_BK, score_BK = empty_result(len(score_BI), min(k, score_BI.shape[1]))
    write_top_k(score_BI, index_BK, score_BK)
    return score_BK


def kth_lower_bound(score_BI: NDArray[Number], k: int) -> NDArray[Number]:
    """Return a lower bound of the k-th largest score of each row; it is usually close, and exact for few items.

    The items are divided into groups, and the bound is the k-th largest of the group maxima. The k maxima that reach it are
    scores of k different items, so at least k scores reach it. A partition of the maxima is several times faster than one of
    all scores.

    Example with k = 2: the scores 9, 1, 8, 2 in the groups (9, 8) and (1, 2) have the maxima 9 and 2. The bound is 2; the
    second largest score is 8. With many more groups than k, two of the best items are seldom in one group.
    """
    items = score_BI.shape[1]
    groups = max(1024, 8 * k)
    group_size = items // groups
    if group_size >= 4:
        # column p of each of the `group_size` slices belongs to group p; items that are left over are groups of one
        max_BP = score_BI[:, : group_size * groups].reshape(len(score_BI), group_size, groups).max(axis=1)
        score_BI = np.concatenate([max_BP, score_BI[:, group_size * groups :]], axis=1)
    bound_B: NDArray[Number] = np.partition(score_BI, -k, axis=1)[:, -k]
    return bound_B


def write_top_k(score_BI: Float32Array, index_Bk: Int64Array, score_Bk: Float32Array) -> None:
    """Write the k largest finite scores of each row and their item indices; leave further places as they are."""
    items, k = score_BI.shape[1], index_Bk.shape[1]
    # the threshold is finite, so items that are not allowed, at minus infinity, stay below it
    threshold_B1 = np.full((len(score_BI), 1), np.finfo(np.float32).min, dtype=np.float32)
    if k < items:
        np.maximum(threshold_B1, kth_lower_bound(score_BI, k)[:, None], out=threshold_B1)
    # Select every score that reaches the bound, not k of them: a partition keeps an arbitrary one of several equal scores,
    # the sort below keeps the one with the smaller index. Example with k = 2: of the scores 5, 7, 5 all three are selected,
    # sorted to the items 2, 1, 3, and cut to 2, 1. `flatnonzero` is several times faster than `nonzero` in two dimensions.
    row_N, column_N = np.divmod(np.flatnonzero(score_BI >= threshold_B1), items)
    score_N = score_BI[row_N, column_N]
    order_N = np.lexsort((column_N, -score_N, row_N))
    # the selected scores are grouped by row, so the rank of a score is its distance from the first one of its row
    first_B = np.searchsorted(row_N, np.arange(len(score_BI)))
    rank_N = np.arange(len(row_N)) - first_B[row_N]
    kept_N = rank_N < k
    row_K, rank_K, best_K = row_N[kept_N], rank_N[kept_N], order_N[kept_N]
    index_Bk[row_K, rank_K] = column_N[best_K] + 1
    score_Bk[row_K, rank_K] = score_N[best_K]
