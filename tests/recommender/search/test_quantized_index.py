from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from reprise.data.vocabulary import PAD
from reprise.recommender.search.exact_index import ExactIndex, Found, Index, LogitCorrections
from reprise.recommender.search.quantized_index import (
    ALLOWED,
    BATCH,
    FEWEST,
    WIDEST,
    QuantizedIndex,
    QuantizedVectors,
    SearchQuery,
)


class Asked(NamedTuple):
    """One search, and the vectors that are searched."""

    vectors_ID: np.ndarray
    query_BD: np.ndarray
    k: int
    allowed: np.ndarray | None
    extra: LogitCorrections | None

    def found(self, index: Index) -> Found:
        return index.search(self.query_BD, self.k, self.allowed, self.extra)

    def alone(self, row: int) -> "Asked":
        """The question of one row."""
        one = slice(row, row + 1)
        allowed = self.allowed if self.allowed is None or self.allowed.ndim == 1 else self.allowed[one]
        extra = None if self.extra is None else self.extra.rows(row, row + 1)
        return Asked(self.vectors_ID, self.query_BD[one], self.k, allowed, extra)

    def score_BI(self) -> np.ndarray:
        """The scores as `QuantizedIndex` promises them: one rounding of the product, one of what is added."""
        rows = [
            np.einsum("cd,d->c", self.vectors_ID.astype(np.float64), query_D.astype(np.float64))
            for query_D in self.query_BD
        ]
        score_BI = np.array(rows, dtype=np.float64).astype(np.float32)
        if self.extra is not None:
            self.extra.add_to(score_BI)
        return score_BI if self.allowed is None else np.where(self.allowed, score_BI, -np.float32(np.inf))


def best_of(asked: Asked) -> list[list[tuple[int, float]]]:
    """The contract, by sorting."""
    answers = []
    for row in asked.score_BI().tolist():
        able = [(item, score) for item, score in enumerate(row, 1) if score > -np.inf]
        best = sorted(able, key=lambda pair: (-pair[1], pair[0]))[: asked.k]
        answers.append(best + [(PAD, -np.inf)] * (asked.k - len(best)))
    return answers


def pairs(found: Found) -> list[list[tuple[int, float]]]:
    return [list(zip(i, s, strict=True)) for i, s in zip(found[0].tolist(), found[1].tolist(), strict=True)]


def additions(generator: np.random.Generator, queries: int, items: int, scale: float) -> LogitCorrections:
    row_M, column_M = np.nonzero(generator.random((queries, items)) < generator.random())
    return LogitCorrections(
        row_M, column_M + 1, (scale * generator.standard_normal(len(row_M))).astype(np.float32)
    )


WORLDS: dict[str, Callable[[np.random.Generator, int, int], np.ndarray]] = {
    "like the queries": lambda g, i, d: g.standard_normal((i, d)),
    "of wildly different lengths": lambda g, i, d: (
        g.standard_normal((i, d)) * 10.0 ** g.uniform(-9, 6, size=(i, 1))
    ),
    "with a loud dimension": lambda g, i, d: g.standard_normal((i, d)) * 10.0 ** g.uniform(-6, 3, size=d),
    "of few kinds": lambda g, i, d: g.standard_normal((3, d))[g.integers(3, size=i)],
    "small integers": lambda g, i, d: g.integers(-2, 3, size=(i, d)),
    "nearly one": lambda g, i, d: g.standard_normal(d) + 1e-4 * g.standard_normal((i, d)),
    "zero": lambda g, i, d: np.zeros((i, d)),
    "with zeros": lambda g, i, d: g.standard_normal((i, d)) * (g.random((i, 1)) < 0.5),
    "vanishing": lambda g, i, d: g.standard_normal((i, d)) * 1e-30,
    "hardly numbers": lambda g, i, d: g.standard_normal((i, d)) * 1e-44,
    "huge": lambda g, i, d: g.standard_normal((i, d)) * 1e11,
}


