"""Approximate searches: exact scores, masks, corrections and mixtures, whatever candidates the source finds."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from searches import Search, best_of, check_mixed, pairs, random_mixture, searches
from shelves import SomeCandidates, shelves, typical_queries

from reprise.recommender.search import approximate_index
from reprise.recommender.search.approximate_index import ApproximateIndex, SearchParameters, exact_index
from reprise.recommender.search.exact_index import ExactIndex
from reprise.recommender.search.inverted_file import InvertedFile
from reprise.recommender.search.logit_corrections import LogitCorrections
from reprise.recommender.search.merged_index import MergedIndex
from reprise.recommender.search.recall import choose_parameters, measured_recall
from reprise.recommender.search.vector_changes import VectorChanges


@contextmanager
def all_candidates(search: Search, few: bool) -> Iterator[ApproximateIndex]:
    """Return an index that scores what its source finds, however few items there are; the source finds all items.

    With `few`, masks are searched exactly; otherwise the source gets those that exclude half of the items.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(approximate_index, "FEW_ALLOWED", 2**14 if few else 0)
        patch.setattr(approximate_index, "MAX_SCORED", np.inf)
        source = SomeCandidates(search.vectors_ID)
        yield ApproximateIndex(search.vectors_ID, source, SearchParameters(1, len(search.vectors_ID)))


@given(searches(), st.booleans())
def test_good_candidates_give_the_exact_result(search: Search, few: bool) -> None:
    with all_candidates(search, few) as index:
        found = pairs(search.result(index))
    magnitude = max(1e-30, np.abs(np.nan_to_num(search.score_BI(), neginf=0)).max(initial=0))
    for row, expected in zip(found, best_of(search), strict=True):
        scores, expected_scores = [score for _, score in row], [score for _, score in expected]
        np.testing.assert_allclose(scores, expected_scores, atol=1e-5 * magnitude)


@given(searches(), st.sampled_from([-30.0, 0.0, 3.0]), st.integers(0, 9), st.booleans())
def test_mixtures_keep_their_meaning(search: Search, gate: float, seed: int, few: bool) -> None:
    queries, items = len(search.query_BD), len(search.vectors_ID)
    mixture = random_mixture(np.random.default_rng(seed), queries, items, gate)
    with all_candidates(search, few) as index:
        check_mixed(index, search, mixture)


def test_the_source_gets_the_mask_if_it_leaves_less_than_half() -> None:
    vectors_ID = shelves(40_000, 16)
    source = SomeCandidates(vectors_ID)
    index = ApproximateIndex(vectors_ID, source, SearchParameters(2, 300))
    query_BD = typical_queries(vectors_ID, 3)
    allowed_I = np.random.default_rng(0).random(len(vectors_ID)) < 0.45
    found, _ = index.search(query_BD, 10, allowed_I)
    assert source.masked == [True] * 3 and source.lists_read == [5] * 3  # 2 / 0.45 lists
    assert np.array_equal(found, ExactIndex(vectors_ID).search(query_BD, 10, allowed_I)[0])
    index.search(query_BD, 10, ~allowed_I)
    assert source.masked == [True] * 3 + [False]


def test_few_allowed_items_are_searched_without_the_source() -> None:
    vectors_ID = shelves(20_000, 16)
    index = ApproximateIndex(vectors_ID, Unused(), SearchParameters(1, 100))
    query_BD = typical_queries(vectors_ID, 4)
    allowed_BI = np.random.default_rng(1).random((4, len(vectors_ID))) < 0.01
    expected = ExactIndex(vectors_ID).search(query_BD, 7, allowed_BI)
    found = index.search(query_BD, 7, allowed_BI)
    assert np.array_equal(found[0], expected[0])
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-5)


class Unused:
    """A source that must not be called."""

    lists = 1

    def candidates(self, *arguments: object) -> np.ndarray:
        raise AssertionError("candidates were searched")


