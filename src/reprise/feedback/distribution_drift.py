"""Drift: how far the distributions of items, kinds of events and scores have moved from those of the training.

Shape letters: B bins.
"""

import math
from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from reprise.arrays import Float64Array
from reprise.errors import DataError

SINGLE = 20
"""Number of most frequent values that have a bin of their own."""
GROUPS = 10
"""Number of bins for all other values, with about the same number of reference events each."""
MODERATE, LARGE = 0.1, 0.25
"""Values of the PSI from which a shift is usually called moderate and large (Siddiqi 2006, "Credit Risk Scorecards")."""
CHANGES = 5
"""Number of values whose shares changed most that a result names."""


class Shift(NamedTuple):
    """A value whose share changed."""

    value: str
    """The item or kind."""
    before: float
    """Share of the reference events."""
    now: float
    """Share of the current events."""


class Drift(NamedTuple):
    """Difference between a current and a reference distribution."""

    name: str
    """Name of the distribution: items, kinds or scores."""
    psi: float
    """Population stability index."""
    noise: float
    """Value that the PSI of two samples of one distribution exceeds in 5% of the cases, if events are independent."""
    ks: float | None
    """Kolmogorov-Smirnov statistic, the largest difference of the distribution functions; None for values without an order."""
    reference: int
    """Number of reference events."""
    current: int
    """Number of current events."""
    new: float
    """Share of the current events whose value the reference does not have. They do not count in the PSI."""
    changes: list[Shift]
    """Values whose shares changed most."""

    @property
    def level(self) -> Literal["none", "moderate", "large"]:
        """Size of the shift: none below 0.1 or within the noise, large from 0.25."""
        if self.psi < MODERATE or self.psi <= self.noise:
            return "none"
        return "large" if self.psi >= LARGE else "moderate"


def stability_index(reference_B: ArrayLike, current_B: ArrayLike) -> float:
    """Return the population stability index of two histograms: sum((q - p) * log(q / p)) over the shares p and q of the bins.

    It is the sum of both Kullback-Leibler divergences (Jeffreys 1946). Half an event is added to each bin, so empty bins do
    not make it infinite.

    Raises:
        DataError: the histograms differ in length or are empty.
    """
    counts = np.asarray(reference_B, np.float64), np.asarray(current_B, np.float64)
    if counts[0].shape != counts[1].shape or not counts[0].size:
        raise DataError(
            f"the histograms have {counts[0].size} and {counts[1].size} bins; pass the same bins for both, at least one"
        )
    p_B, q_B = ((count_B + 0.5) / (count_B.sum() + 0.5 * count_B.size) for count_B in counts)
    return float(np.sum((q_B - p_B) * np.log(q_B / p_B)))


def noise_limit(bins: int, reference: int, current: int, level: float = 0.95) -> float:
    """Return the quantile of the PSI of two samples of one distribution.

    The PSI divided by 1 / reference + 1 / current has about a chi-square distribution with bins - 1 degrees of freedom
    (Yurdakul & Naranjo 2020, "Statistical properties of the population stability index", theorem 1).
    """
    if bins < 2 or not reference or not current:
        return 0.0
    return float(stats.chi2.ppf(level, bins - 1)) * (1 / reference + 1 / current)


def category_drift(name: str, reference: Mapping[str, int], current: Mapping[str, int]) -> Drift:
    """Return the drift of values without an order, such as item ids, from the number of events of each value.

    The most frequent values have a bin each, and the others are put into bins by their reference frequency, so the PSI also
    shows whether popular items became more or less popular.

    Raises:
        DataError: one of the distributions is empty.
    """
    total, now = sum(reference.values()), sum(current.values())
    _check_sizes(name, total, now)
    ranking, counted = _halves(reference)
    bin_of = _bins(ranking)
    bins = max(bin_of.values()) + 1
    reference_B, current_B = np.zeros(bins), np.zeros(bins)
    for value, place in bin_of.items():
        reference_B[place] += counted[value]
        current_B[place] += current.get(value, 0)
    known = int(current_B.sum())
    shifts = [
        Shift(value, reference.get(value, 0) / total, current.get(value, 0) / now)
        for value in {*reference, *current}
    ]
    shifts.sort(key=lambda one: (-abs(one.now - one.before), one.value))
    psi = stability_index(reference_B, current_B) if known else math.inf
    return Drift(
        name,
        psi,
        noise_limit(bins, int(reference_B.sum()), known),
        None,
        total,
        now,
        1 - known / now,
        shifts[:CHANGES],
    )


def number_drift(name: str, reference: ArrayLike, current: ArrayLike) -> Drift:
    """Return the drift of numbers, such as scores: the PSI over ten bins with equal numbers of reference values, and KS.

    Raises:
        DataError: one of the samples is empty, or has values that are not finite.
    """
    before, now = (np.asarray(values, np.float64).ravel() for values in (reference, current))
    _check_sizes(name, len(before), len(now))
    if not (np.isfinite(before).all() and np.isfinite(now).all()):
        raise DataError(f"the distribution of {name} has values that are not finite; leave them out")
    edges: Float64Array = np.unique(np.quantile(before, np.linspace(0, 1, GROUPS + 1)[1:-1]))
    counts = [
        np.bincount(np.searchsorted(edges, values), minlength=len(edges) + 1) for values in (before, now)
    ]
    return Drift(
        name,
        stability_index(*counts),
        noise_limit(len(edges) + 1, len(before), len(now)),
        _ks_statistic(before, now),
        len(before),
        len(now),
        0.0,
        [],
    )


def _ks_statistic(before: Float64Array, now: Float64Array) -> float:
    both = np.sort(np.concatenate([before, now]))
    first, second = (
        np.searchsorted(np.sort(values), both, side="right") / len(values) for values in (before, now)
    )
    return float(np.abs(first - second).max())


def _halves(reference: Mapping[str, int]) -> tuple[dict[str, int], dict[str, int]]:
    """Return the counts that rank the values, and the counts that are compared.

    With few values, each has a bin of its own and both are all the events. Otherwise they are two random halves of the events:
    values that are frequent in a sample by chance are less frequent in the next one, so bins that are chosen by the compared
    events show a drift where there is none.
    """
    values = sorted(value for value, count in reference.items() if count)
    count_V = np.array([reference[value] for value in values], np.int64)
    if len(values) <= SINGLE:
        all_of_them = dict(zip(values, count_V.tolist(), strict=True))
        return all_of_them, all_of_them
    half_V = np.random.default_rng(0).binomial(count_V, 0.5)
    ranking, counted = (
        dict(zip(values, part_V.tolist(), strict=True)) for part_V in (half_V, count_V - half_V)
    )
    return ranking, counted


def _bins(ranking: Mapping[str, int]) -> dict[str, int]:
    """Return the bin of each value, from 0, in the order of falling frequency."""
    ranked = sorted(ranking.items(), key=lambda pair: (-pair[1], pair[0]))
    found = {value: place for place, (value, _) in enumerate(ranked[:SINGLE])}
    rest = max(1, sum(count for _, count in ranked[SINGLE:]))
    passed, place, last = 0, len(found) - 1, -1
    for value, count in ranked[SINGLE:]:
        group = min(GROUPS - 1, passed * GROUPS // rest)
        if group != last:
            place, last = place + 1, group
        found[value] = place
        passed += count
    return found


def _check_sizes(name: str, reference: int, current: int) -> None:
    for period, count in (("reference", reference), ("current", current)):
        if not count:
            raise DataError(
                f"the {period} distribution of {name} has no events; choose another period or dataset"
            )