@st.composite
def searches(draw: st.DrawFn) -> Asked:
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    items, width, queries = draw(st.integers(1, 200)), draw(st.integers(1, 64)), draw(st.integers(1, 11))
    vectors_ID = WORLDS[draw(st.sampled_from(sorted(WORLDS)))](generator, items, width)
    query_BD = generator.standard_normal((queries, width)) * draw(st.sampled_from([1, 1, 0, 1e-20, 1e9]))
    if draw(st.booleans()):
        query_BD = query_BD.round()
    density = draw(st.sampled_from([0.0, 0.02, 0.5, 0.99, 1.0]))
    masks = {
        "none": None,
        "of all": generator.random(items) < density,
        "of each": generator.random((queries, items)) < density,
    }
    added = draw(st.sampled_from([None, 1.0, 1e-6, 1e6]))
    return Asked(
        vectors_ID.astype(np.float32),
        query_BD.astype(np.float32),
        draw(st.sampled_from(sorted({1, min(items, 5), min(items, 30), items}))),
        masks[draw(st.sampled_from(sorted(masks)))],
        None if added is None else additions(generator, queries, items, added),
    )


@given(searches())
def test_the_best_come_first_whatever_the_vectors(asked: Asked) -> None:
    quick, exact = QuantizedIndex(asked.vectors_ID, fewest=1), ExactIndex(asked.vectors_ID)
    # where all scores were computed, of all questions or of one, products of floats are rounded as by the exact index
    together = pairs(asked.found(exact))
    for row, (answer, best) in enumerate(zip(pairs(asked.found(quick)), best_of(asked), strict=True)):
        assert answer in (best, together[row], pairs(asked.alone(row).found(exact))[0])


@given(
    query_BD=arrays(np.float32, (3, 2), elements=st.integers(-2, 2)),
    vectors_ID=arrays(np.float32, (70, 2), elements=st.integers(-2, 2)),
    added_BI=arrays(np.float32, (3, 70), elements=st.integers(-3, 3)),
    allowed=arrays(np.bool_, (3, 70)),
    k=st.integers(1, 70),
)
def test_with_whole_numbers_it_is_the_exact_index_to_the_last_bit(
    query_BD: np.ndarray, vectors_ID: np.ndarray, added_BI: np.ndarray, allowed: np.ndarray, k: int
) -> None:
    row_M, column_M = np.nonzero(added_BI)
    extra = LogitCorrections(row_M, column_M + 1, added_BI[row_M, column_M])
    asked = Asked(vectors_ID, query_BD, k, allowed, extra)
    assert pairs(asked.found(QuantizedIndex(vectors_ID, fewest=1))) == pairs(
        asked.found(ExactIndex(vectors_ID))
    )


@given(searches())
def test_no_score_is_above_its_bound(asked: Asked) -> None:
    rounded = QuantizedVectors(asked.vectors_ID)
    questions = [
        SearchQuery.of(row, asked.query_BD, asked.k, asked.allowed, asked.extra)
        for row in range(len(asked.query_BD))
    ]
    for score_I, bound in zip(asked.score_BI(), rounded.bounds(questions), strict=True):
        able_I = score_I > -np.inf
        assert (bound.upper_I[~able_I] < ALLOWED).all()
        assert np.isfinite(bound.upper_I).all() and (bound.upper_I[able_I] > ALLOWED).all()
        for score, upper in zip(score_I[able_I].tolist(), bound.upper_I[able_I], strict=True):
            assert upper >= bound.of(score)


