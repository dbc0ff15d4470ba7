"""Paired comparison of models on the same targets.

Shape letters: S sequences, M metrics, O other models, R resamples. Two models make mistakes for the same difficult users,
so the interval of their difference is much narrower than their own intervals suggest.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from reprise.argument_checks import instance
from reprise.arrays import Float64Array
from reprise.errors import DataError
from reprise.evaluation.aligned_text import aligned
from reprise.evaluation.metrics_table import MetricsTable
from reprise.evaluation.report import Report, SequenceSums, check_comparable, shared_slices
from reprise.evaluation.stats.bootstrap import Interval, Ratio, defined
from reprise.evaluation.stats.significance import holm, p_value
from reprise.frame_output import FrameLibrary, frame_of
from reprise.notebook_html import html_table


@dataclass(frozen=True, eq=False)
class PairedComparison:
    """The differences of one model from others on the same targets."""

    reports: tuple[Report, ...]
    """Reports of the models; the first is compared with each of the others."""
    differences: tuple[dict[str, Interval], ...]
    """For each other model: the metrics of the first model minus its own, with paired intervals."""
    adjusted: tuple[dict[str, float], ...]
    """For each other model: the p-values of the differences after Holm's correction over all comparisons of the metric,
    which are those with each other model and, within slices, those in each slice."""
    within: str | None = None
    """Slice whose targets were compared; None: all targets."""
    slices: dict[str, "PairedComparison"] = field(default_factory=dict)
    """Comparisons within each slice, if all targets were compared."""

    def __repr__(self) -> str:
        first, *others = (report.name for report in self.reports)
        return f"PairedComparison({first!r} with {', '.join(map(repr, others))}, {len(self.differences[0])} metrics)"

    def _repr_html_(self) -> str:
        first, *others = self.reports
        heads = ["metric", first.name, *(f"{first.name} - {other.name}" for other in others)]
        rows = [
            [
                metric,
                f"{_part(first, self.within)[metric].value:.4f}",
                *(found[metric].signed() for found in self.differences),
            ]
            for metric in self.differences[0]
        ]
        return html_table(f"{first.name} compared on the same targets", heads, rows)

    def to_frame(self, library: FrameLibrary = "pandas") -> Any:
        """Return the differences as a data frame: `first`, `second`, `metric`, `difference`, `low`, `high`, `p_adjusted`.

        Raises:
            MissingLibraryError: The library is not installed.
        """
        names = ("first", "second", "metric", "difference", "low", "high", "p_adjusted")
        rows = [
            (self.reports[0].name, report.name, metric, *gap, p[metric])
            for report, found, p in zip(self.reports[1:], self.differences, self.adjusted, strict=True)
            for metric, gap in found.items()
        ]
        return frame_of(dict(zip(names, zip(*rows, strict=True), strict=True)), library)

    def to_dict(self) -> dict[str, Any]:
        """Return `{"first", "within", "others": [{"name", "differences", "p_adjusted"}], "slices", "protocol"}`."""
        others = [
            {
                "name": report.name,
                "differences": {key: gap.to_dict() for key, gap in found.items()},
                "p_adjusted": p,
            }
            for report, found, p in zip(self.reports[1:], self.differences, self.adjusted, strict=True)
        ]
        return {
            "first": self.reports[0].name,
            "within": self.within,
            "others": others,
            "slices": {name: part.to_dict()["others"] for name, part in self.slices.items()},
            "protocol": self.reports[0].protocol_dict(),
        }

    def table(self, metrics: Sequence[str] | None = None) -> MetricsTable:
        """Return a table with one row per model; a star marks a significant difference from the first model.

        Args:
            metrics: Names of metrics; None: all that are means over targets.

        Raises:
            DataError: A report does not have a metric.
        """
        level = 1 - self.reports[0].bootstrap.level
        marked = frozenset(
            (row, metric)
            for row, p in enumerate(self.adjusted, start=1)
            for metric, value in p.items()
            if value < level
        )
        rows = [(report.name, _part(report, self.within)) for report in self.reports]
        return MetricsTable.of(rows, metrics or self.reports[0].sums.metrics, marked)

    def to_latex(self, metrics: Sequence[str] | None = None) -> str:
        """Return the metrics as a LaTeX `tabular` for booktabs; None: all that are means over targets."""
        return self.table(metrics).to_latex()

    def to_csv(self, metrics: Sequence[str] | None = None) -> str:
        """Return the metrics as CSV, one row per model and metric."""
        return self.table(metrics).to_csv()

    def to_markdown(self, metrics: Sequence[str] | None = None) -> str:
        """Return the metrics as a Markdown table."""
        return self.table(metrics).to_markdown()

    def __str__(self) -> str:
        first, *others = self.reports
        heads = [*(report.name for report in self.reports), *(f"{first.name} - {it.name}" for it in others)]
        rows = [["metric", *heads], *([metric, *self._row(metric)] for metric in self.differences[0])]
        if self.within is None:
            rows += [[metric, *values, *[""] * len(others)] for metric, values in self._unpaired()]
        blocks = [aligned(rows)]
        if self.slices:
            metric = self._slice_metric()
            blocks.append(aligned([[metric, "targets", *heads], *self._slice_rows(metric)]))
        return "\n\n".join([*blocks, "\n".join(self._sentences())])

    def _slice_metric(self) -> str:
        """Return the metric that is shown for the slices: recall at the longest list, or the last one without recall."""
        names = self.reports[0].sums.metrics
        recall = f"recall@{max(self.reports[0].protocol.at)}"
        return recall if recall in names else names[-1]

    def _row(self, metric: str) -> list[str]:
        """Return the metric of every model, and the differences."""
        values = [f"{_part(report, self.within)[metric].value:.4f}" for report in self.reports]
        level = 1 - self.reports[0].bootstrap.level
        gaps = [
            f"{found[metric].signed()}{' *' if p[metric] < level else ''}"
            for found, p in zip(self.differences, self.adjusted, strict=True)
        ]
        return [*values, *gaps]

    def _slice_rows(self, metric: str) -> Iterator[list[str]]:
        """Yield one metric within each slice, under a line with the property that groups the targets."""
        first = self.reports[0]
        before = ""
        for name, part in self.slices.items():
            own = first.slices[name]
            if own.of != before:
                yield [own.of, *[""] * (2 * len(self.reports))]
                before = own.of
            yield [f"  {name}", f"{own.targets:,}", *part._row(metric)]

    def _sentences(self) -> Iterator[str]:
        first = self.reports[0]
        level = 1 - first.bootstrap.level
        yield f"* significant at a level of {level:.2g} after Holm's correction, for each metric {self._corrected_over()}."
        if any(report.trained for report in self.reports):
            yield (
                "A trained model is a single run here, so this result applies to these runs only; use `compare_models` for "
                "several seeds."
            )
        if self.within is not None:
            yield f"Only targets of the slice {self.within} are compared."
        if self.slices:
            yield "For all metrics within a slice use compare(..., within=NAME)."
        yield from first.sentences()
        for report in self.reports[1:]:
            if report.is_list:
                yield report.list_sentence()

    def _corrected_over(self) -> str:
        """Say which comparisons the correction covers."""
        others = len(self.differences)
        models = f"over {others} model{'s' * (others > 1)}"
        return models + (
            f", and over all {others * len(self.slices)} differences in the slices" if self.slices else ""
        )

    def _unpaired(self) -> list[tuple[str, list[str]]]:
        """Return the metrics that are not means over targets, such as coverage, without differences."""
        names = [name for name in self.reports[0].metrics if name not in self.differences[0]]
        return [
            (
                name,
                [
                    f"{report.metrics[name].value:.4f}" if name in report.metrics else "-"
                    for report in self.reports
                ],
            )
            for name in names
        ]


def compare(first: Report, *others: Report, within: str | None = None) -> PairedComparison:
    """Compare a model with others on the same targets.

    The difference of each metric is bootstrapped over sequences, with the same resamples for both models. Its p-value is
    that of the t distribution for the difference in standard errors of the bootstrap. A report is one run; use
    `compare_models` for models that were trained from several seeds.

    Args:
        first: Report of the model that is compared with the others.
        others: Reports of the other models.
        within: Name of a slice, to compare only its targets.

    Raises:
        DataError: The reports have different protocols or datasets, no such slice, or no intervals.
    """
    for report in (first, *others):
        instance("each argument", report, Report, "evaluate(model, dataset) returns one")
    if not others:
        raise DataError(f"{first.name!r} is not compared with any other report; pass at least two reports")
    check_comparable(first, others)
    slices = shared_slices((first, *others)) if within is None else []
    whole, *parts = _compared((first, *others), [within, *slices])
    return replace(_corrected([whole])[0], slices=dict(zip(slices, _corrected(parts), strict=True)))


def _compared(reports: tuple[Report, ...], parts: Sequence[str | None]) -> Iterator[PairedComparison]:
    """Compare the first report with the others in each part, with the same resamples, without correcting the p-values."""
    first, *others = reports
    bootstrap, row_S = first.bootstrap, first.sums.row_S
    ratios = [_differences(first, others, part).ratio(row_S) for part in parts]
    drawn = bootstrap.resampled(len(row_S), ratios)
    for part, ratio, drawn_RM in zip(parts, ratios, drawn, strict=True):
        intervals, p = bootstrap.bounded(ratio, drawn_RM), _p_values(ratio, drawn_RM)
        names = first.sums.metrics
        yield PairedComparison(
            reports,
            tuple(
                dict(zip(names, intervals[other :: len(others)], strict=True)) for other in range(len(others))
            ),
            tuple(dict(zip(names, p[other :: len(others)], strict=True)) for other in range(len(others))),
            part,
        )


def _differences(first: Report, others: Sequence[Report], within: str | None) -> SequenceSums:
    """Return the sums of the first model minus those of each other one, with the columns [M, O]."""
    mine = first.sums_within(within)
    theirs = [other.sums_within(within) for other in others]
    assert all(np.array_equal(mine.row_S, sums.row_S) for sums in theirs)
    assert all(np.array_equal(mine.targets_S, sums.targets_S) for sums in theirs)
    gap_SMO = np.stack([mine.sum_SM - sums.sum_SM for sums in theirs], 2)
    return mine._replace(sum_SM=gap_SMO.reshape(len(gap_SMO), -1))


def _p_values(ratio: Ratio, drawn_RM: Float64Array) -> list[float]:
    """Return the p-value of each column; 1 for a single sequence, which shows nothing."""
    degrees_of_freedom, drawn_RM = len(ratio.count_S) - 1, defined(drawn_RM)
    if degrees_of_freedom == 0 or len(drawn_RM) < 2:
        return [1.0] * len(ratio.value_M)
    error_M = drawn_RM.std(0, ddof=1)
    return [
        p_value(float(value), float(error), degrees_of_freedom)
        for value, error in zip(ratio.value_M, error_M, strict=True)
    ]


def _corrected(parts: Sequence[PairedComparison]) -> list[PairedComparison]:
    """Correct the p-values of each metric over all comparisons."""
    found = [[dict(p) for p in part.adjusted] for part in parts]
    every = [p for part in found for p in part]
    for metric in every[0] if every else ():
        for p, value in zip(every, holm([p[metric] for p in every]), strict=True):
            p[metric] = value
    return [replace(part, adjusted=tuple(p)) for part, p in zip(parts, found, strict=True)]


def _part(report: Report, within: str | None) -> dict[str, Interval]:
    return report.metrics if within is None else report.slices[within].metrics