def test_candidates_that_the_mask_excludes_are_replaced_by_an_exact_search(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The source finds the first 100 items only, and the mask excludes exactly these."""
    monkeypatch.setattr(approximate_index, "FEW_ALLOWED", 0)
    vectors_ID = shelves(4000, 16)
    source = SomeCandidates(vectors_ID, blind_from=100)
    index = ApproximateIndex(vectors_ID, source, SearchParameters(1, 100))
    query_BD = typical_queries(vectors_ID, 2)
    for first_allowed in (95, 100, 3000):
        allowed_I = np.arange(4000) >= first_allowed
        expected = ExactIndex(vectors_ID).search(query_BD, 10, allowed_I)[0]
        assert np.array_equal(index.search(query_BD, 10, allowed_I)[0], expected)


def test_an_item_with_a_large_correction_is_found_wherever_it_is() -> None:
    vectors_ID = shelves(4000, 16)
    index = ApproximateIndex(
        vectors_ID, SomeCandidates(vectors_ID, blind_from=2000), SearchParameters(1, 100)
    )
    query_BD = typical_queries(vectors_ID, 1)
    corrections = LogitCorrections(np.array([0]), np.array([3999]), np.array([1e3], np.float32))
    found, score = index.search(query_BD, 2, None, corrections)
    assert found[0, 0] == 3999
    assert score[0, 0] == np.float32(vectors_ID[3998].astype(float) @ query_BD[0].astype(float)) + np.float32(
        1e3
    )


def test_more_results_than_the_parameters_were_chosen_for_read_more_lists() -> None:
    vectors_ID = shelves(40_000, 16)
    source = SomeCandidates(vectors_ID)
    index = ApproximateIndex(vectors_ID, source, SearchParameters(2, 300))
    query_BD = typical_queries(vectors_ID, 1)
    index.search(query_BD, 100)
    assert (source.lists_read, source.counts) == ([2 * 100 // 20], [300 * 100 // 20])


def test_changed_vectors_are_found_and_old_ones_are_not() -> None:
    vectors_ID = shelves(20_000, 16)
    file = InvertedFile.build(vectors_ID, typical_queries(vectors_ID, 300))
    index = ApproximateIndex(vectors_ID, file, SearchParameters(file.lists, 4096))
    query_BD = typical_queries(vectors_ID, 5)
    best_BK = ExactIndex(vectors_ID).search(query_BD, 3)[0]
    item_M = np.unique(best_BK)
    changes = VectorChanges.none(vectors_ID).with_vectors(item_M, -vectors_ID[item_M - 1], len(vectors_ID))
    table_ID = vectors_ID.copy()
    table_ID[item_M - 1] *= -1
    expected = ExactIndex(table_ID).search(query_BD, 10)[0]
    assert np.array_equal(MergedIndex(index, changes).search(query_BD, 10)[0], expected)


def test_a_query_of_zeros_has_the_first_items() -> None:
    vectors_ID = shelves(4000, 16)
    index = ApproximateIndex(vectors_ID, Unused(), SearchParameters(1, 100))
    assert index.search(np.zeros((1, 16), np.float32), 3)[0].tolist() == [[1, 2, 3]]


def test_the_exact_search_of_an_index() -> None:
    vectors_ID = shelves(400, 4)
    exact = ExactIndex(vectors_ID)
    assert exact_index(exact) is exact
    assert isinstance(exact_index(ApproximateIndex(vectors_ID, Unused(), SearchParameters(1, 1))), ExactIndex)


@pytest.mark.parametrize("width", [16, 17])
def test_the_chosen_parameters_reach_the_recall_on_other_queries(width: int) -> None:
    vectors_ID = shelves(20_000, width)
    query_BD = typical_queries(vectors_ID, 200)
    best_BK = ExactIndex(vectors_ID).search(query_BD, 20)[0]
    file = InvertedFile.build(vectors_ID, query_BD[:100])
    chosen = choose_parameters(file, len(vectors_ID), query_BD[:100], best_BK[:100], 0.97)
    assert chosen.lists < file.lists
    found = measured_recall(ApproximateIndex(vectors_ID, file, chosen), query_BD[100:], best_BK[100:])
    assert found >= 0.95
    less = choose_parameters(file, len(vectors_ID), query_BD[:100], best_BK[:100], 0.5)
    assert less.lists < chosen.lists
