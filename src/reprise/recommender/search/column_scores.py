"""Scores of selected items of one query: in float64, rounded once, with corrections and replaced scores.

Shape letters: I items, D width, C selected columns, M corrections, R replaced scores, K best scores.
"""

import numpy as np

from reprise.arrays import Float32Array, Int64Array
from reprise.data.vocabulary import PAD
from reprise.recommender.search.pointer_mixture import NORMALISER_ITEMS, PointerMixture
from reprise.recommender.search.quantized_vectors import ReplacedScores, SearchQuery


def column_scores(
    vectors_ID: Float32Array,
    query: SearchQuery,
    column_C: Int64Array,
    replaced: ReplacedScores | None = None,
) -> Float32Array:
    """Return the scores of some items, [C].

    Args:
        vectors_ID: Vectors of all items.
        query: The query, with its corrections; its mask and its mixture are not used.
        column_C: Columns of the items, ascending.
        replaced: Scores that replace those of some items.
    """
    # einsum sums each row separately and in one order, so equal vectors have equal scores in every column;
    # a matrix product may sum the last rows in another order than the first ones
    vectors_CD = vectors_ID.take(column_C, axis=0).astype(np.float64)
    score_C: Float32Array = np.einsum("cd,d->c", vectors_CD, query.query_D.astype(np.float64)).astype(
        np.float32
    )
    change_scores(score_C, query, column_C, replaced)
    return score_C


def change_scores(
    score_C: Float32Array,
    query: SearchQuery,
    column_C: Int64Array,
    replaced: ReplacedScores | None,
) -> None:
    """Add the corrections of a query to the products of ascending columns, and set the replaced scores, in place."""
    if query.corrections is not None:
        at_P, correction_P = _places(column_C, query.corrections.item_M - 1)
        score_C[at_P] += query.corrections.value_M[correction_P]
    if replaced is not None:
        at_P, replaced_P = _places(column_C, replaced.column_R)
        score_C[at_P] = replaced.score_R[replaced_P]


def mixed_scores(
    vectors_ID: Float32Array, query: SearchQuery, mixture: PointerMixture, best_K: Float32Array
) -> ReplacedScores | None:
    """Return the scores that a mixture replaces; None if they are not finite.

    Args:
        vectors_ID: Vectors of all items.
        query: The query.
        mixture: Its mixture.
        best_K: The best scores of all items, best last.
    """
    item_W = mixture.item_BW[0]
    place_R = item_W.argsort()[np.count_nonzero(item_W == PAD) :]
    item_R = item_W[place_R]
    mixture = mixture._replace(item_BW=item_R[None], pointer_BW=mixture.pointer_BW[:, place_R])
    column_R = item_R - 1
    own_R = column_scores(vectors_ID, query, column_R)
    mixed_1R = mixture.mixed(own_R[None], best_K[None, -NORMALISER_ITEMS:])
    return ReplacedScores(column_R, mixed_1R[0]) if np.isfinite(mixed_1R).all() else None


def _places(column_C: Int64Array, column_M: Int64Array) -> tuple[Int64Array, Int64Array]:
    """Return where ascending columns and other ones are equal: the places in `column_C` and those in `column_M`."""
    if not len(column_C):
        return column_C, column_C
    at_M = np.minimum(column_C.searchsorted(column_M), len(column_C) - 1)
    here_M = column_C[at_M] == column_M
    return at_M[here_M], np.flatnonzero(here_M)
