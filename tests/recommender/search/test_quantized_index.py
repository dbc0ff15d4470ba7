from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from searches import Search, best_of, pairs, random_corrections, searches

from reprise.recommender.search.exact_index import ExactIndex, Index, SearchResult
from reprise.recommender.search.logit_corrections import LogitCorrections
from reprise.recommender.search.quantized_index import LARGE_BATCH, MIN_ITEMS, QuantizedIndex
from reprise.recommender.search.quantized_vectors import MAX_WIDTH, QuantizedVectors


def quantized(vectors_ID: np.ndarray) -> QuantizedIndex:
    """Return a quantised search, even for vectors that are too few for it to be faster."""
    return QuantizedIndex(vectors_ID, min_items=1)


@given(searches())
def test_the_best_items_come_first_for_all_kinds_of_vectors(search: Search) -> None:
    quick, exact = quantized(search.vectors_ID), ExactIndex(search.vectors_ID)
    # if the exact index computed all scores, of the batch or of one query, its products of floats are rounded differently
    batch = pairs(search.result(exact))
    for row, (found, best) in enumerate(zip(pairs(search.result(quick)), best_of(search), strict=True)):
        assert found in (best, batch[row], pairs(search.row(row).result(exact))[0])


@given(
    query_BD=arrays(np.float32, (3, 2), elements=st.integers(-2, 2)),
    vectors_ID=arrays(np.float32, (70, 2), elements=st.integers(-2, 2)),
    added_BI=arrays(np.float32, (3, 70), elements=st.integers(-3, 3)),
    allowed=arrays(np.bool_, (3, 70)),
    k=st.integers(1, 70),
)
def test_integer_vectors_give_the_bits_of_the_exact_index(
    query_BD: np.ndarray, vectors_ID: np.ndarray, added_BI: np.ndarray, allowed: np.ndarray, k: int
) -> None:
    row_M, column_M = np.nonzero(added_BI)
    corrections = LogitCorrections(row_M, column_M + 1, added_BI[row_M, column_M])
    search = Search(vectors_ID, query_BD, k, allowed, corrections)
    assert pairs(search.result(quantized(vectors_ID))) == pairs(search.result(ExactIndex(vectors_ID)))


