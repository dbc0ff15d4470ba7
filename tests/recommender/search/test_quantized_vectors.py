import numpy as np
import pytest
from hypothesis import given
from searches import Search, searches

from reprise.recommender.search.int8_matmul import MAX_ITEM_CODE, MAX_QUERY_CODE
from reprise.recommender.search.quantized_vectors import (
    EXCLUDED_PENALTY,
    ITEMS_PER_OUTLIER,
    MAX_CORRECTION,
    MAX_OUTLIERS,
    MAX_THRESHOLD,
    MAX_WIDTH,
    MIN_CORRECTION,
    QuantizedVectors,
    ReplacedScores,
    SearchQuery,
)


@given(searches())
def test_no_score_is_above_its_bound(search: Search) -> None:
    vectors = QuantizedVectors(search.vectors_ID)
    queries = [
        SearchQuery.from_batch(row, search.query_BD, search.k, search.allowed, search.corrections, None)
        for row in range(len(search.query_BD))
    ]
    bounded_I = np.ones(len(search.vectors_ID), dtype=np.bool_)
    bounded_I[vectors.outlier_O] = False
    generator = np.random.default_rng(0)
    replaced_R = np.flatnonzero(generator.random(len(search.vectors_ID)) < 0.1)
    bounds = zip(search.score_BI(), queries, vectors.bounds(queries), strict=True)
    for score_I, query, bound in bounds:
        scale = np.abs(score_I[np.isfinite(score_I)]).max(initial=1)
        new_R = (2 * scale * generator.standard_normal(len(replaced_R))).astype(np.float32)
        bound.replace_scores(ReplacedScores(replaced_R, new_R))
        score_I[replaced_R] = np.where(score_I[replaced_R] > -np.inf, new_R, -np.inf)
        if query.allowed_I is not None:
            bound.exclude(query.allowed_I)
        allowed_I = score_I > -np.inf
        assert (bound.upper_I[~allowed_I] < -MAX_THRESHOLD).all()
        assert (bound.upper_I[allowed_I] >= -MAX_THRESHOLD).all()
        plain_I = allowed_I & bounded_I
        # an integer reaches the threshold if the quotient is less than 1 above it, so the closest pairs decide
        score_N, upper_N = score_I[plain_I].astype(np.float64), bound.upper_I[plain_I]
        closest_N = np.argsort(score_N / bound.unit - upper_N)[-20:]
        for score, upper in zip(score_N[closest_N].tolist(), upper_N[closest_N].tolist(), strict=True):
            assert upper >= bound.threshold(score)


def test_the_example_of_a_bound_in_the_docstring() -> None:
    """q' v' is 7220 / (63 * 127) = 0.9024, the bound is 0.9066 and the score is 0.9."""
    vectors_ID, query_D = np.array([[1, 0.3]], dtype=np.float32), np.array([0.6, 1], dtype=np.float32)
    vectors = QuantizedVectors(vectors_ID)
    (bound,) = vectors.bounds([SearchQuery(query_D, 1, None, None, None)])
    assert bound.upper_I.tolist() == [38 * MAX_ITEM_CODE + MAX_QUERY_CODE * 38]
    assert bound.unit * bound.upper_I[0] == pytest.approx(0.9024, abs=5e-5)
    assert bound.unit * bound.upper_I[0] + bound.slack == pytest.approx(0.9066, abs=5e-5)


def test_bounds_with_penalties_and_corrections_stay_apart_and_fit_in_32_bits() -> None:
    largest = MAX_QUERY_CODE * MAX_ITEM_CODE * MAX_WIDTH
    assert MAX_CORRECTION - largest > MAX_THRESHOLD
    assert MIN_CORRECTION - largest > -MAX_THRESHOLD > MAX_CORRECTION + largest - EXCLUDED_PENALTY
    assert MIN_CORRECTION - largest - EXCLUDED_PENALTY >= -(2**31)


@pytest.mark.parametrize(
    ("items", "long", "expected"),
    [
        (ITEMS_PER_OUTLIER, 1, 1),
        (ITEMS_PER_OUTLIER - 1, 1, 0),
        (3 * ITEMS_PER_OUTLIER, 3, 3),
        (3 * ITEMS_PER_OUTLIER, 4, 0),
        (300 * ITEMS_PER_OUTLIER, MAX_OUTLIERS, MAX_OUTLIERS),
        (300 * ITEMS_PER_OUTLIER, MAX_OUTLIERS + 1, 0),
    ],
)
def test_outliers_are_few_and_more_than_twice_as_long_as_all_others(
    items: int, long: int, expected: int
) -> None:
    vectors_ID = np.ones((items, 2), dtype=np.float32)
    vectors_ID[:long, 1] = -2.001
    assert QuantizedVectors(vectors_ID).outlier_O.tolist() == list(range(expected))
    vectors_ID[:long, 1] = 2
    assert not len(QuantizedVectors(vectors_ID).outlier_O)
