"""Searches with a mixture that replaces the scores of recent items: they equal a sort of all scores, up to rounding."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from searches import Search, check_mixed, random_mixture, searches

from reprise.data.vocabulary import PAD
from reprise.recommender.search.exact_index import ExactIndex
from reprise.recommender.search.pointer_mixture import PointerMixture
from reprise.recommender.search.quantized_index import QuantizedIndex


@given(searches(), st.sampled_from([-30.0, -3.0, 0.0, 3.0]), st.integers(0, 9))
def test_both_indices_find_the_best_mixed_scores(search: Search, gate: float, seed: int) -> None:
    queries, items = len(search.query_BD), len(search.vectors_ID)
    mixture = random_mixture(np.random.default_rng(seed), queries, items, gate)
    check_mixed(ExactIndex(search.vectors_ID), search, mixture)
    check_mixed(QuantizedIndex(search.vectors_ID, min_items=1), search, mixture)


class UnusedIndex:
    """An index that must not be called."""

    def search(self, *arguments: object) -> None:
        raise AssertionError("all scores were computed")


@pytest.mark.parametrize("density", [None, 0.001, 0.1, 0.9])
@pytest.mark.parametrize("gate", [-20.0, 1.0])
@pytest.mark.parametrize("k", [1, 10, 100])
def test_large_catalogues_do_not_need_all_scores(density: float | None, gate: float, k: int) -> None:
    """With gate -20 and a shift of -8 the best items go down, and others take their places."""
    generator = np.random.default_rng(1)
    vectors_ID = generator.standard_normal((20_011, 16)).astype(np.float32)
    query_BD = generator.standard_normal((5, 16)).astype(np.float32)
    allowed_I = None if density is None else generator.random(len(vectors_ID)) < density
    index = QuantizedIndex(vectors_ID, min_items=1)
    index._exact = UnusedIndex()  # type: ignore[assignment]
    best_BW = ExactIndex(vectors_ID).search(query_BD, 12, allowed_I)[0]
    mixture = random_mixture(generator, 5, len(vectors_ID), gate)._replace(item_BW=best_BW, shift=-8.0)
    mixture = mixture._replace(pointer_BW=generator.standard_normal(best_BW.shape))
    check_mixed(index, Search(vectors_ID, query_BD, k, allowed_I, None), mixture)


def test_bounds_are_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(2)
    vectors_ID = generator.standard_normal((5000, 16)).astype(np.float32)
    query_BD = generator.standard_normal((3, 16)).astype(np.float32)
    index = QuantizedIndex(vectors_ID, min_items=1)
    assert index._quantized is not None
    products: list[int] = []
    product = index._quantized._product
    monkeypatch.setattr(
        index._quantized, "_product", lambda code_BD: products.append(len(code_BD)) or product(code_BD)
    )
    mixture = random_mixture(generator, 3, 5000, 0.0)
    index.search(query_BD, 10, generator.random(5000) < 0.3, None, mixture)
    assert products == [3]


def test_a_mixture_of_excluded_items_does_no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(3)
    vectors_ID = generator.standard_normal((5000, 16)).astype(np.float32)
    query_BD = generator.standard_normal((3, 16)).astype(np.float32)
    mixture = random_mixture(generator, 3, 5000, 0.0)
    allowed_I = np.ones(5000, dtype=np.bool_)
    allowed_I[mixture.item_BW[mixture.item_BW != PAD] - 1] = False
    monkeypatch.setattr(PointerMixture, "mixed", None)
    for index in (ExactIndex(vectors_ID), QuantizedIndex(vectors_ID, min_items=1)):
        found, plain = (
            index.search(query_BD, 9, allowed_I, None, mixture),
            index.search(query_BD, 9, allowed_I),
        )
        assert np.array_equal(found[0], plain[0]) and np.array_equal(found[1], plain[1])