def random_vectors(items: int = 5000, width: int = 16, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((items, width)).astype(np.float32)


class UnusedIndex:
    """An index that must not be called."""

    def search(self, *arguments: object) -> SearchResult:
        raise AssertionError("all scores were computed")


@pytest.mark.parametrize("density", [None, 0.001, 0.5, 0.99])
@pytest.mark.parametrize("k", [1, 20, 200])
def test_large_catalogues_do_not_need_all_scores(density: float | None, k: int) -> None:
    generator = np.random.default_rng(1)
    vectors_ID, query_BD = random_vectors(20_011), random_vectors(20, seed=2)
    allowed_I = None if density is None else generator.random(len(vectors_ID)) < density
    index = quantized(vectors_ID)
    index._exact = UnusedIndex()  # type: ignore[assignment]
    corrections = random_corrections(generator, 20, len(vectors_ID), 1.0)
    search = Search(vectors_ID, query_BD, k, allowed_I, corrections)
    assert pairs(search.result(index)) == best_of(search)


@pytest.mark.parametrize("scale", [3, 1e3, 1e9])
@pytest.mark.parametrize("outliers", [1, 40])
@pytest.mark.parametrize("density", [None, 0.5])
def test_a_few_very_long_vectors_do_not_make_other_bounds_useless(
    scale: float, outliers: int, density: float | None
) -> None:
    generator = np.random.default_rng(1)
    vectors_ID, query_BD = random_vectors(20_011), random_vectors(20, seed=2)
    vectors_ID[generator.choice(len(vectors_ID), outliers, replace=False)] *= scale
    allowed_I = None if density is None else generator.random(len(vectors_ID)) < density
    index = quantized(vectors_ID)
    index._exact = UnusedIndex()  # type: ignore[assignment]
    corrections = random_corrections(generator, 20, len(vectors_ID), 1.0)
    search = Search(vectors_ID, query_BD, 60, allowed_I, corrections)
    assert pairs(search.result(index)) == best_of(search)


@pytest.mark.parametrize("value", [1e11, -1e11])
@pytest.mark.parametrize("corrected", [1, 30, 5000])
def test_corrections_beyond_the_range_of_the_bounds_keep_their_order(value: float, corrected: int) -> None:
    """Differences between such bounds are lost, so the scores of all these items are computed."""
    vectors_ID, query_BD = random_vectors() * 1e-6, random_vectors(2, seed=2)
    item_M = np.arange(1, corrected + 1)
    value_M = (value * (1 + np.arange(corrected) / corrected)).astype(np.float32)
    corrections = LogitCorrections(np.zeros(corrected, dtype=np.int64), item_M, value_M)
    search = Search(vectors_ID.astype(np.float32), query_BD, 20, np.arange(5000) != 3, corrections)
    assert pairs(search.result(quantized(search.vectors_ID))) == best_of(search)


def test_a_query_has_the_same_result_alone_and_in_a_batch() -> None:
    index, query_BD = quantized(random_vectors(20_000)), random_vectors(32, seed=3)
    batch = pairs(index.search(query_BD, 7))
    assert batch == [pairs(index.search(query_BD[row : row + 1], 7))[0] for row in range(32)]


def test_if_all_items_tie_the_first_indices_are_returned() -> None:
    vectors_ID = np.ones((MIN_ITEMS, 4), dtype=np.float32)
    index_Bk, score_Bk = quantized(vectors_ID).search(np.ones((1, 4), dtype=np.float32), 3)
    assert index_Bk.tolist() == [[1, 2, 3]]
    assert score_Bk.tolist() == [[4, 4, 4]]


@pytest.mark.parametrize("share", [1.0, 0.5, 0.001])
@pytest.mark.parametrize("added", [[], [2.0, -1.0, 0.0, 3.0], [-1.0, -2.0, -3.0, -4.0]])
def test_a_zero_query_returns_the_first_items_without_bounds(
    share: float, added: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state of a user without events gives such a query: all products tie."""
    vectors_ID = random_vectors()
    index, query_BD = quantized(vectors_ID), np.zeros((1, 16), dtype=np.float32)
    allowed = None if share == 1 else np.random.default_rng(0).random(len(vectors_ID)) < share
    item_M = np.array([1, 3, 4999, 4000][: len(added)], dtype=np.int64)
    row_M, value_M = np.zeros(len(added), dtype=np.int64), np.array(added, dtype=np.float32)
    corrections = LogitCorrections(row_M, item_M, value_M)
    expected = pairs(ExactIndex(vectors_ID).search(query_BD, 20, allowed, corrections))
    monkeypatch.setattr(QuantizedVectors, "bounds", lambda self, queries: iter(()))
    monkeypatch.setattr(ExactIndex, "search", None)
    assert pairs(index.search(query_BD, 20, allowed, corrections)) == expected


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e38])
@pytest.mark.parametrize("where", ["vectors", "query", "corrections"])
def test_infinite_and_very_large_numbers_use_the_exact_index(bad: float, where: str) -> None:
    vectors_ID, query_BD = random_vectors(), random_vectors(3, seed=4)
    corrections = LogitCorrections(np.array([0, 1]), np.array([7, 9]), np.array([1.0, 2.0], dtype=np.float32))
    arrays = {"vectors": vectors_ID, "query": query_BD, "corrections": corrections.value_M[None]}
    arrays[where][0, 1] = bad
    search = Search(vectors_ID, query_BD, 5, None, corrections)
    with np.errstate(all="ignore"):
        quick, exact = search.result(quantized(vectors_ID)), search.result(ExactIndex(vectors_ID))
    assert np.array_equal(quick[0], exact[0])
    assert np.array_equal(quick[1], exact[1], equal_nan=True)


@pytest.mark.parametrize(
    ("items", "width", "expected"),
    [
        (MIN_ITEMS - 1, 3, False),
        (MIN_ITEMS, 3, True),
        (MIN_ITEMS, 0, False),
        (MIN_ITEMS, MAX_WIDTH, True),
        (MIN_ITEMS, MAX_WIDTH + 1, False),
    ],
)
def test_small_catalogues_and_very_wide_vectors_are_not_quantized(
    items: int, width: int, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(QuantizedVectors, "__init__", lambda self, vectors_ID: None)
    vectors_ID = np.broadcast_to(np.float32(1), (items, width))
    assert (QuantizedIndex(vectors_ID)._quantized is not None) == expected


def test_a_search_that_is_not_quantized_computes_products_of_floats() -> None:
    vectors_ID, query_BD = random_vectors(), random_vectors(3, seed=5)
    index = QuantizedIndex(vectors_ID)
    assert index._quantized is None
    assert pairs(index.search(query_BD, 4)) == pairs(ExactIndex(vectors_ID).search(query_BD, 4))


def test_vectors_of_the_largest_width_are_quantized() -> None:
    vectors_ID = random_vectors(1500, MAX_WIDTH)
    query_BD = vectors_ID[[3, 700]]
    index = quantized(vectors_ID)
    index._exact = UnusedIndex()  # type: ignore[assignment]
    search = Search(vectors_ID, query_BD, 1, None, None)
    assert pairs(search.result(index)) == best_of(search)


@pytest.mark.parametrize(("queries", "quantizes"), [(LARGE_BATCH, True), (LARGE_BATCH + 1, False)])
def test_large_batches_on_a_small_catalogue_use_the_exact_index(queries: int, quantizes: bool) -> None:
    index, query_BD = quantized(random_vectors(MIN_ITEMS)), random_vectors(queries, seed=7)
    expected = index.search(query_BD, 3)[0].tolist()
    if quantizes:
        index._exact = UnusedIndex()  # type: ignore[assignment]
    else:
        index._quantized = UnusedIndex()  # type: ignore[assignment]
    assert index.search(query_BD, 3)[0].tolist() == expected


def test_no_queries_give_no_results() -> None:
    index_Bk, score_Bk = quantized(random_vectors()).search(np.empty((0, 16), dtype=np.float32), 2)
    assert index_Bk.shape == score_Bk.shape == (0, 2)


def test_several_threads_can_search_together() -> None:
    index, query_BD = quantized(random_vectors(20_000)), random_vectors(64, seed=6)
    expected = [pairs(index.search(query_BD[row : row + 1], 5))[0] for row in range(64)]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda row: pairs(index.search(query_BD[row : row + 1], 5))[0], range(64)))
    assert found == expected


def test_the_quantized_index_implements_index() -> None:
    assert isinstance(quantized(random_vectors(3)), Index)
