"""Each expectation is written as the arithmetic it comes from."""

from math import log2

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reprise.evaluation.metrics import GAINS, all_metrics, expected_gain, hit, mrr, ndcg, recall, resolve_ties
from reprise.evaluation.ranking.ranks import MISS


def one(metric, greater: int, equal: int, k: int) -> float:
    return float(metric(np.array([greater]), np.array([equal]), k)[0])


def test_first_place_is_worth_one():
    """Nothing above, nothing equal -> 1 for every metric."""
    assert [one(metric, 0, 0, 10) for metric in (recall, hit, mrr, ndcg)] == [1, 1, 1, 1]


def test_third_place():
    """Two items above -> rank 3."""
    assert one(recall, 2, 0, 3) == 1
    assert one(mrr, 2, 0, 3) == pytest.approx(1 / 3)
    assert one(ndcg, 2, 0, 3) == pytest.approx(1 / log2(3 + 1))


def test_just_below_the_list():
    """Rank 3 in a list of 2 -> nothing."""
    assert [one(metric, 2, 0, 2) for metric in (recall, hit, mrr, ndcg)] == [0, 0, 0, 0]


def test_tie_over_the_edge():
    """One above, two equals -> rank 2, 3 or 4, each as likely; a list of 3 holds two of the three."""
    assert one(recall, 1, 2, 3) == pytest.approx(2 / 3)
    assert one(mrr, 1, 2, 3) == pytest.approx((1 / 2 + 1 / 3) / 3)
    assert one(ndcg, 1, 2, 3) == pytest.approx((1 / log2(3) + 1 / log2(4)) / 3)


def test_all_equal():
    """A model that scores everything alike gets what chance gets: k of I."""
    assert one(recall, 0, 9, 4) == pytest.approx(4 / 10)


def test_a_miss_is_worth_nothing():
    assert [one(metric, MISS, 0, 20) for metric in (recall, hit, mrr, ndcg)] == [0, 0, 0, 0]


def test_misses_as_small_integers_do_not_overflow():
    """Ranks are stored in 32 bits, where MISS + 1 is negative."""
    assert expected_gain(GAINS["mrr"], np.array([MISS], np.int32), np.array([0], np.int32), 5) == [0]


def test_ties_best_and_worst():
    """Two above and three equals: rank 3 at best, 6 at worst."""
    greater, equal = np.array([2]), np.array([3])
    assert mrr(*resolve_ties(greater, equal, "best"), 10) == pytest.approx(1 / 3)
    assert mrr(*resolve_ties(greater, equal, "worst"), 10) == pytest.approx(1 / 6)
    assert mrr(*resolve_ties(greater, equal, "average"), 10) == pytest.approx(
        (1 / 3 + 1 / 4 + 1 / 5 + 1 / 6) / 4
    )


def test_worst_leaves_misses_missed():
    greater, equal = resolve_ties(np.array([MISS]), np.array([0]), "worst")
    assert recall(greater, equal, 5) == [0]


@given(st.integers(0, 30), st.integers(0, 30), st.integers(1, 25), st.sampled_from(sorted(GAINS)))
def test_expectation_is_the_mean_over_all_orders(greater: int, equal: int, k: int, name: str):
    worth = [
        float(GAINS[name](np.array([float(rank)]))[0]) if rank <= k else 0.0
        for rank in range(greater + 1, greater + equal + 2)
    ]
    found = expected_gain(GAINS[name], np.array([greater]), np.array([equal]), k)
    assert found == pytest.approx(sum(worth) / len(worth))


def test_names_are_metric_at_k():
    found = all_metrics(np.array([0]), np.array([0]), (1, 5))
    assert list(found) == [
        "recall@1", "hit@1", "mrr@1", "ndcg@1", "recall@5", "hit@5", "mrr@5", "ndcg@5",
    ]  # fmt: skip
