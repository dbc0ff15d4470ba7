"""Baselines of forecasts without a network: distributions of the next kind and of the next gap, fitted to training targets.

Shape letters: N targets, M gaps above 0, K kinds, C components.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from reprise.arrays import AnyArray, Float64Array
from reprise.evaluation.forecasting.forecast_targets import EventsAhead
from reprise.forecast.gap_distribution import MIN_WIDTH, GapDistribution
from reprise.forecast.recent_history import RecentHistory

SHARES, TRANSITIONS = "shares of kinds", "first-order Markov"
"""Names of the baselines of kinds."""
POISSON, RENEWAL, CELLS = "Poisson", "log-normal renewal", "by last kind and gap"
"""Names of the baselines of times."""
CELL_COMPONENTS = 3
"""Number of log-normal components of the mixture of a cell (a last kind and a range of the last gap)."""
MIN_CELL_GAPS = 30
"""Minimum number of gaps above 0 in a cell to fit a mixture for it. Other cells use the mixture of all gaps."""
EM_STEPS = 100
"""Number of iterations of the EM algorithm."""
GAP_BUCKETS = 40
"""Number of buckets of the last gap: one for an unknown gap, one for 0, and one for each doubling of the seconds."""


class GapForecast(Protocol):
    """Distributions of N gaps in seconds, such as a `GapDistribution`."""

    def log_likelihood(self, gap_s_N: Float64Array) -> Float64Array:
        """Return the log-likelihood in nats: of the probability of a gap of 0, of the density per second otherwise, [N]."""
        ...

    def crps(self, gap_s_N: Float64Array) -> Float64Array:
        """Return the continuous ranked probability score of each distribution for its observed gap, in seconds, [N]."""
        ...

    def cdf(self, gap_s_N: Float64Array) -> Float64Array:
        """Return P(x <= gap), [N]."""
        ...


@dataclass(frozen=True)
class ExponentialGaps:
    """The gaps of a homogeneous Poisson process: one exponential distribution for all targets."""

    mean_s: float
    """Mean gap in seconds."""

    def log_likelihood(self, gap_s_N: Float64Array) -> Float64Array:
        """Return the logarithm of the density per second, [N], also for a gap of 0, which has no point mass here."""
        result: Float64Array = -np.log(self.mean_s) - gap_s_N / self.mean_s
        return result

    def crps(self, gap_s_N: Float64Array) -> Float64Array:
        """Return the CRPS in seconds, y + 2 m exp(-y / m) - 3 m / 2 for an observed gap y and the mean m, [N]."""
        result: Float64Array = gap_s_N + 2 * self.mean_s * np.exp(-gap_s_N / self.mean_s) - 1.5 * self.mean_s
        return result

    def cdf(self, gap_s_N: Float64Array) -> Float64Array:
        """Return P(x <= gap), [N]."""
        result: Float64Array = -np.expm1(-gap_s_N / self.mean_s)
        return result


def kind_baselines(train: EventsAhead, test: EventsAhead, kinds: int) -> dict[str, Float64Array]:
    """Return the probabilities of the next kind of the test targets, [N, K], by the name of the baseline.

    Args:
        train: Targets to which the baselines are fitted.
        test: Targets to forecast.
        kinds: K.
    """
    share_K = (np.bincount(train.kind_N, minlength=kinds) + 0.5) / (len(train.kind_N) + 0.5 * kinds)
    count_KK = np.zeros((kinds, kinds))
    np.add.at(count_KK, (train.history.kind_NW[:, -1], train.kind_N), 1)
    # one pseudo-event with the shares of all kinds: a kind that was never the last one gets these shares
    transition_KK = (count_KK + share_K) / (count_KK.sum(axis=1, keepdims=True) + 1)
    return {
        SHARES: np.tile(share_K, (len(test.kind_N), 1)),
        TRANSITIONS: transition_KK[test.history.kind_NW[:, -1]],
    }


def gap_baselines(train: EventsAhead, test: EventsAhead) -> dict[str, GapForecast]:
    """Return the distributions of the gaps before the test targets, by the name of the baseline.

    `POISSON` is a homogeneous Poisson process. `RENEWAL` is a point mass at 0 and one log-normal. `CELLS` is a point mass at 0
    and a mixture of three log-normals for each pair of the last kind and the bucket of the last gap.

    Args:
        train: Targets to which the baselines are fitted.
        test: Targets to forecast.
    """
    everywhere = _FittedGaps.of(train.gap_s_N, CELL_COMPONENTS)
    cell_N, test_cell_N = _cells(train.history), _cells(test.history)
    own = {
        cell: _FittedGaps.of(train.gap_s_N[cell_N == cell], CELL_COMPONENTS, everywhere)
        for cell in np.unique(test_cell_N).tolist()
    }
    renewal = _FittedGaps.of(train.gap_s_N, 1)
    return {
        POISSON: ExponentialGaps(max(float(train.gap_s_N.mean()), 1e-9)),
        RENEWAL: _distribution([renewal] * len(test.gap_s_N)),
        CELLS: _distribution([own[cell] for cell in test_cell_N.tolist()]),
    }


@dataclass(frozen=True)
class _FittedGaps:
    """A point mass at 0 and a mixture of log-normals. The fields are those of one row of a `GapDistribution`."""

    zero: float
    weight_C: Float64Array
    mean_C: Float64Array
    width_C: Float64Array

    @classmethod
    def of(
        cls, gap_s_N: Float64Array, components: int, fallback: "_FittedGaps | None" = None
    ) -> "_FittedGaps":
        """Fit to gaps in seconds, [N]. With fewer than `MIN_CELL_GAPS` gaps above 0, use the mixture of `fallback`."""
        positive_M = gap_s_N[gap_s_N > 0]
        prior = 0.5 if fallback is None else fallback.zero
        zero = (len(gap_s_N) - len(positive_M) + prior) / (len(gap_s_N) + 1)
        if fallback is not None and len(positive_M) < MIN_CELL_GAPS:
            return cls(zero, fallback.weight_C, fallback.mean_C, fallback.width_C)
        log_M = np.log(positive_M) if len(positive_M) else np.zeros(1)
        return cls(zero, *_fit_normals(log_M, components))


def _fit_normals(log_M: Float64Array, components: int) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Fit a mixture of normals by the EM algorithm; return its weights, means and standard deviations, [C] each.

    The means start at quantiles of the data.
    """
    mean_C = np.quantile(log_M, (np.arange(components) + 0.5) / components)
    width_C = np.full(components, max(float(log_M.std()), MIN_WIDTH))
    weight_C = np.full(components, 1 / components)
    for _ in range(EM_STEPS if components > 1 else 1):
        log_MC = np.log(weight_C) - 0.5 * ((log_M[:, None] - mean_C) / width_C) ** 2 - np.log(width_C)
        own_MC = np.exp(log_MC - log_MC.max(axis=1, keepdims=True))
        own_MC /= own_MC.sum(axis=1, keepdims=True)
        count_C = own_MC.sum(axis=0) + 1e-9
        weight_C = count_C / count_C.sum()
        mean_C = (own_MC * log_M[:, None]).sum(axis=0) / count_C
        variance_C = (own_MC * (log_M[:, None] - mean_C) ** 2).sum(axis=0) / count_C
        width_C = np.sqrt(np.maximum(variance_C, MIN_WIDTH**2))
    return weight_C, mean_C, width_C


def _cells(history: RecentHistory) -> AnyArray:
    """Return the cell of each history as an integer, [N]: the pair of its last kind and the bucket of its last gap."""
    gap_s_N = history.gap_s_NW[:, -1]
    bucket_N = np.where(gap_s_N > 0, 2 + np.log2(np.maximum(gap_s_N, 1)), np.where(gap_s_N == 0, 1, 0))
    cell_N: AnyArray = history.kind_NW[:, -1] * GAP_BUCKETS + bucket_N.astype(np.int64)
    return cell_N


def _distribution(fitted: list[_FittedGaps]) -> GapDistribution:
    """Return the fitted distributions of N targets as one `GapDistribution`."""
    return GapDistribution(
        np.array([one.zero for one in fitted]),
        np.stack([one.weight_C for one in fitted]),
        np.stack([one.mean_C for one in fitted]),
        np.stack([one.width_C for one in fitted]),
    )
