"""A lower bound on epsilon from one training run in which each of many canaries was inserted with probability 1/2.

Shape letters: N canaries.
"""

from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit
from scipy.stats import binom

from reprise.arrays import AnyArray, Float64Array

DELTA = 1e-5
"""Default delta of the guarantee that is refuted."""
SHARES = (1.0, 0.5, 0.25, 0.125)
"""Shares of the canaries about which a guess is made; the others are abstained from. Fixed before anything is measured."""
LARGEST_EPSILON = 50.0
"""Upper end of the search; no realistic number of canaries refutes more."""


class EpsilonBound(NamedTuple):
    """A lower bound on epsilon: with confidence `level` the training is not (e, delta)-private for any smaller e."""

    epsilon: float
    """The bound; 0 if the guesses do not refute anything."""
    delta: float
    """Delta of the guarantee."""
    level: float
    """Confidence level."""
    canaries: int
    """Number of canaries, inserted or not."""
    guesses: int
    """Number of guesses of the best share."""
    correct: int
    """Number of correct guesses."""
    largest: float
    """The bound if all guesses about all canaries had been correct: more cannot be shown with this number of canaries."""

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as JSON values."""
        return self._asdict()


def epsilon_lower_bound(
    inserted_N: AnyArray, score_N: Float64Array, *, delta: float = DELTA, level: float = 0.95
) -> EpsilonBound:
    """Return a lower bound on the epsilon of a training run.

    Steinke, Nasr and Jagielski, "Privacy auditing with one (1) training run" (2023), algorithm 1: the auditor guesses
    "inserted" for the canaries with the highest scores, "left out" for as many with the lowest, and abstains from the rest.
    The number of guesses has to be fixed beforehand. Here there are four (`SHARES`), each at a quarter of the error
    probability, and the best bound is taken (union bound).

    Args:
        inserted_N: Whether each canary was inserted, by independent fair coins.
        score_N: Scores; higher means inserted. Ties are broken by the order of the canaries, which says nothing about them.
        delta: Delta of the guarantee.
        level: Confidence level of the bound.
    """
    order_N = np.argsort(score_N, kind="stable")
    error = (1 - level) / len(SHARES)
    canaries, best = len(order_N), (0.0, 0, 0)
    for share in SHARES:
        half = int(share * canaries) // 2
        correct = int((~inserted_N[order_N[:half]]).sum() + inserted_N[order_N[canaries - half :]].sum())
        best = max(best, (refuted_epsilon(canaries, 2 * half, correct, delta, error), 2 * half, correct))
    half = canaries // 2
    largest = refuted_epsilon(canaries, 2 * half, 2 * half, delta, error)
    return EpsilonBound(best[0], delta, level, canaries, best[1], best[2], largest)


def refuted_epsilon(canaries: int, guesses: int, correct: int, delta: float, error: float) -> float:
    """Return the largest epsilon whose guarantee is refuted by this many correct guesses, at an error probability."""
    if not guesses or guess_probability(canaries, guesses, correct, 0.0, delta) >= error:
        return 0.0

    def excess(epsilon: float) -> float:
        return guess_probability(canaries, guesses, correct, epsilon, delta) - error

    if excess(LARGEST_EPSILON) < 0:
        return LARGEST_EPSILON
    found = brentq(excess, 0.0, LARGEST_EPSILON, xtol=1e-6)
    return max(0.0, float(found) - 1e-6)  # rounded down, because it is a lower bound


def guess_probability(canaries: int, guesses: int, correct: int, epsilon: float, delta: float) -> float:
    """Return a bound on the probability of at least this many correct guesses under (epsilon, delta)-privacy.

    The theorem for approximate privacy of Steinke, Nasr and Jagielski (2023, arXiv 2305.08846, section 5), in the form in
    which their appendix computes it. Without delta, guesses are no better than those of randomised response: the number of
    correct ones is dominated by B ~ Binomial(r, e^epsilon / (1 + e^epsilon)), so the probability of v or more is at most
    P[B >= v]. For m canaries, delta adds 2 m delta max over i of P[v > B >= v - i] / i: in the cases that delta allows, i
    guesses more than under pure privacy may be correct.
    """
    q = float(expit(epsilon))
    beta = float(binom.sf(correct - 1, guesses, q))
    if not correct or not delta:
        return min(1.0, beta)
    below = binom.pmf(
        np.arange(correct - 1, -1, -1), guesses, q
    ).cumsum()  # P[v > B >= v - i] for i = 1, 2, ..., v
    alpha = float((below / np.arange(1, correct + 1)).max())
    return min(1.0, beta + 2 * canaries * delta * alpha)