def shop(items: int = 5000, width: int = 16, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((items, width)).astype(np.float32)


class NeverAsked:
    """An index that must not be needed."""

    def search(self, *asked: object) -> Found:
        raise AssertionError("all scores were computed")


@pytest.mark.parametrize("density", [None, 0.001, 0.5, 0.99])
@pytest.mark.parametrize("k", [1, 20, 200])
def test_among_many_items_only_few_are_looked_at_again(density: float | None, k: int) -> None:
    generator = np.random.default_rng(1)
    vectors_ID, query_BD = shop(20_011), shop(20, seed=2)
    allowed_I = None if density is None else generator.random(len(vectors_ID)) < density
    index = QuantizedIndex(vectors_ID)
    index._exact = NeverAsked()  # type: ignore[assignment]
    asked = Asked(vectors_ID, query_BD, k, allowed_I, additions(generator, 20, len(vectors_ID), 1.0))
    assert pairs(asked.found(index)) == best_of(asked)


def test_a_question_has_the_same_answer_alone_and_among_others() -> None:
    index, query_BD = QuantizedIndex(shop(20_000)), shop(32, seed=3)
    together = pairs(index.search(query_BD, 7))
    assert together == [pairs(index.search(query_BD[row : row + 1], 7))[0] for row in range(32)]


def test_where_all_items_tie_the_commoner_come_first() -> None:
    vectors_ID = np.ones((FEWEST, 4), dtype=np.float32)
    index_Bk, score_Bk = QuantizedIndex(vectors_ID).search(np.ones((1, 4), dtype=np.float32), 3)
    assert index_Bk.tolist() == [[1, 2, 3]]
    assert score_Bk.tolist() == [[4, 4, 4]]


@pytest.mark.parametrize("share", [1.0, 0.5, 0.001])
@pytest.mark.parametrize("added", [[], [2.0, -1.0, 0.0, 3.0], [-1.0, -2.0, -3.0, -4.0]])
def test_one_who_asks_nothing_has_the_first_of_all_and_needs_no_scan(
    share: float, added: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a stranger does, whose state is zero: all products tie."""
    vectors_ID = shop()
    index, query_BD = QuantizedIndex(vectors_ID, fewest=1), np.zeros((1, 16), dtype=np.float32)
    allowed = None if share == 1 else np.random.default_rng(0).random(len(vectors_ID)) < share
    item_M = np.array([1, 3, 4999, 4000][: len(added)], dtype=np.int64)
    extra = LogitCorrections(np.zeros(len(added), dtype=np.int64), item_M, np.array(added, dtype=np.float32))
    expected = pairs(ExactIndex(vectors_ID).search(query_BD, 20, allowed, extra))
    monkeypatch.setattr(QuantizedVectors, "bounds", lambda self, asked_B: iter(()))
    monkeypatch.setattr(ExactIndex, "search", None)
    assert pairs(index.search(query_BD, 20, allowed, extra)) == expected


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e38])
@pytest.mark.parametrize("where", ["vectors", "query", "additions"])
def test_what_is_no_number_or_too_large_is_answered_as_by_the_exact_index(bad: float, where: str) -> None:
    vectors_ID, query_BD = shop(), shop(3, seed=4)
    extra = LogitCorrections(np.array([0, 1]), np.array([7, 9]), np.array([1.0, 2.0], dtype=np.float32))
    {"vectors": vectors_ID, "query": query_BD, "additions": extra.value_M[None]}[where][0, 1] = bad
    asked = Asked(vectors_ID, query_BD, 5, None, extra)
    with np.errstate(all="ignore"):
        quick, exact = asked.found(QuantizedIndex(vectors_ID, fewest=1)), asked.found(ExactIndex(vectors_ID))
    assert np.array_equal(quick[0], exact[0])
    assert np.array_equal(quick[1], exact[1], equal_nan=True)


@pytest.mark.parametrize(("items", "width"), [(FEWEST - 1, 3), (FEWEST, 0), (FEWEST, WIDEST + 1)])
def test_small_catalogues_and_very_wide_vectors_are_not_scanned(items: int, width: int) -> None:
    index = QuantizedIndex(np.ones((items, width), dtype=np.float32))
    assert index._rounded is None
    assert index.search(np.ones((1, width), dtype=np.float32), 2)[0].tolist() == [[1, 2]]


def test_the_widest_vectors_are_scanned() -> None:
    vectors_ID = shop(1500, WIDEST)
    query_BD = vectors_ID[[3, 700]]
    index = QuantizedIndex(vectors_ID, fewest=1)
    index._exact = NeverAsked()  # type: ignore[assignment]
    asked = Asked(vectors_ID, query_BD, 1, None, None)
    assert pairs(asked.found(index)) == best_of(asked)


@pytest.mark.parametrize(("queries", "scanned"), [(BATCH, True), (BATCH + 1, False)])
def test_many_questions_at_once_to_a_catalogue_of_middle_size_share_one_product(
    queries: int, scanned: bool
) -> None:
    index = QuantizedIndex(shop(FEWEST))
    if scanned:
        index._exact = NeverAsked()  # type: ignore[assignment]
    else:
        index._rounded = None
    assert QuantizedIndex(shop(FEWEST)).search(shop(queries, seed=7), 3)[0].tolist() == (
        index.search(shop(queries, seed=7), 3)[0].tolist()
    )


def test_no_queries_have_no_answers() -> None:
    index_Bk, score_Bk = QuantizedIndex(shop()).search(np.empty((0, 16), dtype=np.float32), 2)
    assert index_Bk.shape == score_Bk.shape == (0, 2)


def test_several_threads_may_search_at_once() -> None:
    index, query_BD = QuantizedIndex(shop(20_000)), shop(64, seed=6)
    expected = [pairs(index.search(query_BD[row : row + 1], 5))[0] for row in range(64)]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda row: pairs(index.search(query_BD[row : row + 1], 5))[0], range(64)))
    assert found == expected


def test_the_quick_index_is_an_index() -> None:
    assert isinstance(QuantizedIndex(shop(3)), Index)
