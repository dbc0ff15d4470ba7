"""How sure a difference is: probabilities of the t distribution, and Holm's correction for many comparisons."""

import math
from collections.abc import Sequence
from functools import cache

import numpy as np

from reprise.arrays import Float64Array

NORMAL_FROM = 1e7
"""Degrees of freedom from which the t distribution is the normal one."""


@cache
def _rule() -> tuple[Float64Array, Float64Array]:
    """Nodes and weights of a Gauss-Legendre rule; to find them takes as long as many integrals."""
    nodes, weights = np.polynomial.legendre.leggauss(128)
    return nodes, weights


def two_sided(t: float, freedom: float) -> float:
    """The probability that a variable of Student's t distribution is at least as far from 0 as `t`.

    A percentile of 1,000 resamples cannot be below 0.001, and Holm's correction would make that 0.02 after 20
    comparisons; this goes as low as a difference deserves.

    Args:
        t: A difference in standard errors.
        freedom: Degrees of freedom, any number of 1 or more.
    """
    if math.isinf(t):
        return 0.0
    if freedom >= NORMAL_FROM:
        return math.erfc(abs(t) / math.sqrt(2))
    # with t = sqrt(freedom) tan(angle) the density is cos(angle) ** (freedom - 1), smooth on a short way
    begin = math.atan2(abs(t), math.sqrt(freedom))
    # above this angle, exp(-40) of the rest is left
    end = min(math.pi / 2, math.acos(math.cos(begin) * math.exp(-40 / max(freedom - 1, 1e-9))))
    nodes, weights = _rule()
    angle = begin + (nodes + 1) / 2 * (end - begin)
    inside = float((weights * np.cos(angle) ** (freedom - 1)).sum()) * (end - begin) / 2
    scale = math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2) - math.log(math.pi) / 2
    return min(1.0, 2 * math.exp(scale) * inside)


def p_value(value: float, error: float, freedom: float) -> float:
    """How often chance alone makes a difference of at least `value`, whose standard error is `error`, two-sided."""
    if error == 0:
        return 1.0 if value == 0 else 0.0
    return two_sided(value / error, freedom)


def quantile(level: float, freedom: float) -> float:
    """How many standard errors hold the middle `level` of the t distribution."""
    low, high = 0.0, 1.0
    while two_sided(high, freedom) > 1 - level:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if two_sided(middle, freedom) > 1 - level else (low, middle)
    return high


def holm(p: Sequence[float]) -> list[float]:
    """Adjusted p values: below a level, they keep the chance of even one false finding there.

    Holm, "A simple sequentially rejective multiple test procedure" (1979).
    """
    order = sorted(range(len(p)), key=lambda place: p[place])
    adjusted, highest = [0.0] * len(p), 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(p) - rank) * p[place]))
        adjusted[place] = highest
    return adjusted
