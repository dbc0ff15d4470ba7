"""A sequential A/B test: it may be looked at each day, and stopped at any look, with the same error rate.

Shape letters: U users, L looks.
"""

import math
from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from scipy import stats

from reprise.argument_checks import whole
from reprise.arrays import BoolArray, Float64Array, Int64Array
from reprise.errors import ConfigError
from reprise.feedback.outcomes import DAY_MS, Outcomes
from reprise.feedback.user_ratios import RatioEstimate, check_level

FEWEST_USERS = 100
"""Number of users that each variant must have before a look counts: the test relies on a normal approximation."""


class VariantTest(NamedTuple):
    """Comparison of a variant with the first one."""

    first: str
    """Name of the variant that serves as the reference."""
    second: str
    """Name of the other variant."""
    users: tuple[int, int]
    """Number of users of both variants whose time is complete."""
    means: tuple[float, float] | None
    """Responses per user of both variants; None: one of them has no users."""
    difference: RatioEstimate | None
    """Second minus first mean, with the confidence sequence up to now. Without bounds until both have enough users."""
    p_value: float
    """Always-valid p value, corrected for the number of variants."""
    looks: int
    """Number of looks that counted."""
    decided: bool
    """Whether a difference was shown at one of the looks: its interval did not contain 0."""


class Assignment(NamedTuple):
    """Users of a test, those with one variant, in the order in which their time completes."""

    variant_U: list[str]
    """Variant of each user."""
    value_U: Float64Array
    """Number of responses of each user in the user's time."""
    complete_ms_U: Int64Array
    """When the user's time was complete, in milliseconds since 1970."""
    mixed: int
    """Number of users who had several variants, as after a change of the split. They are left out."""


def mixture_scale(level: float, planned: int) -> float:
    """Return the variance of the mixture with which the interval is narrowest at a number of users.

    Waudby-Smith et al. 2024, appendix B.2.
    """
    alpha = 1 - level
    return (-2 * math.log(alpha) + math.log(-2 * math.log(alpha) + 1)) / planned


def confidence_sequence(
    difference: float, variance: float, users: int, level: float, scale: float
) -> tuple[float, float]:
    """Return the half width of a time-uniform interval of a mean and the p value of a mean of 0.

    The asymptotic confidence sequence by the normal mixture of Robbins: Waudby-Smith et al. 2024, "Time-uniform central limit
    theory and asymptotic confidence sequences", equation 3. It is the boundary of Howard et al. 2021, "Time-uniform,
    nonparametric, nonasymptotic confidence sequences", equation 14, with an estimated variance, and inverts the mSPRT.

    Args:
        difference: Estimated mean.
        variance: Variance of the estimate times the number of users.
        users: Number of users up to now.
        level: Confidence level over all looks together.
        scale: Variance of the mixture, from `mixture_scale`.
    """
    alpha = 1 - level
    grown = users * scale + 1
    half = math.sqrt(variance * grown / (users**2 * scale) * math.log(grown / alpha**2))
    if variance == 0:
        return half, 1.0
    exponent = users**2 * scale * difference**2 / (2 * variance * grown)
    return half, min(1.0, math.exp(min(0.0, 0.5 * math.log(grown) - exponent)))


def assign_users(
    outcomes: Outcomes, kind: str | None = None, follow_ms: int = DAY_MS, window_ms: int = DAY_MS
) -> Assignment:
    """Return the users of a test with the number of their responses in an equally long time for each.

    The time of a user starts with the first answer and takes `follow_ms`, and `window_ms` for the responses to the last of
    the answers. Users are independent of each other, which visits of one user are not.
    """
    start: dict[int, int] = {}
    names: defaultdict[int, set[str]] = defaultdict(set)
    responded_N = outcomes.responded(kind)
    response_A = np.bincount(outcomes.answer_N, responded_N, len(outcomes.answers))
    known = [place for place, answer in enumerate(outcomes.answers) if answer.variant and answer.user_hash]
    number_of: dict[str, int] = {}
    user = {place: number_of.setdefault(outcomes.answers[place].user_hash, len(number_of)) for place in known}
    for place in known:
        answer = outcomes.answers[place]
        start[user[place]] = min(start.get(user[place], answer.time_ms), answer.time_ms)
        names[user[place]].add(str(answer.variant))
    value: defaultdict[int, float] = defaultdict(float)
    for place in known:
        if outcomes.answers[place].time_ms < start[user[place]] + follow_ms:
            value[user[place]] += float(response_A[place])
    single = sorted((one for one in start if len(names[one]) == 1), key=lambda one: (start[one], one))
    return Assignment(
        [next(iter(names[one])) for one in single],
        np.array([value[one] for one in single], np.float64),
        np.array([start[one] + follow_ms + window_ms for one in single], np.int64),
        len(start) - len(single),
    )


