from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from reprise.data.vocabulary import PAD
from reprise.recommender.artefact.int8_graph import int8_matmul_graph
from reprise.recommender.search.exact_index import ExactIndex, Index, SearchResult
from reprise.recommender.search.int8_matmul import MAX_ITEM_CODE, MAX_QUERY_CODE
from reprise.recommender.search.logit_corrections import LogitCorrections
from reprise.recommender.search.quantized_index import (
    LARGE_BATCH,
    MAX_WIDTH,
    MIN_ALLOWED_BOUND,
    MIN_ITEMS,
    QuantizedIndex,
    QuantizedVectors,
    SearchQuery,
    should_quantize,
)


class Search(NamedTuple):
    """Arguments of one search, and the vectors that are searched."""

    vectors_ID: np.ndarray
    query_BD: np.ndarray
    k: int
    allowed: np.ndarray | None
    corrections: LogitCorrections | None

    def result(self, index: Index) -> SearchResult:
        return index.search(self.query_BD, self.k, self.allowed, self.corrections)

    def row(self, row: int) -> "Search":
        """Return the search for one query."""
        one = slice(row, row + 1)
        allowed = self.allowed if self.allowed is None or self.allowed.ndim == 1 else self.allowed[one]
        corrections = None if self.corrections is None else self.corrections.rows(row, row + 1)
        return Search(self.vectors_ID, self.query_BD[one], self.k, allowed, corrections)

    def score_BI(self) -> np.ndarray:
        """Return the scores that `QuantizedIndex` specifies: a product rounded once, plus the correction in float32."""
        rows = [
            np.einsum("cd,d->c", self.vectors_ID.astype(np.float64), query_D.astype(np.float64))
            for query_D in self.query_BD
        ]
        score_BI = np.array(rows, dtype=np.float64).astype(np.float32)
        if self.corrections is not None:
            self.corrections.add_to(score_BI)
        return score_BI if self.allowed is None else np.where(self.allowed, score_BI, -np.float32(np.inf))


def best_of(search: Search) -> list[list[tuple[int, float]]]:
    """Return the specified result of each query, by sorting all scores."""
    results = []
    for row in search.score_BI().tolist():
        allowed = [(item, score) for item, score in enumerate(row, 1) if score > -np.inf]
        best = sorted(allowed, key=lambda pair: (-pair[1], pair[0]))[: search.k]
        results.append(best + [(PAD, -np.inf)] * (search.k - len(best)))
    return results


def pairs(result: SearchResult) -> list[list[tuple[int, float]]]:
    return [list(zip(i, s, strict=True)) for i, s in zip(result[0].tolist(), result[1].tolist(), strict=True)]


def quantized(vectors_ID: np.ndarray) -> QuantizedIndex:
    """Return a quantised search, even for vectors that are too few for it to be faster."""
    return QuantizedIndex(vectors_ID, int8_matmul_graph(*vectors_ID.shape))


def random_corrections(
    generator: np.random.Generator, queries: int, items: int, scale: float
) -> LogitCorrections:
    row_M, column_M = np.nonzero(generator.random((queries, items)) < generator.random())
    return LogitCorrections(
        row_M, column_M + 1, (scale * generator.standard_normal(len(row_M))).astype(np.float32)
    )


VECTORS: dict[str, Callable[[np.random.Generator, int, int], np.ndarray]] = {
    "standard normal": lambda g, i, d: g.standard_normal((i, d)),
    "very different lengths": lambda g, i, d: (
        g.standard_normal((i, d)) * 10.0 ** g.uniform(-9, 6, size=(i, 1))
    ),
    "very different dimensions": lambda g, i, d: g.standard_normal((i, d)) * 10.0 ** g.uniform(-6, 3, size=d),
    "many equal vectors": lambda g, i, d: g.standard_normal((3, d))[g.integers(3, size=i)],
    "small integers": lambda g, i, d: g.integers(-2, 3, size=(i, d)),
    "nearly equal vectors": lambda g, i, d: g.standard_normal(d) + 1e-4 * g.standard_normal((i, d)),
    "all zero": lambda g, i, d: np.zeros((i, d)),
    "some zero": lambda g, i, d: g.standard_normal((i, d)) * (g.random((i, 1)) < 0.5),
    "very small": lambda g, i, d: g.standard_normal((i, d)) * 1e-30,
    "subnormal": lambda g, i, d: g.standard_normal((i, d)) * 1e-44,
    "very large": lambda g, i, d: g.standard_normal((i, d)) * 1e11,
}


