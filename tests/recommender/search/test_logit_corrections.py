import numpy as np

from reprise.recommender.search.logit_corrections import LogitCorrections

CORRECTIONS = LogitCorrections(
    np.array([0, 0, 2, 2]), np.array([7, 3, 1, 7]), np.array([0.5, 1.0, 2.0, 4.0], dtype=np.float32)
)


def test_rows_are_counted_from_the_first_one() -> None:
    assert [one.tolist() for one in CORRECTIONS.rows(1, 3)] == [[1, 1], [1, 7], [2.0, 4.0]]


def test_some_queries_keep_their_corrections() -> None:
    assert [one.tolist() for one in CORRECTIONS.take(np.array([1, 2]))] == [[1, 1], [1, 7], [2.0, 4.0]]
    assert [one.tolist() for one in CORRECTIONS.take(np.array([1]))] == [[], [], []]
    assert [one.tolist() for one in CORRECTIONS.take(np.array([], dtype=np.int64))] == [[], [], []]


def test_an_item_without_a_correction_has_zero() -> None:
    item_BN = np.array([[3, 7, 3], [7, 3, 1], [9, 0, 7]])
    assert CORRECTIONS.of_items(item_BN).tolist() == [[1.0, 0.5, 1.0], [0, 0, 0], [0, 0, 4.0]]
    assert CORRECTIONS.take(np.array([1])).of_items(item_BN[:1]).tolist() == [[0, 0, 0]]
