"""Several runs of a model that differ in the seed: their mean, and how far sequences and seeds together move it.

Shape letters: F runs, M metrics, R resamples, S sequences.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from reprise.arrays import Float64Array
from reprise.errors import DataError
from reprise.evaluation.calibration import Bin, Calibration
from reprise.evaluation.report import Report, SequenceSums, Slice, check_comparable, shared_slices
from reprise.evaluation.stats.bootstrap import Interval, Ratio, defined
from reprise.evaluation.stats.significance import p_value, quantile


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds, or the difference of two such means, and how uncertain it is."""

    value: float
    error: float
    """The standard error."""
    freedom: float
    """Degrees of freedom of the t distribution; 0 where nothing is known of the error."""

    def interval(self, level: float) -> Interval:
        """The middle `level` of the t distribution around the value."""
        if self.freedom == 0:
            return Interval(self.value)
        reach = quantile(level, self.freedom) * self.error
        return Interval(self.value, self.value - reach, self.value + reach)

    @property
    def p(self) -> float:
        """How often chance alone makes a difference of this size, two-sided; 1 where nothing is known of the error."""
        return 1.0 if self.freedom == 0 else p_value(self.value, self.error, self.freedom)


@dataclass(frozen=True, eq=False)
class Runs:
    """One metric of several runs on the same sequences."""

    value_F: Float64Array
    cov_FF: Float64Array
    """How the values vary together when other sequences are drawn."""
    sequences: int
    """How many there are; nothing is known of the noise with one."""

    def estimate(self, first: Sequence[int], second: Sequence[int] = ()) -> Estimate:
        """The mean over the runs `first`, minus the mean over the runs `second` if there are any.

        The variance has three parts. That of the sequences comes from the bootstrap, paired, with all runs taken in. That of
        the seeds of each side is the variance between its runs over their number; it also holds what chance in the
        sequences adds to each run, which the first part has already, so that much is taken off. Few seeds leave the
        variance itself uncertain: the degrees of freedom are those of Welch and Satterthwaite ("An approximate
        distribution of estimates of variance components", 1946).
        """
        weight_F = np.zeros(len(self.value_F))
        weight_F[list(first)] += 1 / len(first)
        if second:
            weight_F[list(second)] -= 1 / len(second)
        value = float(weight_F @ self.value_F)
        if self.sequences < 2:
            return Estimate(value, 0.0, 0)
        variance = max(float(weight_F @ self.cov_FF @ weight_F), 0.0)
        uncertain = variance**2 / (self.sequences - 1)
        for runs in (list(first), list(second)):
            between, within = self._of_seeds(runs)
            if between > within:
                variance += between - within
                uncertain += between**2 / (len(runs) - 1)
        freedom = variance**2 / uncertain if uncertain else self.sequences - 1
        return Estimate(value, math.sqrt(variance), max(freedom, 1.0))

    def _of_seeds(self, runs: list[int]) -> tuple[float, float]:
        """The variance of a mean over runs by what lies between them, and the part of it that other sequences explain."""
        count = len(runs)
        if count < 2:
            return 0.0, 0.0
        cov = self.cov_FF[np.ix_(runs, runs)]
        # the variance of each run minus the mean of the runs, summed
        apart = float(np.trace(cov) - cov.sum() / count)
        return float(self.value_F[runs].var(ddof=1)) / count, apart / (count * (count - 1))


def measured(
    reports: Sequence[Report], parts: Iterable[str | None], metrics: Sequence[str]
) -> list[dict[str, Runs]]:
    """Metrics of all runs in each part (a slice, or None for all targets), resampled together.

    Raises:
        DataError: The reports were not made by one protocol, have no intervals, or no such slice.
    """
    first, *others = reports
    check_comparable(first, others)
    columns = [first.sums.metrics.index(metric) for metric in metrics]
    row_S = first.sums.row_S
    ratios = []
    for part in parts:
        sums = [report.sums_within(part) for report in reports]
        sum_SMF = np.stack([it.sum_SM[:, columns] for it in sums], 2)
        ratios.append(sums[0]._replace(sum_SM=sum_SMF.reshape(len(sum_SMF), -1)).ratio(row_S))
    drawn = first.bootstrap.resampled(len(row_S), ratios)
    return [
        {metric: _runs(ratio, drawn_RM, column, len(reports)) for column, metric in enumerate(metrics)}
        for ratio, drawn_RM in zip(ratios, drawn, strict=True)
    ]


