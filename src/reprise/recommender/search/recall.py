"""Recall of an approximate search on sampled queries, and the cheapest parameters that reach a wanted recall.

Shape letters: B queries, D width, K best items, C candidates.
"""

import numpy as np

from reprise.arrays import Float32Array, Int64Array
from reprise.recommender.search.approximate_index import ApproximateIndex, SearchParameters
from reprise.recommender.search.inverted_file import InvertedFile

MIN_CANDIDATES, MAX_CANDIDATES = 256, 2**14
"""Range of the number of candidates that get exact scores."""
READ_PER_CANDIDATE = 30
"""Number of codes that are read in the time in which a candidate gets its exact score (benchmarks/search.py)."""


def choose_parameters(
    file: InvertedFile, items: int, query_BD: Float32Array, best_BK: Int64Array, recall: float
) -> SearchParameters:
    """Return the parameters of the lowest cost with at least this recall, or of the best recall if none reaches it.

    Args:
        file: The candidate source.
        items: Number of items.
        query_BD: Sampled queries.
        best_BK: The items with the largest products of each query.
        recall: Wanted share of these items among the candidates.
    """
    most = min(MAX_CANDIDATES, max(MIN_CANDIDATES, items // 4))
    lists, found = 1, []
    while True:
        place_N = _places(best_BK, file.candidates(query_BD, lists, most))
        count = MIN_CANDIDATES
        while count <= most:
            share = float(np.count_nonzero(place_N < count) / best_BK.size)
            cost = items * lists / file.lists + READ_PER_CANDIDATE * count
            found.append((share < recall, -min(share, recall), cost, SearchParameters(lists, count)))
            count *= 2
        if lists == file.lists:
            return min(found)[-1]
        lists = min(2 * lists, file.lists)


def measured_recall(index: ApproximateIndex, query_BD: Float32Array, best_BK: Int64Array) -> float:
    """Return the share of the best items that a search for as many items finds."""
    index_BK, _ = index.search(query_BD, best_BK.shape[1])
    return len(_places(best_BK, index_BK - 1)) / best_BK.size


def _places(best_BK: Int64Array, column_BC: Int64Array) -> Int64Array:
    """Return the places of the best items among the candidates of their queries; items that are not there have none."""
    found = [
        np.intersect1d(column_C[column_C >= 0], best_K - 1, assume_unique=True, return_indices=True)[1]
        for best_K, column_C in zip(best_BK, column_BC, strict=True)
    ]
    return np.concatenate([np.empty(0, dtype=np.int64), *found])
