"""Metrics of one target each, as functions of how many items score higher and how many score the same.

Shape letters: N targets, K places of a list. There is one right item per target, so recall@k equals hit@k and
the ideal DCG is 1. Ties: the target is equally likely at each place among its equals, and a metric is its
expected value.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np

from reprise.arrays import AnyArray

Ties = Literal["average", "best", "worst"]
TIES: tuple[Ties, ...] = ("average", "best", "worst")

Gain = Callable[[AnyArray], AnyArray]
"""What a target is worth at each of the ranks 1..K."""

GAINS: dict[str, Gain] = {
    "recall": np.ones_like,
    "hit": np.ones_like,
    "mrr": lambda rank_K: 1.0 / rank_K,
    "ndcg": lambda rank_K: 1.0 / np.log2(rank_K + 1.0),
}
"""Every metric of a rank, by name: a new one is one more line."""


def resolve_ties(greater_N: AnyArray, equal_N: AnyArray, ties: Ties) -> tuple[AnyArray, AnyArray]:
    """The counts after the rule for ties: unchanged for 'average', else the target is put first or last."""
    if ties == "average":
        return greater_N, equal_N
    return (greater_N if ties == "best" else greater_N + equal_N), np.zeros_like(equal_N)


def expected_gain(gain: Gain, greater_N: AnyArray, equal_N: AnyArray, k: int) -> AnyArray:
    """The expected gain within the first `k` places, [N], float64.

    The rank is one of `greater + 1`..`greater + equal + 1`, each as likely, so the expectation is a difference
    of two prefix sums of the gain (McSherry and Najork, "Computing information retrieval performance measures
    efficiently in the presence of tied scores", 2008).

    Args:
        gain: Worth of each rank.
        greater_N: How many items score higher; `ranks.MISS` where the target has no rank.
        equal_N: How many other items score the same.
        k: Length of the list.
    """
    worth_K = gain(np.arange(1, k + 1, dtype=np.float64))
    prefix = np.concatenate([[0.0], np.cumsum(worth_K)])
    places_N = equal_N.astype(np.int64) + 1
    best_N = greater_N.astype(np.int64)
    inside_N: AnyArray = prefix[np.minimum(best_N + places_N, k)] - prefix[np.minimum(best_N, k)]
    return inside_N / places_N


def recall(greater_N: AnyArray, equal_N: AnyArray, k: int) -> AnyArray:
    """Whether the target is among the first `k`; with one target per position the same as `hit`."""
    return expected_gain(GAINS["recall"], greater_N, equal_N, k)


def hit(greater_N: AnyArray, equal_N: AnyArray, k: int) -> AnyArray:
    """Whether the list holds the target at all: hit rate, equal to recall here."""
    return expected_gain(GAINS["hit"], greater_N, equal_N, k)


def mrr(greater_N: AnyArray, equal_N: AnyArray, k: int) -> AnyArray:
    """One over the rank, 0 below place `k`."""
    return expected_gain(GAINS["mrr"], greater_N, equal_N, k)


def ndcg(greater_N: AnyArray, equal_N: AnyArray, k: int) -> AnyArray:
    """1 / log2(rank + 1), 0 below place `k`."""
    return expected_gain(GAINS["ndcg"], greater_N, equal_N, k)


def all_metrics(greater_N: AnyArray, equal_N: AnyArray, at: tuple[int, ...]) -> dict[str, AnyArray]:
    """Every metric of `GAINS` at every k, [N] each, named as in reports: 'recall@20'."""
    return {
        f"{name}@{k}": expected_gain(gain, greater_N, equal_N, k) for k in at for name, gain in GAINS.items()
    }
