import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from reprise.data.vocabulary import PAD
from reprise.recommender.search import exact_index
from reprise.recommender.search.exact_index import ExactIndex, Index, kth_lower_bound
from reprise.recommender.search.logit_corrections import LogitCorrections


def by_sorting(score_BI: np.ndarray, k: int) -> list[list[tuple[int, float]]]:
    """Return the specified result of each row, by sorting Python numbers."""
    results = []
    for row in score_BI.tolist():
        finite = [(item, score) for item, score in enumerate(row, 1) if score > -np.inf]
        best = sorted(finite, key=lambda pair: (-pair[1], pair[0]))[:k]
        results.append(best + [(PAD, -np.inf)] * (k - len(best)))
    return results


@given(
    query_BD=arrays(np.float32, (3, 2), elements=st.integers(-2, 2)),
    vectors_ID=arrays(np.float32, (9, 2), elements=st.integers(-2, 2)),
    allowed=arrays(np.bool_, (3, 9)),
    k=st.integers(1, 9),
)
def test_the_best_allowed_items_come_first_and_ties_are_in_index_order(
    query_BD: np.ndarray, vectors_ID: np.ndarray, allowed: np.ndarray, k: int
) -> None:
    found = ExactIndex(vectors_ID).search(query_BD, k, allowed)
    score_BI = np.where(allowed, query_BD @ vectors_ID.T, -np.inf)
    results = [
        list(zip(i, s, strict=True)) for i, s in zip(found[0].tolist(), found[1].tolist(), strict=True)
    ]
    assert results == by_sorting(score_BI, k)


@given(
    query_BD=arrays(np.float32, (3, 2), elements=st.integers(-2, 2)),
    vectors_ID=arrays(np.float32, (9, 2), elements=st.integers(-2, 2)),
    added_BI=arrays(np.float32, (3, 9), elements=st.integers(-3, 3)),
    allowed=arrays(np.bool_, (3, 9)),
    k=st.integers(1, 9),
)
def test_corrections_are_added_to_the_products(
    query_BD: np.ndarray, vectors_ID: np.ndarray, added_BI: np.ndarray, allowed: np.ndarray, k: int
) -> None:
    row_M, column_M = np.nonzero(added_BI)
    corrections = LogitCorrections(row_M, column_M + 1, added_BI[row_M, column_M])
    found = ExactIndex(vectors_ID).search(query_BD, k, allowed, corrections)
    score_BI = np.where(allowed, query_BD @ vectors_ID.T + added_BI, -np.inf)
    results = [
        list(zip(i, s, strict=True)) for i, s in zip(found[0].tolist(), found[1].tolist(), strict=True)
    ]
    assert results == by_sorting(score_BI, k)


def test_one_mask_can_apply_to_all_queries() -> None:
    vectors_ID = np.eye(3, dtype=np.float32)
    index_Bk, score_Bk = ExactIndex(vectors_ID).search(
        np.ones((2, 3), dtype=np.float32), 2, np.array([True, False, True])
    )
    assert index_Bk.tolist() == [[1, 3], [1, 3]]
    assert score_Bk.tolist() == [[1, 1], [1, 1]]


def test_searching_in_blocks_gives_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    index = ExactIndex(generator.standard_normal((50, 4)).astype(np.float32))
    query_BD = generator.standard_normal((23, 4)).astype(np.float32)
    allowed_BI = generator.random((23, 50)) < 0.5
    row_M, column_M = np.nonzero(generator.random((23, 50)) < 0.1)
    corrections = LogitCorrections(
        row_M, column_M + 1, generator.standard_normal(len(row_M)).astype(np.float32)
    )
    whole = index.search(query_BD, 5, allowed_BI, corrections)
    monkeypatch.setattr(exact_index, "MAX_SCORES", 3 * 50)
    blocks = index.search(query_BD, 5, allowed_BI, corrections)
    assert np.array_equal(whole[0], blocks[0])
    assert np.allclose(whole[1], blocks[1], atol=1e-6)


@given(
    score_BI=arrays(np.float32, (2, 5000), elements=st.integers(-50, 50)),
    k=st.integers(1, 20),
)
def test_the_bound_of_the_kth_largest_score_is_not_above_it(score_BI: np.ndarray, k: int) -> None:
    assert (kth_lower_bound(score_BI, k) <= np.sort(score_BI, axis=1)[:, -k]).all()


def test_no_queries_give_no_results() -> None:
    index_Bk, score_Bk = ExactIndex(np.eye(3, dtype=np.float32)).search(np.empty((0, 3), dtype=np.float32), 2)
    assert index_Bk.shape == score_Bk.shape == (0, 2)


def test_the_exact_index_implements_index() -> None:
    assert isinstance(ExactIndex(np.eye(2, dtype=np.float32)), Index)
