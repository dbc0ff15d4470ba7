"""Which model is better: paired differences on the same targets.

Shape letters: S sequences, M metrics, O other models, R resamples. Two models err on the same hard users, so the
interval of their difference is much narrower than their own intervals suggest.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from reprise.errors import DataError
from reprise.evaluation.report import Report, aligned, check_comparable, shared_slices
from reprise.evaluation.stats.bootstrap import Interval, Ratio, defined
from reprise.evaluation.stats.significance import holm, p_value


@dataclass(frozen=True, eq=False)
class Comparison:
    """One model against others on the same targets."""

    reports: tuple[Report, ...]
    """The first is the one the others are compared with."""
    differences: tuple[dict[str, Interval], ...]
    """For each of the others: the first model's metric minus its own, with the paired interval."""
    adjusted: tuple[dict[str, float], ...]
    """For each of the others: the p value of each difference, after Holm's correction over all comparisons of that metric:
    over the others, and in a slice of the whole over all slices too."""
    within: str | None = None
    """The slice that was compared; None: all targets."""
    slices: dict[str, "Comparison"] = field(default_factory=dict)
    """When all targets were compared: the same within each slice."""

    def to_dict(self) -> dict[str, Any]:
        """`{"first", "within", "others": [{"name", "differences", "p_adjusted"}], "slices", "protocol"}`."""
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

    def __str__(self) -> str:
        first, *others = self.reports
        heads = [*(report.name for report in self.reports), *(f"{first.name} - {it.name}" for it in others)]
        rows = [["metric", *heads], *([metric, *self._row(metric)] for metric in self.differences[0])]
        if self.within is None:
            rows += [[metric, *values, *[""] * len(others)] for metric, values in self._unpaired()]
        blocks = [aligned(rows)]
        if self.slices:
            metric = f"recall@{max(first.protocol.at)}"
            blocks.append(aligned([[metric, "targets", *heads], *self._slice_rows(metric)]))
        return "\n\n".join([*blocks, "\n".join(self._sentences())])

    def _row(self, metric: str) -> list[str]:
        """The metric of every model, and its differences."""
        values = [f"{_part(report, self.within)[metric].value:.4f}" for report in self.reports]
        level = 1 - self.reports[0].bootstrap.level
        gaps = [
            f"{found[metric].signed()}{' *' if p[metric] < level else ''}"
            for found, p in zip(self.differences, self.adjusted, strict=True)
        ]
        return [*values, *gaps]

    def _slice_rows(self, metric: str) -> Iterator[list[str]]:
        """One metric within each slice, under a line for what divides the targets."""
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
        yield f"* Shown at a level of {level:.2g} after Holm's correction for each metric {self._over()}."
        if any(report.trained for report in self.reports):
            yield (
                "A trained model is one run here: differences are those of these weights; `judge` looks at "
                "several seeds."
            )
        if self.within is not None:
            yield f"Targets of the slice {self.within} only."
        if self.slices:
            yield "All metrics within a slice: compare(..., within=NAME)."
        yield from first.sentences()

    def _over(self) -> str:
        """What the correction was made over."""
        others = len(self.differences)
        if not self.slices:
            return f"over {others} model{'s' * (others > 1)}"
        return f"over {others} model{'s' * (others > 1)}, and in the slices over all {others * len(self.slices)} differences"

    def _unpaired(self) -> list[tuple[str, list[str]]]:
        """The metrics that are no means over targets, such as coverage: values only."""
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


def compare(first: Report, *others: Report, within: str | None = None) -> Comparison:
    """Compare a model with others on the same targets.

    The difference of each metric is bootstrapped over sequences, both models with the same draws. Its p value is that of
    the difference in standard errors of the bootstrap, by the t distribution. One report is one run: `judge` compares
    models that were trained from several seeds.

    Args:
        first: The model in question.
        others: What it is compared with.
        within: A slice's name, to compare only the targets of that slice.

    Raises:
        DataError: The reports were not made by one protocol on one dataset, they have no such slice, or they
            were made without resamples.
    """
    if not others:
        raise DataError(f"{first.name!r} is compared with nothing; pass at least two reports")
    check_comparable(first, others)
    slices = shared_slices((first, *others)) if within is None else []
    whole, *parts = _compared((first, *others), [within, *slices])
    return replace(_corrected([whole])[0], slices=dict(zip(slices, _corrected(parts), strict=True)))


def _compared(reports: tuple[Report, ...], parts: Sequence[str | None]) -> Iterator[Comparison]:
    """The first against the others in each part, all from the same draws, p values as they are."""
    first, *others = reports
    bootstrap, row_S = first.bootstrap, first.sums.row_S
    ratios = [_differences(first, others, part).ratio(row_S) for part in parts]
    drawn = bootstrap.resampled(len(row_S), ratios)
    for part, ratio, drawn_RM in zip(parts, ratios, drawn, strict=True):
        intervals, p = bootstrap.bounded(ratio, drawn_RM), _p_values(ratio, drawn_RM)
        names = first.sums.metrics
        yield Comparison(
            reports,
            tuple(dict(zip(names, intervals[at :: len(others)], strict=True)) for at in range(len(others))),
            tuple(dict(zip(names, p[at :: len(others)], strict=True)) for at in range(len(others))),
            part,
        )


def _differences(first: Report, others: Sequence[Report], within: str | None) -> Any:
    """The first minus each of the others, as sums with the columns [M, O]."""
    mine = first.sums_within(within)
    theirs = [other.sums_within(within) for other in others]
    assert all(np.array_equal(mine.row_S, sums.row_S) for sums in theirs)
    assert all(np.array_equal(mine.targets_S, sums.targets_S) for sums in theirs)
    gap_SMO = np.stack([mine.sum_SM - sums.sum_SM for sums in theirs], 2)
    return mine._replace(sum_SM=gap_SMO.reshape(len(gap_SMO), -1))


def _p_values(ratio: Ratio, drawn_RM: Any) -> list[float]:
    """Of each column; 1 where there is a single sequence, from which nothing follows."""
    freedom, drawn_RM = len(ratio.count_S) - 1, defined(drawn_RM)
    if freedom == 0 or len(drawn_RM) < 2:
        return [1.0] * len(ratio.value_M)
    error_M = drawn_RM.std(0, ddof=1)
    return [
        p_value(float(value), float(error), freedom)
        for value, error in zip(ratio.value_M, error_M, strict=True)
    ]


def _corrected(parts: Sequence[Comparison]) -> list[Comparison]:
    """The same comparisons, the p values of each metric corrected over all of them."""
    found = [[dict(p) for p in part.adjusted] for part in parts]
    every = [p for part in found for p in part]
    for metric in every[0] if every else ():
        for p, value in zip(every, holm([p[metric] for p in every]), strict=True):
            p[metric] = value
    return [replace(part, adjusted=tuple(p)) for part, p in zip(parts, found, strict=True)]


def _part(report: Report, within: str | None) -> dict[str, Interval]:
    return report.metrics if within is None else report.slices[within].metrics
