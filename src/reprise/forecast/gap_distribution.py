"""The distribution of the time to the next event: a point mass at 0 and a mixture of log-normals.

Shape letters: N histories, C components, Q quantiles.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import log_ndtr, logsumexp, ndtr

from reprise.arrays import Float64Array

MIN_WIDTH = 0.1
"""Smallest standard deviation of the logarithm of a component. Times of logs are rounded, mostly to a second. Without a bound
the density at gaps of exactly 1 s could grow without limit; with 0.1 a component at 5 s is about as wide as the rounding."""
MAX_WIDTH = 3.0
"""Largest standard deviation of the logarithm of a component."""
BISECTIONS = 60
"""Number of bisection steps in the search for a quantile."""
FAR = 9.0
"""Distance of the first bounds of the search from the mean of a component, in standard deviations of that component."""


@dataclass(frozen=True)
class GapDistribution:
    """Distributions of N gaps x >= 0 in seconds: P(x = 0) = z, and density (1 - z) sum_c w_c LogNormal(x; m_c, s_c) above 0.

    The mixture of log-normals for times between events is that of Shchur, Bilos and Günnemann (2020), "Intensity-free learning
    of temporal point processes", equation 2. With `lower_s_N`, it is the conditional distribution given x > lower_s (see
    `after`).
    """

    zero_N: Float64Array
    """z: probability of a gap of 0, that is, of a next event at the same time."""
    weight_NC: Float64Array
    """w: weights of the components; each row sums to 1."""
    mean_NC: Float64Array
    """m: means of the logarithm of the seconds, one per component."""
    width_NC: Float64Array
    """s: standard deviations of the logarithm of the seconds, one per component."""
    lower_s_N: Float64Array | None = None
    """Seconds that have passed since the last event without another one; 0 or None: no time has passed."""

    def __len__(self) -> int:
        return len(self.zero_N)

    def after(self, elapsed_s_N: Float64Array) -> "GapDistribution":
        """Return the conditional distributions given that the gaps are longer than `elapsed_s_N` seconds.

        A distribution with an elapsed time of 0 or NaN does not change.
        """
        elapsed_s_N = np.where(elapsed_s_N > 0, elapsed_s_N, 0.0)
        if not elapsed_s_N.any():
            return self
        return replace(self, zero_N=np.where(elapsed_s_N > 0, 0.0, self.zero_N), lower_s_N=elapsed_s_N)

    def log_likelihood(self, gap_s_N: Float64Array) -> Float64Array:
        """Return the log-likelihood of one gap per distribution, [N], in nats.

        It is log P(x = 0) for a gap of 0, and the logarithm of the density per second for a longer gap.
        """
        assert self.lower_s_N is None
        positive_N = gap_s_N > 0
        log_x_N1 = np.log(np.where(positive_N, gap_s_N, 1.0))[:, None]
        score_NC = (log_x_N1 - self.mean_NC) / self.width_NC
        with np.errstate(divide="ignore"):
            log_NC = np.log(self.weight_NC) - 0.5 * score_NC**2 - np.log(self.width_NC)
            density_N = logsumexp(log_NC, axis=1) - 0.5 * np.log(2 * np.pi) - log_x_N1[:, 0]
            found: Float64Array = np.where(
                positive_N, np.log1p(-self.zero_N) + density_N, np.log(self.zero_N)
            )
        return found

    def cdf(self, gap_s_N: Float64Array) -> Float64Array:
        """Return the cumulative distribution function P(x <= gap) at one gap in seconds per distribution, [N]."""
        result: Float64Array = -np.expm1(self._log_survival(gap_s_N))
        return result

    def quantile(self, share: float) -> Float64Array:
        """Return the quantile of each distribution at the probability `share`, in seconds, [N]. 0.5 gives the median."""
        with np.errstate(divide="ignore"):
            wanted_N = np.full(len(self), np.log1p(-share))
        spread_NC = FAR * self.width_NC
        low_N, high_N = (self.mean_NC - spread_NC).min(axis=1), (self.mean_NC + spread_NC).max(axis=1)
        if self.lower_s_N is not None:
            known_N = self.lower_s_N > 0
            log_lower_N = np.log(np.where(known_N, self.lower_s_N, 1.0))
            low_N = np.where(known_N, log_lower_N, low_N)
            # beyond all components the conditional distribution is narrower than a component
            high_N = np.maximum(high_N, low_N + spread_NC.max(axis=1))
        for _ in range(BISECTIONS):
            middle_N = (low_N + high_N) / 2
            below_N = self._log_survival(np.exp(middle_N)) > wanted_N
            low_N, high_N = np.where(below_N, middle_N, low_N), np.where(below_N, high_N, middle_N)
        found: Float64Array = np.where(self.zero_N >= share, 0.0, np.exp(high_N))
        return found

    def mean(self) -> Float64Array:
        """Return the mean of each distribution in seconds, [N]: (1 - z) sum_c w_c exp(m_c + s_c^2 / 2) without `lower_s_N`."""
        log_mean_NC = self.mean_NC + self.width_NC**2 / 2
        with np.errstate(divide="ignore"):
            log_weight_NC = np.log(self.weight_NC)
            log_rest_N = np.log1p(-self.zero_N)
        plain_N: Float64Array = np.exp(log_rest_N + logsumexp(log_weight_NC + log_mean_NC, axis=1))
        if self.lower_s_N is None:
            return plain_N
        known_N = self.lower_s_N > 0
        log_lower_N1 = np.log(np.where(known_N, self.lower_s_N, 1.0))[:, None]
        # E[x; x > l] of a log-normal is exp(m + s^2 / 2) Phi((m + s^2 - log l) / s)
        score_NC = (log_lower_N1 - self.mean_NC) / self.width_NC
        above_N = logsumexp(log_weight_NC + log_mean_NC + log_ndtr(self.width_NC - score_NC), axis=1)
        survival_N = logsumexp(log_weight_NC + log_ndtr(-score_NC), axis=1)
        conditional_N: Float64Array = np.exp(above_N - survival_N)
        return np.where(known_N, np.maximum(conditional_N, self.lower_s_N), plain_N)

    def crps(self, gap_s_N: Float64Array) -> Float64Array:
        """Return the continuous ranked probability score (CRPS) of each distribution for its observed gap y, in seconds, [N].

        A lower score is better. The CRPS is E|x - y| - E|x - x'| / 2 (Gneiting and Raftery 2007, equation 21). It has a closed
        form: with M_c = exp(m_c + s_c^2 / 2), E|x_c - y| = y (2 F_c(y) - 1) + M_c (1 - 2 Phi((log y - m_c - s_c^2) / s_c)).
        E|x_c - x_d| is M_c (2 Phi((m_c + s_c^2 - m_d) / r) - 1) plus the same with c and d exchanged, r^2 = s_c^2 + s_d^2.
        """
        assert self.lower_s_N is None
        full_NC = np.exp(self.mean_NC + self.width_NC**2 / 2)
        share_NC = (1 - self.zero_N)[:, None] * self.weight_NC
        y_N1 = gap_s_N[:, None]
        with np.errstate(divide="ignore"):
            score_NC = (np.log(y_N1) - self.mean_NC) / self.width_NC
        to_y_NC = y_N1 * (2 * ndtr(score_NC) - 1) + full_NC * (1 - 2 * ndtr(score_NC - self.width_NC))
        distance_N = self.zero_N * gap_s_N + (share_NC * to_y_NC).sum(axis=1)
        spread_N = 2 * self.zero_N * (share_NC * full_NC).sum(axis=1)
        for c in range(self.weight_NC.shape[1]):
            spread_N = spread_N + share_NC[:, c] * (share_NC * self._distances(full_NC, c)).sum(axis=1)
        result: Float64Array = distance_N - spread_N / 2
        return result

    def _distances(self, full_NC: Float64Array, c: int) -> Float64Array:
        """Return E|x_c - x_d| of component c and every component d, [N, C]."""
        variance_NC = self.width_NC**2
        root_NC = np.sqrt(variance_NC[:, c, None] + variance_NC)
        apart_NC = self.mean_NC[:, c, None] - self.mean_NC
        own_NC = full_NC[:, c, None] * (2 * ndtr((apart_NC + variance_NC[:, c, None]) / root_NC) - 1)
        result: Float64Array = own_NC + full_NC * (2 * ndtr((variance_NC - apart_NC) / root_NC) - 1)
        return result

    def _log_survival(self, gap_s_N: Float64Array) -> Float64Array:
        """Return log P(x > gap), [N]. It is finite also for long gaps for which P itself is 0 in floating point."""
        with np.errstate(divide="ignore"):
            log_weight_NC = np.log(self.weight_NC)

            def log_tail(seconds_N: Float64Array) -> Float64Array:
                score_NC = (np.log(seconds_N)[:, None] - self.mean_NC) / self.width_NC
                tail_N: Float64Array = logsumexp(log_weight_NC + log_ndtr(-score_NC), axis=1)
                return tail_N

            found_N: Float64Array = np.log1p(-self.zero_N) + log_tail(np.maximum(gap_s_N, 0.0))
            if self.lower_s_N is not None:
                found_N = np.minimum(found_N - log_tail(self.lower_s_N), 0.0)
        return found_N
