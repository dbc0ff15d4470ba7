"""Aggregate runs of a model that differ in the seed: means, and their uncertainty from sequences and seeds.

Shape letters: F runs, M metrics, R resamples, S sequences.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from reprise.argument_checks import instance, listed
from reprise.arrays import Float64Array
from reprise.errors import DataError
from reprise.evaluation.calibration import Bin, Calibration
from reprise.evaluation.report import Report, SequenceSums, Slice, check_comparable, shared_slices
from reprise.evaluation.stats.bootstrap import Interval, Ratio, defined
from reprise.evaluation.stats.significance import p_value, quantile


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds, or the difference of two such means, with its standard error."""

    value: float
    """The mean or the difference."""
    standard_error: float
    """Standard error of the value, from sequences and seeds together."""
    degrees_of_freedom: float
    """Degrees of freedom of the t distribution; 0 if the error is not known."""

    def interval(self, level: float) -> Interval:
        """Return the confidence interval of the t distribution around the value."""
        if self.degrees_of_freedom == 0:
            return Interval(self.value)
        half_width = quantile(level, self.degrees_of_freedom) * self.standard_error
        return Interval(self.value, self.value - half_width, self.value + half_width)

    @property
    def p(self) -> float:
        """Two-sided p-value of the value being 0; 1 if the error is not known."""
        if self.degrees_of_freedom == 0:
            return 1.0
        return p_value(self.value, self.standard_error, self.degrees_of_freedom)


@dataclass(frozen=True, eq=False)
class SeedRuns:
    """One metric of several runs on the same sequences."""

    value_F: Float64Array
    """Value of each run."""
    covariance_FF: Float64Array
    """Covariance of the values over the bootstrap resamples of the sequences."""
    sequences: int
    """Number of sequences; with one the error is not known."""

    def estimate(self, first: Sequence[int], second: Sequence[int] = ()) -> Estimate:
        """Estimate the mean over the runs `first`, minus the mean over the runs `second` if there are any.

        The variance has three parts: that of the sequences, from the paired bootstrap of all runs, and that of the seeds
        of each side, which is the variance between its runs over their number. The runs of one side also differ because
        of the sequences. The first part contains this already, so it is subtracted. Few seeds give an uncertain variance:
        the degrees of freedom are those of Welch and Satterthwaite ("An approximate distribution of estimates of variance
        components", 1946).

        Args:
            first: Numbers of the runs of one model.
            second: Numbers of the runs of another model.
        """
        weight_F = np.zeros(len(self.value_F))
        weight_F[list(first)] += 1 / len(first)
        if second:
            weight_F[list(second)] -= 1 / len(second)
        value = float(weight_F @ self.value_F)
        if self.sequences < 2:
            return Estimate(value, 0.0, 0)
        variance = max(float(weight_F @ self.covariance_FF @ weight_F), 0.0)
        uncertain = variance**2 / (self.sequences - 1)
        for runs in (list(first), list(second)):
            between, within = self._seed_variance(runs)
            if between > within:
                variance += between - within
                uncertain += between**2 / (len(runs) - 1)
        degrees_of_freedom = variance**2 / uncertain if uncertain else self.sequences - 1
        return Estimate(value, math.sqrt(variance), max(degrees_of_freedom, 1.0))

    def _seed_variance(self, runs: list[int]) -> tuple[float, float]:
        """Return the variance of a mean over runs from the differences between them, and the part due to the sequences.

        Example: two runs with the values 0.1 and 0.3 have the variance 0.02, so their mean has 0.02 / 2. If they vary by
        0.01 each over the resamples with a covariance of 0.002, then (0.01 - 0.002) / 2 of it is due to the sequences.
        """
        count = len(runs)
        if count < 2:
            return 0.0, 0.0
        covariance = self.covariance_FF[np.ix_(runs, runs)]
        # sum over the runs of the variance of (run - mean of the runs)
        from_sequences = float(np.trace(covariance) - covariance.sum() / count)
        return float(self.value_F[runs].var(ddof=1)) / count, from_sequences / (count * (count - 1))


def resample_runs(
    reports: Sequence[Report], parts: Iterable[str | None], metrics: Sequence[str]
) -> list[dict[str, SeedRuns]]:
    """Return metrics of all runs in each part, with the same bootstrap resamples for all of them.

    Args:
        reports: Reports of the runs.
        parts: Names of slices; None: all targets.
        metrics: Names of metrics that are means over targets.

    Raises:
        DataError: The reports have different protocols, no intervals, or no such slice.
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


def _runs(ratio: Ratio, drawn_RM: Float64Array, column: int, runs: int) -> SeedRuns:
    own = slice(column * runs, (column + 1) * runs)
    drawn_RF = defined(drawn_RM)[:, own]
    if len(drawn_RF) < 2:
        return SeedRuns(ratio.value_M[own], np.zeros((runs, runs)), 1)
    return SeedRuns(ratio.value_M[own], np.atleast_2d(np.cov(drawn_RF, rowvar=False)), len(ratio.count_S))


def aggregate_seeds(reports: Sequence[Report], name: str | None = None) -> Report:
    """Aggregate several runs of one model into one report: means over the runs, with intervals that include the seeds.

    Measures of the lists become means without intervals. A single report is returned with its own intervals.

    Args:
        reports: Reports of the runs, made with the same protocol.
        name: Name of the model; by default that of the first report.

    Raises:
        ConfigError: `reports` is not a list of reports.
        DataError: There is no report, or the reports have different protocols or no intervals.
    """
    reports = listed("reports", reports, "Report objects")
    for report in reports:
        instance("each report", report, Report, "evaluate(model, dataset) returns one")
    if not reports:
        raise DataError("there is no report to aggregate; pass those of the runs of one model")
    first = replace(reports[0], name=name or reports[0].name)
    if len(reports) == 1:
        return first
    slices = shared_slices(reports)
    whole, *parts = resample_runs(reports, [None, *slices], first.sums.metrics)
    level = first.bootstrap.level
    other_metrics = {
        metric: Interval(float(np.mean([report.metrics[metric].value for report in reports])))
        for metric in first.metrics
        if metric not in whole and all(metric in report.metrics for report in reports)
    }
    note = (
        f"Means over {len(reports)} runs with different seeds. Their intervals are those of the t distribution, with the "
        "variance of the bootstrap and that between the runs."
    )
    return replace(
        first,
        metrics=_intervals(whole, level) | other_metrics,
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


def _intervals(runs: dict[str, SeedRuns], level: float) -> dict[str, Interval]:
    """Return the intervals of the means over all runs, limited to 0..1."""
    found = {metric: it.estimate(range(len(it.value_F))).interval(level) for metric, it in runs.items()}
    return {
        metric: it
        if it.low is None or it.high is None
        else Interval(it.value, max(it.low, 0), min(it.high, 1))
        for metric, it in found.items()
    }


def _mean(reports: Sequence[Report], within: str | None) -> SequenceSums:
    """Return the means over the runs of the sums of each sequence."""
    sums = [report.sums_within(within) for report in reports]
    return sums[0]._replace(sum_SM=np.mean([it.sum_SM for it in sums], axis=0))


def _calibration(found: Sequence[Calibration | None]) -> Calibration | None:
    """Return means over the runs, bin by bin; None if a run has no calibration."""
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
