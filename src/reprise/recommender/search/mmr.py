"""Diversified results: maximal marginal relevance (MMR) over a shortlist of the best items.

Shape letters: S places of the shortlist, D width of the input vectors, k results.
"""

from numbers import Real

import numpy as np

from reprise.arrays import AnyArray, Float32Array
from reprise.errors import ConfigError

SHORTLIST_FACTOR, MIN_SHORTLIST = 5, 50
"""Length of the shortlist: this many times k items, and at least this many."""


def shortlist_size(k: int, items: int) -> int:
    """Return the number of best items to choose k diverse results from."""
    return min(max(SHORTLIST_FACTOR * k, MIN_SHORTLIST), items)


def diversify(
    index_S: AnyArray, score_S: AnyArray, vectors_SD: Float32Array, k: int, diversity: float
) -> tuple[AnyArray, AnyArray]:
    """Choose k relevant and dissimilar items from a shortlist; return their indices and scores in the order of choice.

    Each step chooses the item with the largest (1 - d) relevance - d max similarity to a chosen item: maximal marginal
    relevance (Carbonell & Goldstein 1998, with lambda = 1 - d). Relevance is the score, scaled to 0..1 within the shortlist.
    Similarity is the cosine of the input vectors. Among equal values the first of the shortlist is chosen.

    Args:
        index_S: Item indices, best first; 0 in empty places at the end.
        score_S: Scores of these items.
        vectors_SD: Input vectors of these items; any values in empty places.
        k: Number of items to choose; all items of the shortlist if it has fewer.
        diversity: The weight d, from 0, which keeps the order of the shortlist, to 1.
    """
    filled = int(np.count_nonzero(index_S))
    index_S, score_S = index_S[:filled], score_S[:filled]
    chosen: list[int] = []
    gain_S = (1 - diversity) * _min_max_scaled(score_S)
    unit_SD = unit_vectors(vectors_SD[:filled])
    similarity_S = np.full(filled, -np.inf)
    for _ in range(min(k, filled)):
        # nothing is chosen before the first item, so it has no similarity to subtract
        best = int((gain_S - diversity * similarity_S if chosen else gain_S).argmax())
        chosen.append(best)
        gain_S[best] = -np.inf
        np.maximum(similarity_S, unit_SD @ unit_SD[best], out=similarity_S)
    return index_S[chosen], score_S[chosen]


def check_diversity(diversity: object) -> None:
    """Raise `ConfigError` if the value is not a number from 0 to 1."""
    if not isinstance(diversity, Real) or isinstance(diversity, bool) or not 0 <= float(diversity) <= 1:
        raise ConfigError(f"diversity must be a number from 0 (the plain ranking) to 1, got {diversity!r}")


def _min_max_scaled(score_S: AnyArray) -> AnyArray:
    """Scale scores to 0..1; the best becomes 1."""
    wide_S = score_S.astype(np.float64)
    spread = np.ptp(wide_S) if len(wide_S) else 0.0
    scaled_S: AnyArray = (wide_S - wide_S.min()) / spread if spread > 0 else np.ones(len(wide_S))
    return scaled_S


def unit_vectors(vectors_SD: Float32Array) -> Float32Array:
    """Divide vectors by their lengths, so that their products are cosines."""
    length_S1 = np.linalg.norm(vectors_SD, axis=1, keepdims=True)
    # a zero vector has no direction: it stays zero, and its cosine with every vector is 0
    unit_SD: Float32Array = vectors_SD / np.maximum(length_S1, np.finfo(np.float32).tiny)
    return unit_SD
