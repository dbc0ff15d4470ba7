"""Each expectation is written as the arithmetic it comes from."""

import pickle
from math import log2

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reprise.errors import ConfigError
from reprise.evaluation.metrics import (
    METRICS,
    Metric,
    all_metrics,
    check_metrics,
    find_metric,
    parse_metric,
    resolve_ties,
    with_metric,
)
from reprise.evaluation.ranking.tiles import MISS

RECALL, HIT, MRR, NDCG = METRICS


def one(metric: Metric, greater: int, equal: int, k: int) -> float:
    return float(metric.at(np.array([greater]), np.array([equal]), k)[0])


def test_rank_one_has_gain_one():
    """Nothing above, nothing equal -> 1 for every metric."""
    assert [one(metric, 0, 0, 10) for metric in METRICS] == [1, 1, 1, 1]


def test_rank_three():
    """Two items above -> rank 3."""
    assert one(RECALL, 2, 0, 3) == 1
    assert one(MRR, 2, 0, 3) == pytest.approx(1 / 3)
    assert one(NDCG, 2, 0, 3) == pytest.approx(1 / log2(3 + 1))


def test_a_rank_below_the_list_has_gain_zero():
    """Rank 3 in a list of 2 -> 0."""
    assert [one(metric, 2, 0, 2) for metric in METRICS] == [0, 0, 0, 0]


def test_ties_across_the_end_of_the_list():
    """One above, two equal -> rank 2, 3 or 4, equally likely; a list of 3 holds two of the three."""
    assert one(RECALL, 1, 2, 3) == pytest.approx(2 / 3)
    assert one(MRR, 1, 2, 3) == pytest.approx((1 / 2 + 1 / 3) / 3)
    assert one(NDCG, 1, 2, 3) == pytest.approx((1 / log2(3) + 1 / log2(4)) / 3)


def test_equal_scores_give_the_value_of_chance():
    """Ten items with one score -> recall@4 is 4 / 10."""
    assert one(RECALL, 0, 9, 4) == pytest.approx(4 / 10)


def test_a_miss_has_gain_zero():
    assert [one(metric, MISS, 0, 20) for metric in METRICS] == [0, 0, 0, 0]


def test_misses_in_int32_do_not_overflow():
    """Ranks are stored in 32 bits, where MISS + 1 is negative."""
    assert MRR.at(np.array([MISS], np.int32), np.array([0], np.int32), 5) == [0]


def test_best_and_worst_ties():
    """Two above and three equal: rank 3 at best, 6 at worst."""
    greater, equal = np.array([2]), np.array([3])
    assert MRR.at(*resolve_ties(greater, equal, "best"), 10) == pytest.approx(1 / 3)
    assert MRR.at(*resolve_ties(greater, equal, "worst"), 10) == pytest.approx(1 / 6)
    assert MRR.at(*resolve_ties(greater, equal, "average"), 10) == pytest.approx(
        (1 / 3 + 1 / 4 + 1 / 5 + 1 / 6) / 4
    )


def test_worst_ties_keep_misses():
    greater, equal = resolve_ties(np.array([MISS]), np.array([0]), "worst")
    assert RECALL.at(greater, equal, 5) == [0]


@given(st.integers(0, 30), st.integers(0, 30), st.integers(1, 25), st.sampled_from(METRICS))
def test_the_expected_gain_is_the_mean_over_all_orders(greater: int, equal: int, k: int, metric: Metric):
    gains = [
        float(metric.gain(np.array([float(rank)]))[0]) if rank <= k else 0.0
        for rank in range(greater + 1, greater + equal + 2)
    ]
    found = metric.at(np.array([greater]), np.array([equal]), k)
    assert found == pytest.approx(sum(gains) / len(gains))


def test_keys_are_metric_at_k():
    found = all_metrics(np.array([0]), np.array([0]), (1, 5))
    assert list(found) == [
        "recall@1", "hit@1", "mrr@1", "ndcg@1", "recall@5", "hit@5", "mrr@5", "ndcg@5",
    ]  # fmt: skip


def test_a_built_in_metric_is_found_by_its_name():
    assert find_metric("ndcg") is NDCG
    assert parse_metric("ndcg@10") == (NDCG, 10)
    assert parse_metric("ndcg@10").key == "ndcg@10"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ndgc@10", "unknown metric 'ndgc' (write your own as `module:NAME`); did you mean 'ndcg'?"),
        ("mrr", "metric 'mrr' has no list length; write mrr@10, for instance"),
        ("mrr@", "metric 'mrr@' has no list length; write mrr@10, for instance"),
        ("mrr@05", "metric 'mrr@05' has no list length; write mrr@10, for instance"),
        (
            "reprise:Recurrent@5",
            "reprise:Recurrent is not a metric; it must be an object of class reprise.evaluation.Metric",
        ),
    ],
)
def test_names_that_are_not_metrics(text: str, message: str):
    with pytest.raises(ConfigError) as error:
        parse_metric(text)
    assert str(error.value) == message


@pytest.mark.parametrize("name", ["", "rbp@10", "my metric"])
def test_a_metric_name_is_an_identifier(name: str):
    with pytest.raises(ConfigError, match="a metric's name must be an identifier such as 'rbp', got"):
        Metric(name, np.ones_like)


def test_a_metric_cannot_take_the_name_of_a_list_measure():
    with pytest.raises(ConfigError, match="'coverage' is the name of a measure of lists"):
        Metric("coverage", np.ones_like)


def test_metrics_have_distinct_names():
    with pytest.raises(ConfigError, match="two metrics are named 'mrr'; give each its own name"):
        check_metrics((*METRICS, Metric("mrr", np.ones_like)))
    with pytest.raises(ConfigError, match="metrics is empty"):
        check_metrics(())
    with pytest.raises(ConfigError, match="metrics must be Metric objects, got 'mrr'"):
        check_metrics(("mrr",))  # type: ignore[arg-type]


def test_a_metric_is_added_once():
    own = Metric("own", np.ones_like)
    assert with_metric(METRICS, MRR) == METRICS
    assert with_metric(METRICS, own) == (*METRICS, own)


def test_built_in_metrics_can_be_pickled():
    assert pickle.loads(pickle.dumps(METRICS)) == METRICS