def compare_variants(
    assignment: Assignment, now_ms: int, *, level: float = 0.95, planned: int = 10_000, every_ms: int = DAY_MS
) -> list[VariantTest]:
    """Compare each variant with the first one, with a look each day up to a time.

    The probability that any look at any of the comparisons ever excludes the true difference is at most 1 - level (with
    Bonferroni's correction for several variants), for many users. Calling this each day and stopping at a decision is valid.
    Keep `level`, `planned` and `every_ms` from the first look to the last.

    Args:
        assignment: Users of the test.
        now_ms: Time of the last look, in milliseconds since 1970. Users whose time is not complete then do not count.
        level: Confidence level.
        planned: Number of users at which the test is strongest.
        every_ms: Time between two looks, in milliseconds.

    Raises:
        ConfigError: an argument is out of range.
    """
    level, planned = check_level(level), whole("planned", planned)
    every_ms = whole("every_ms", every_ms)
    variant_U = np.array(assignment.variant_U)
    names = sorted(set(assignment.variant_U))
    if len(names) < 2:
        return []
    corrected = 1 - (1 - level) / (len(names) - 1)
    look_L = _looks(assignment.complete_ms_U, now_ms, every_ms)
    found = []
    for second in names[1:]:
        pair_U = (variant_U == names[0]) | (variant_U == second)
        one = _compare(
            (names[0], second),
            variant_U[pair_U] == second,
            assignment.value_U[pair_U],
            np.searchsorted(assignment.complete_ms_U[pair_U], look_L, side="right"),
            (corrected, mixture_scale(level, planned)),
        )
        found.append(one._replace(p_value=min(1.0, one.p_value * (len(names) - 1))))
    return found


def share_p_value(assignment: Assignment, shares: Mapping[str, float]) -> float:
    """Return the p value of a sample ratio mismatch: whether the users are split as configured (chi-square test).

    A small value means that the split, or the logging of it, is broken, and that the comparison must not be trusted.

    Raises:
        ConfigError: the shares do not name the variants of the users.
    """
    names = sorted({*assignment.variant_U})
    missing = [name for name in names if not shares.get(name)]
    if missing:
        raise ConfigError(
            f"the split has no share for the variant {missing[0]!r}; pass the split of the server"
        )
    count = [assignment.variant_U.count(name) for name in sorted(shares)]
    total = sum(shares.values())
    return float(
        stats.chisquare(count, [shares[name] / total * sum(count) for name in sorted(shares)]).pvalue
    )


def _looks(complete_ms_U: Int64Array, now_ms: int, every_ms: int) -> Int64Array:
    """Return the ends of the periods since 1970 at which users are complete, and the present time."""
    if not len(complete_ms_U) or now_ms < complete_ms_U[0]:
        return np.zeros(0, np.int64)
    first = (int(complete_ms_U[0]) // every_ms + 1) * every_ms
    return np.array([*range(first, now_ms, every_ms), now_ms], np.int64)


def _compare(
    names: tuple[str, str], second_U: BoolArray, value_U: Float64Array,
    count_L: Int64Array, settings: tuple[float, float],
) -> VariantTest:  # fmt: skip
    """Look at the first users in turn, and intersect the intervals."""
    low, high, p_value, looks = -math.inf, math.inf, 1.0, 0
    users: tuple[int, int] = (0, 0)
    means: tuple[float, float] | None = None
    for count in np.unique(count_L).tolist():
        parts = value_U[:count][~second_U[:count]], value_U[:count][second_U[:count]]
        users = len(parts[0]), len(parts[1])
        if min(users) < 1:
            continue
        means = float(parts[0].mean()), float(parts[1].mean())
        if min(users) < FEWEST_USERS:
            continue
        looks += 1
        variance = count * sum(float(part.var(ddof=1)) / len(part) for part in parts)
        half, p_now = confidence_sequence(means[1] - means[0], variance, count, *settings)
        low, high = max(low, means[1] - means[0] - half), min(high, means[1] - means[0] + half)
        p_value = min(p_value, p_now)
    difference = None
    if means is not None:
        difference = RatioEstimate(means[1] - means[0], *((low, high) if looks else (None, None)))
    return VariantTest(*names, users, means, difference, p_value, looks, p_value <= 1 - settings[0])