def _runs(ratio: Ratio, drawn_RM: Float64Array, column: int, runs: int) -> Runs:
    own = slice(column * runs, (column + 1) * runs)
    drawn_RF = defined(drawn_RM)[:, own]
    if len(drawn_RF) < 2:
        return Runs(ratio.value_M[own], np.zeros((runs, runs)), 1)
    return Runs(ratio.value_M[own], np.atleast_2d(np.cov(drawn_RF, rowvar=False)), len(ratio.count_S))


def aggregate_seeds(reports: Sequence[Report], name: str | None = None) -> Report:
    """One report of several runs of one model: means over the runs, with intervals that hold the noise of the seeds too.

    Measures of the lists are means without intervals. One report alone is returned as it is.

    Args:
        reports: Of one protocol.
        name: How the model is called; by default as in the first report.

    Raises:
        DataError: There is no report, or they were not made by one protocol with intervals.
    """
    if not reports:
        raise DataError("there is no report to pool; pass those of the runs of one model")
    first = replace(reports[0], name=name or reports[0].name)
    if len(reports) == 1:
        return first
    slices = shared_slices(reports)
    whole, *parts = measured(reports, [None, *slices], first.sums.metrics)
    level = first.bootstrap.level
    listed = {
        metric: Interval(float(np.mean([report.metrics[metric].value for report in reports])))
        for metric in first.metrics
        if metric not in whole and all(metric in report.metrics for report in reports)
    }
    note = (
        f"Means over {len(reports)} runs with different seeds. Their intervals are those of the t distribution, from the "
        "variance of the bootstrap and that between the runs."
    )
    return replace(
        first,
        metrics=_intervals(whole, level) | listed,
        slices={
            of: Slice(
                first.slices[of].of, first.slices[of].targets, _intervals(part, level), _mean(reports, of)
            )
            for of, part in zip(slices, parts, strict=True)
        },
        sums=_mean(reports, None),
        notes=(*first.notes, note),
        calibration=_calibration([report.calibration for report in reports]),
    )


def _intervals(runs: dict[str, Runs], level: float) -> dict[str, Interval]:
    """Of the means over all runs; a share cannot leave 0 to 1."""
    found = {metric: it.estimate(range(len(it.value_F))).interval(level) for metric, it in runs.items()}
    return {
        metric: it
        if it.low is None or it.high is None
        else Interval(it.value, max(it.low, 0), min(it.high, 1))
        for metric, it in found.items()
    }


def _mean(reports: Sequence[Report], within: str | None) -> SequenceSums:
    """The means of the sums of each sequence."""
    sums = [report.sums_within(within) for report in reports]
    return sums[0]._replace(sum_SM=np.mean([it.sum_SM for it in sums], axis=0))


def _calibration(found: Sequence[Calibration | None]) -> Calibration | None:
    """Means over the runs, bin by bin."""
    known = [it for it in found if it is not None]
    if not known or len(known) < len(found):
        return None
    losses = [it.log_loss for it in known if it.log_loss is not None]
    bins = [
        Bin(
            float(np.mean([part.confidence for part in same])),
            float(np.mean([part.accuracy for part in same])),
            same[0].targets,
        )
        for same in zip(*(it.bins for it in known), strict=True)
    ]
    ece = float(np.mean([it.ece for it in known]))
    return Calibration(ece, tuple(bins), float(np.mean(losses)) if losses else None)
