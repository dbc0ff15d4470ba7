"""Significance: p-values of the t distribution, and Holm's correction for multiple comparisons."""

from collections.abc import Sequence

from scipy.special import stdtr, stdtrit


def two_sided(t: float, degrees_of_freedom: float) -> float:
    """Return the probability that a variable with Student's t distribution is at least as far from 0 as `t`.

    A percentile of 1,000 resamples cannot be below 0.001, and Holm's correction would turn that into 0.02 after 20
    comparisons. The t distribution has no such limit.

    Args:
        t: A difference in standard errors.
        degrees_of_freedom: Any number of 1 or more.
    """
    return min(1.0, 2 * float(stdtr(degrees_of_freedom, -abs(t))))


def p_value(value: float, error: float, degrees_of_freedom: float) -> float:
    """Return the two-sided p-value of a difference `value` with the standard error `error`."""
    if error == 0:
        return 1.0 if value == 0 else 0.0
    return two_sided(value / error, degrees_of_freedom)


def quantile(level: float, degrees_of_freedom: float) -> float:
    """Return how many standard errors on each side contain the middle `level` of the t distribution."""
    return float(stdtrit(degrees_of_freedom, (1 + level) / 2))


def holm(p: Sequence[float]) -> list[float]:
    """Return p-values adjusted by Holm's method, which bounds the chance of even one false finding.

    Holm, "A simple sequentially rejective multiple test procedure" (1979): the smallest of n p-values is multiplied by n,
    the next one by n - 1 and so on, and none may be below the one before.
    """
    order = sorted(range(len(p)), key=lambda place: p[place])
    adjusted, highest = [0.0] * len(p), 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(p) - rank) * p[place]))
        adjusted[place] = highest
    return adjusted