@st.composite
def searches(draw: st.DrawFn) -> Search:
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    items, width, queries = draw(st.integers(1, 200)), draw(st.integers(1, 64)), draw(st.integers(1, 11))
    vectors_ID = VECTORS[draw(st.sampled_from(sorted(VECTORS)))](generator, items, width)
    query_BD = generator.standard_normal((queries, width)) * draw(st.sampled_from([1, 1, 0, 1e-20, 1e9]))
    if draw(st.booleans()):
        query_BD = query_BD.round()
    density = draw(st.sampled_from([0.0, 0.02, 0.5, 0.99, 1.0]))
    masks = {
        "none": None,
        "for all queries": generator.random(items) < density,
        "for each query": generator.random((queries, items)) < density,
    }
    scale = draw(st.sampled_from([None, 1.0, 1e-6, 1e6]))
    return Search(
        vectors_ID.astype(np.float32),
        query_BD.astype(np.float32),
        draw(st.sampled_from(sorted({1, min(items, 5), min(items, 30), items}))),
        masks[draw(st.sampled_from(sorted(masks)))],
        None if scale is None else random_corrections(generator, queries, items, scale),
    )


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


@given(searches())
def test_no_score_is_above_its_bound(search: Search) -> None:
    vectors = QuantizedVectors(search.vectors_ID, int8_matmul_graph(*search.vectors_ID.shape))
    queries = [
        SearchQuery.from_batch(row, search.query_BD, search.k, search.allowed, search.corrections)
        for row in range(len(search.query_BD))
    ]
    for score_I, bound in zip(search.score_BI(), vectors.bounds(queries), strict=True):
        allowed_I = score_I > -np.inf
        assert (bound.upper_I[~allowed_I] < MIN_ALLOWED_BOUND).all()
        assert np.isfinite(bound.upper_I).all() and (bound.upper_I[allowed_I] > MIN_ALLOWED_BOUND).all()
        for score, upper in zip(score_I[allowed_I].tolist(), bound.upper_I[allowed_I], strict=True):
            assert upper >= bound.threshold(score)


def test_the_example_of_a_bound_in_the_docstring() -> None:
    """q' v' is 7220 / (63 * 127) = 0.9024, the bound is 0.9066 and the score is 0.9."""
    vectors_ID, query_D = np.array([[1, 0.3]], dtype=np.float32), np.array([0.6, 1], dtype=np.float32)
    vectors = QuantizedVectors(vectors_ID, int8_matmul_graph(1, 2))
    (bound,) = vectors.bounds([SearchQuery(query_D, 1, None, None)])
    product = (38 * MAX_ITEM_CODE + MAX_QUERY_CODE * 38) / (MAX_QUERY_CODE * MAX_ITEM_CODE)
    assert product == pytest.approx(0.9024, abs=5e-5)
    assert bound.unit * bound.upper_I[0] == pytest.approx(0.9066, abs=5e-5)


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
        (2**20, MAX_WIDTH, False),
    ],
)
def test_small_catalogues_very_wide_vectors_and_very_many_codes_are_not_quantized(
    items: int, width: int, expected: bool
) -> None:
    assert should_quantize(items, width) == expected


def test_without_a_graph_the_search_is_exact() -> None:
    vectors_ID, query_BD = random_vectors(20_000), random_vectors(3, seed=5)
    index = QuantizedIndex(vectors_ID, None)
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
