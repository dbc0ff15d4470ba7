"""Answers that repeat themselves less: maximal marginal relevance over a shortlist of the best items.

Shape letters: S places of the shortlist, D width of the vectors that are read, k answers.
"""

from numbers import Real

import numpy as np

from reprise.arrays import AnyArray, Float32Array
from reprise.errors import ConfigError

TIMES, LEAST = 5, 50
"""The shortlist has so many times k items, and at least so many."""


def shortlist(k: int, items: int) -> int:
    """How many of the best items are looked at for k answers."""
    return min(max(TIMES * k, LEAST), items)


def diversified(
    index_S: AnyArray, score_S: AnyArray, vectors_ID: Float32Array, k: int, diversity: float
) -> tuple[AnyArray, AnyArray]:
    """The k items of a shortlist that are good and unlike one another, with their scores, in the order of choice.

    Each next item has the largest (1 - d) relevance - d max similarity to one chosen before: maximal marginal relevance
    (Carbonell & Goldstein 1998, with lambda = 1 - d). Relevance is the score, scaled to 0..1 within the shortlist;
    similarity is the cosine of the vectors. Of equals the first of the shortlist is taken.

    Args:
        index_S: Item indices, best first; 0 in the empty places at the end.
        score_S: Their scores.
        vectors_ID: The vectors that are read; row j belongs to item index j + 1.
        k: How many to choose; fewer come back where the shortlist has fewer.
        diversity: d, from 0, the order of the shortlist, to 1.
    """
    filled = int(np.count_nonzero(index_S))
    index_S, score_S = index_S[:filled], score_S[:filled]
    chosen: list[int] = []
    gain_S = (1 - diversity) * _scaled(score_S)
    unit_SD = directions(vectors_ID[index_S - 1])
    nearest_S = np.full(filled, -np.inf)
    for _ in range(min(k, filled)):
        # the first has nothing to be like
        best = int((gain_S - diversity * nearest_S if chosen else gain_S).argmax())
        chosen.append(best)
        gain_S[best] = -np.inf
        np.maximum(nearest_S, unit_SD @ unit_SD[best], out=nearest_S)
    return index_S[chosen], score_S[chosen]


def check_diversity(diversity: object) -> None:
    """Raise `ConfigError` for what is no number from 0 to 1."""
    if not isinstance(diversity, Real) or isinstance(diversity, bool) or not 0 <= float(diversity) <= 1:
        raise ConfigError(f"diversity must be a number from 0 (the plain ranking) to 1, got {diversity!r}")


def _scaled(score_S: AnyArray) -> AnyArray:
    """From 0 to 1, the best at 1."""
    wide_S = score_S.astype(np.float64)
    spread = np.ptp(wide_S) if len(wide_S) else 0.0
    scaled_S: AnyArray = (wide_S - wide_S.min()) / spread if spread > 0 else np.ones(len(wide_S))
    return scaled_S


def directions(vectors_SD: Float32Array) -> Float32Array:
    """Vectors of length 1, whose products are cosines."""
    length_S1 = np.linalg.norm(vectors_SD, axis=1, keepdims=True)
    # a zero vector has no direction: it is like nothing
    unit_SD: Float32Array = vectors_SD / np.maximum(length_S1, np.finfo(np.float32).tiny)
    return unit_SD
