"""Which model is better: paired differences on the same targets.

Shape letters: S sequences, M metrics. Two models err on the same hard users, so the interval of their
difference is much narrower than their own intervals suggest.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from reprise.errors import DataError, did_you_mean
from reprise.evaluation.intervals import Interval
from reprise.evaluation.report import Report, SequenceSums, aligned


@dataclass(frozen=True, eq=False)
class Comparison:
    """One model against others on the same targets."""

    reports: tuple[Report, ...]
    """The first is the one the others are compared with."""
    differences: tuple[dict[str, Interval], ...]
    """For each of the others: the first model's metric minus its own, with the paired interval."""
    within: str | None = None
    """The slice that was compared; None: all targets."""
    slices: dict[str, "Comparison"] = field(default_factory=dict)
    """When all targets were compared: the same within each slice."""

    def to_dict(self) -> dict[str, Any]:
        """`{"first", "within", "others": [{"name", "differences"}], "slices", "protocol"}`."""
        others = [
            {"name": report.name, "differences": {key: gap.to_dict() for key, gap in found.items()}}
            for report, found in zip(self.reports[1:], self.differences, strict=True)
        ]
        return {
            "first": self.reports[0].name,
            "within": self.within,
            "others": others,
            "slices": {name: part.to_dict()["others"] for name, part in self.slices.items()},
            "protocol": self.reports[0].protocol.to_dict(),
        }

    def __str__(self) -> str:
        first, *others = self.reports
        heads = [f"{first.name} - {other.name}" for other in others]
        rows = [["metric", *(report.name for report in self.reports), *heads]]
        rows += [self._row(metric) for metric in self.differences[0]]
        if self.within is None:
            rows += [[metric, *values, *[""] * len(others)] for metric, values in self._unpaired()]
        longest = f"@{max(first.protocol.at)}"
        for name, part in self.slices.items():
            shown = [
                metric for metric in self.differences[0] if metric in ("recall" + longest, "mrr" + longest)
            ]
            rows += [[f"{name} {metric}", *part._row(metric)[1:]] for metric in shown]
        about = f"Targets of the slice {self.within} only." if self.within else ""
        sentences = [
            "* The interval of the paired difference leaves out zero.",
            about,
            *first.protocol.sentences(),
        ]
        return aligned(rows) + "\n\n" + "\n".join(filter(None, sentences))

    def _row(self, metric: str) -> list[str]:
        """The metric of every model, and its differences."""
        values = [f"{_part(report, self.within)[metric].value:.4f}" for report in self.reports]
        return [metric, *values, *(_signed(found[metric]) for found in self.differences)]

    def _unpaired(self) -> list[tuple[str, list[str]]]:
        """The metrics that are no means over targets, such as coverage: values only."""
        names = [name for name in self.reports[0].metrics if name not in self.differences[0]]
        return [
            (name, [str(report.metrics[name]) if name in report.metrics else "-" for report in self.reports])
            for name in names
        ]


def compare(first: Report, *others: Report, within: str | None = None) -> Comparison:
    """Compare a model with others on the same targets.

    The difference of each metric is bootstrapped over sequences, both models with the same draws.

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
    if first.protocol.interval.resamples == 0:
        raise DataError("a comparison needs intervals; evaluate with resamples above 0")
    for other in others:
        _check_same(first, other)
    whole = _compared(first, others, within)
    if within is not None:
        return whole
    return replace(whole, slices={name: _compared(first, others, name) for name in first.slices})


def _compared(first: Report, others: tuple[Report, ...], within: str | None) -> Comparison:
    sums = _sums(first, within)
    differences = tuple(_difference(sums, _sums(other, within), first) for other in others)
    return Comparison((first, *others), differences, within)


def _difference(mine: SequenceSums, theirs: SequenceSums, first: Report) -> dict[str, Interval]:
    assert mine.metrics == theirs.metrics and np.array_equal(mine.row_S, theirs.row_S)
    assert np.array_equal(mine.targets_S, theirs.targets_S)
    return mine._replace(sum_SM=mine.sum_SM - theirs.sum_SM).intervals(first.protocol.interval)


def _check_same(first: Report, other: Report) -> None:
    found = first.protocol.difference(other.protocol)
    if found is not None:
        name, mine, theirs = found
        raise DataError(
            f"{first.name!r} and {other.name!r} cannot be compared: {name} is {mine!r} for one and "
            f"{theirs!r} for the other; evaluate both on the same dataset in the same way"
        )


def _sums(report: Report, within: str | None) -> SequenceSums:
    if within is None:
        return report.sums
    if within not in report.slices:
        raise DataError(f"{report.name!r} has no slice {within!r}{did_you_mean(within, report.slices)}")
    return report.slices[within].sums


def _part(report: Report, within: str | None) -> dict[str, Interval]:
    return report.metrics if within is None else report.slices[within].metrics


def _signed(gap: Interval) -> str:
    """A difference with its interval, and a star when that leaves out zero."""
    if gap.low is None or gap.high is None:
        return f"{gap.value:+.4f}"
    star = " *" if gap.low > 0 or gap.high < 0 else ""
    return f"{gap.value:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}]{star}"
