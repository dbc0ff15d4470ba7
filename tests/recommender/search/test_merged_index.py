"""A table with replaced and added vectors has the results of one table over all items, up to rounding."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from searches import Search, check_mixed, random_mixture, searches

from reprise.recommender.search.exact_index import ExactIndex, Index
from reprise.recommender.search.logit_corrections import LogitCorrections
from reprise.recommender.search.merged_index import MergedIndex
from reprise.recommender.search.pointer_mixture import PointerMixture
from reprise.recommender.search.quantized_index import QuantizedIndex
from reprise.recommender.search.vector_changes import VectorChanges


def merged(search: Search, items: int, replaced_I: np.ndarray) -> list[Index]:
    """Return searches over the first `items` vectors, some of them wrong, and over the changes that correct them."""
    table_ID = search.vectors_ID[:items].copy()
    table_ID[replaced_I - 1] = (
        100 * np.abs(search.vectors_ID).max()
    )  # would be the best or worst items if they were read
    size = len(search.vectors_ID)
    item_M = np.concatenate([replaced_I, np.arange(items + 1, size + 1)])
    # one call for each half: the order of the calls and of the items must not matter
    changes = VectorChanges.none(table_ID)
    for part in (item_M[1::2][::-1], item_M[::2]):
        changes = changes.with_vectors(part, search.vectors_ID[part - 1], size)
    return [
        MergedIndex(ExactIndex(table_ID), changes),
        MergedIndex(QuantizedIndex(table_ID, min_items=1), changes),
    ]


def table_only(corrections: LogitCorrections | None, items: int) -> LogitCorrections | None:
    """Return the corrections of items of the table: no others occur."""
    if corrections is None:
        return None
    return LogitCorrections(*(part[corrections.item_M <= items] for part in corrections))


@given(
    searches(), st.sampled_from([None, -30.0, 0.0, 3.0]), st.integers(0, 9), st.floats(0, 1), st.floats(0, 1)
)
def test_a_merged_search_equals_one_over_all_items(
    search: Search, gate: float | None, seed: int, in_table: float, replaced: float
) -> None:
    generator = np.random.default_rng(seed)
    queries, size = len(search.query_BD), len(search.vectors_ID)
    items = max(1, int(in_table * size))
    search = search._replace(corrections=table_only(search.corrections, items))
    replaced_I = np.flatnonzero(generator.random(items) < replaced**4) + 1
    mixture = no_mixture(queries) if gate is None else random_mixture(generator, queries, size, gate)
    for index in merged(search, items, replaced_I):
        check_mixed(index, search, mixture)


def no_mixture(queries: int) -> PointerMixture:
    """Return a mixture of empty windows, which replaces no score."""
    mixture = random_mixture(np.random.default_rng(0), queries, 1, 0.0)
    return mixture._replace(item_BW=np.zeros_like(mixture.item_BW))


def test_equal_scores_are_in_index_order() -> None:
    search = Search(np.ones((6, 2), np.float32), np.ones((1, 2), np.float32), 6, None, None)
    for index in merged(search, 4, np.array([2])):
        assert search.result(index)[0].tolist() == [[1, 2, 3, 4, 5, 6]]


def test_an_index_without_a_vector_is_not_found() -> None:
    """Items 4 and 6 have no vector: they were removed, and their indices are free."""
    vectors_ID = np.array([[1.0], [2.0], [3.0]], np.float32)
    changes = VectorChanges.none(vectors_ID).with_vectors(np.array([5]), np.array([[9.0]], np.float32), 6)
    index = MergedIndex(ExactIndex(vectors_ID), changes)
    found, scores = index.search(np.ones((1, 1), np.float32), 6, np.ones(6, dtype=np.bool_))
    assert found.tolist() == [[5, 3, 2, 1, 0, 0]]
    assert scores.tolist() == [[9.0, 3.0, 2.0, 1.0, -np.inf, -np.inf]]


def test_changes_are_found_and_removed() -> None:
    vectors_ID = np.array([[1.0], [2.0], [3.0]], np.float32)
    changes = VectorChanges.none(vectors_ID)
    assert changes.take(vectors_ID, np.array([[3, 1]])).tolist() == [[[3.0], [1.0]]]
    changes = changes.with_vectors(np.array([5, 2]), np.array([[50.0], [20.0]], np.float32), 6)
    assert changes.take(vectors_ID, np.array([[5, 1], [2, 3]])).tolist() == [[[50.0], [1.0]], [[20.0], [3.0]]]
    assert changes.has_vector(np.arange(7), 3).tolist() == [False, True, True, True, False, True, False]
    assert changes.replaced_I(3).tolist() == [2]
    changes = changes.with_vectors(np.array([2]), np.array([[21.0]], np.float32), 6).without(np.array([5]))
    assert changes.item_M.tolist() == [2] and changes.take(vectors_ID, np.array([2])).tolist() == [[21.0]]
    assert changes.without(np.array([1])) is changes
