"""Ratios of sums over users with confidence intervals. The unit is the user: events of one user are not independent.

Shape letters: U users.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy import stats

from reprise.argument_checks import number
from reprise.arrays import Float64Array
from reprise.errors import ConfigError


class RatioEstimate(NamedTuple):
    """An estimate with its confidence interval; `low` and `high` are None if there are fewer than two users."""

    value: float
    """Estimated value."""
    low: float | None = None
    """Lower end of the interval."""
    high: float | None = None
    """Upper end of the interval."""

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"{self.value:.4f}"
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"


def check_level(level: object) -> float:
    """Return a confidence level.

    Raises:
        ConfigError: the level does not lie between 0 and 1.
    """
    checked = number("level", level)
    if not 0 < checked < 1:
        raise ConfigError(f"level must lie between 0 and 1, got {level!r}; 0.95 is usual")
    return checked


def ratio_of_sums(sum_U: Float64Array, count_U: Float64Array, level: float = 0.95) -> RatioEstimate:
    """Return sum(sum_U) / sum(count_U) with the interval of the linearised ratio over users, by Student's t.

    The variance is U / (U - 1) * sum((sum_U - ratio * count_U)^2) / sum(count_U)^2 (Cochran, "Sampling Techniques", 1977,
    equation 6.13). The sum of the counts must be above 0.
    """
    value, variance = _ratio_and_variance(sum_U, count_U)
    if len(sum_U) < 2:
        return RatioEstimate(value)
    half = float(stats.t.ppf((1 + level) / 2, len(sum_U) - 1)) * math.sqrt(variance)
    return RatioEstimate(value, value - half, value + half)


def proportion(hits_U: Float64Array, trials_U: Float64Array, level: float = 0.95) -> RatioEstimate:
    """Return sum(hits_U) / sum(trials_U), a number from 0 to 1, with a Wilson interval for the effective number of trials.

    The effective number is the number of trials divided by the design effect, the factor by which clustering in users
    increases the variance (Franco et al. 2019, "Comparative study of confidence intervals for proportions in complex sample
    surveys", section 2). Without hits, or with hits only, the variance is unknown, and each user counts as one trial.
    """
    value, variance = _ratio_and_variance(hits_U, trials_U)
    users, trials = len(hits_U), float(trials_U.sum())
    if users < 2:
        return RatioEstimate(value)
    effective = float(users)
    if 0 < value < 1:
        design_effect = max(1.0, variance * trials / (value * (1 - value)))
        effective = trials / design_effect
    z2 = float(stats.norm.ppf((1 + level) / 2)) ** 2
    centre = (value + z2 / (2 * effective)) / (1 + z2 / effective)
    half = math.sqrt(z2 * (value * (1 - value) / effective + z2 / (4 * effective**2))) / (1 + z2 / effective)
    return RatioEstimate(value, max(0.0, centre - half), min(1.0, centre + half))


def ratio_difference(
    first: tuple[Float64Array, Float64Array], second: tuple[Float64Array, Float64Array], level: float = 0.95
) -> RatioEstimate:
    """Return the difference of two ratios of sums over the same users, with the interval of the linearised difference.

    Args:
        first: Numerators and denominators of the users, [U] each.
        second: Those of the ratio that is subtracted.
        level: Confidence level.
    """
    value, rest_U = 0.0, np.zeros(len(first[0]))
    for sign, (sum_U, count_U) in ((1, first), (-1, second)):
        ratio = float(sum_U.sum()) / float(count_U.sum())
        value += sign * ratio
        rest_U = rest_U + sign * (sum_U - ratio * count_U) / float(count_U.sum())
    if len(rest_U) < 2:
        return RatioEstimate(value)
    variance = len(rest_U) / (len(rest_U) - 1) * float(np.dot(rest_U, rest_U))
    half = float(stats.t.ppf((1 + level) / 2, len(rest_U) - 1)) * math.sqrt(variance)
    return RatioEstimate(value, value - half, value + half)


def _ratio_and_variance(sum_U: Float64Array, count_U: Float64Array) -> tuple[float, float]:
    users, total = len(sum_U), float(count_U.sum())
    value = float(sum_U.sum()) / total
    rest_U = sum_U - value * count_U
    variance = users / max(1, users - 1) * float(np.dot(rest_U, rest_U)) / total**2
    return value, variance
