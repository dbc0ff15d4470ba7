"""Searches with all kinds of vectors, masks and corrections, and their results by sorting all scores."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st

from reprise.data.vocabulary import PAD
from reprise.recommender.search.exact_index import Index, SearchResult
from reprise.recommender.search.logit_corrections import LogitCorrections
from reprise.recommender.search.pointer_mixture import NO_ITEM, NORMALISER_ITEMS, PointerMixture


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


def random_corrections(
    generator: np.random.Generator, queries: int, items: int, scale: float
) -> LogitCorrections:
    row_M, column_M = np.nonzero(generator.random((queries, items)) < generator.random())
    return LogitCorrections(
        row_M, column_M + 1, (scale * generator.standard_normal(len(row_M))).astype(np.float32)
    )


def random_mixture(generator: np.random.Generator, queries: int, items: int, gate: float) -> PointerMixture:
    """Return windows of up to twelve different items; some are empty."""
    width = min(12, items)
    item_BW = np.array([generator.permutation(items)[:width] + 1 for _ in range(queries)])
    item_BW[np.arange(width) < generator.integers(width + 1, size=(queries, 1))] = PAD
    pointer_BW = np.where(item_BW == PAD, NO_ITEM, generator.standard_normal(item_BW.shape))
    gate_B = gate + generator.standard_normal(queries)
    shift = -float(generator.choice([0.0, 0.5, 8.0]))
    return PointerMixture(item_BW, pointer_BW, gate_B, 0.3, float(generator.choice([0.4, 1.0])), shift)


def check_mixed(index: Index, search: Search, mixture: PointerMixture) -> None:
    """Compare a search with a mixture with a sort of all scores."""
    dense_BI = search._replace(allowed=None).score_BI()
    mixture.apply(dense_BI, np.sort(dense_BI, axis=1)[:, -NORMALISER_ITEMS:])
    allowed_BI = np.ones(dense_BI.shape, dtype=np.bool_)
    if search.allowed is not None:
        allowed_BI &= search.allowed
    index_Bk, score_Bk = index.search(search.query_BD, search.k, search.allowed, search.corrections, mixture)
    for row, (found_k, score_k) in enumerate(zip(index_Bk, score_Bk, strict=True)):
        expected_I = np.sort(np.where(allowed_BI[row], dense_BI[row], -np.inf))[::-1][: search.k]
        magnitude = np.abs(dense_BI[row]).max(initial=1e-30)
        filled = int(np.isfinite(expected_I).sum())
        assert (found_k[filled:] == PAD).all() and len({*found_k[:filled].tolist()}) == filled
        assert allowed_BI[row, found_k[:filled] - 1].all()
        np.testing.assert_allclose(score_k[:filled], expected_I[:filled], atol=1e-5 * magnitude)
        np.testing.assert_allclose(
            score_k[:filled], dense_BI[row, found_k[:filled] - 1], atol=1e-5 * magnitude
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
    "between two codes": lambda g, i, d: np.insert(
        g.integers(-127, 127, size=(i, d - 1)) + 0.5, 0, 127, axis=1
    ),
    "opposite pairs": lambda g, i, d: (
        g.standard_normal((i, d)).repeat(2, axis=0)[:i] * (-1.0) ** np.arange(i)[:, None]
    ),
    "a few outliers": lambda g, i, d: g.standard_normal((i, d)) * np.where(g.random((i, 1)) < 0.003, 1e4, 1),
    "one dimension": lambda g, i, d: np.eye(1, d) * g.standard_normal((i, 1)),
    "very large": lambda g, i, d: g.standard_normal((i, d)) * 1e11,
}


@st.composite
def searches(draw: st.DrawFn) -> Search:
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    items, width, queries = (
        draw(st.integers(1, 200) | st.integers(500, 700)),
        draw(st.integers(1, 64)),
        draw(st.integers(1, 11)),
    )
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
    scale = draw(st.sampled_from([None, 1.0, 1e-6, 1e6, 1e11]))
    return Search(
        vectors_ID.astype(np.float32),
        query_BD.astype(np.float32),
        draw(st.sampled_from(sorted({1, min(items, 5), min(items, 30), items}))),
        masks[draw(st.sampled_from(sorted(masks)))],
        None if scale is None else random_corrections(generator, queries, items, scale),
    )
