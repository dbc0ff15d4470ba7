"""The report of an evaluation: metrics with intervals, and the protocol that they were measured by.

Shape letters: S sequences with a target, M metrics.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np

from reprise.arrays import AnyArray, Float64Array
from reprise.data.dataset import SequenceDataset
from reprise.errors import DataError, did_you_mean
from reprise.evaluation.aligned_text import aligned
from reprise.evaluation.calibration import Calibration
from reprise.evaluation.forecasting.forecast_scores import ForecastScores
from reprise.evaluation.metrics_table import MetricsTable
from reprise.evaluation.protocol import EvaluationProtocol
from reprise.evaluation.stats.bootstrap import Bootstrap, Interval, Ratio
from reprise.evaluation.stats.target_sample import TargetSample
from reprise.frame_output import FrameLibrary, frame_of
from reprise.notebook_html import html_table

FEW_TARGETS = 100
"""Slices with fewer targets of a sample are named in the report: with so few, percentile intervals are too narrow."""


class EvaluatedData(NamedTuple):
    """The targets of a report and the items they are ranked among."""

    dataset: str
    """Fingerprint of the dataset."""
    targets: int
    """Number of targets, over which the metrics are means."""
    sequences: int
    """Number of sequences that have a target."""
    candidates: int
    """Number of items that each target is ranked among: all that the model scores, never a sample."""
    cold_candidates: int = 0
    """Number of these items that are not in the training part."""
    sampled_from: int | None = None
    """Number of targets from which those of the report were drawn; None: they are all targets."""
    listed: int | None = None
    """Number of items in the longest list, if the ranks are places in lists of other software; None for a model."""

    @classmethod
    def of(cls, dataset: SequenceDataset, row_N: AnyArray, all_targets: int) -> "EvaluatedData":
        """Describe the targets in these rows of a dataset, [N], whose view is that of the model."""
        items = dataset.items
        sequences = len(np.unique(row_N))
        sampled_from = all_targets if all_targets > len(row_N) else None
        cold = items.scored - items.warm
        return cls(dataset.fingerprint, len(row_N), sequences, items.scored, cold, sampled_from)

    @property
    def target_words(self) -> str:
        """Number of targets in words: '5,000 targets', or '5,000 of 80,000 targets' for a sample."""
        drawn_from = "" if self.sampled_from is None else f" of {self.sampled_from:,}"
        return f"{self.targets:,}{drawn_from} targets"


class SequenceSums(NamedTuple):
    """The metrics summed within each sequence, from which intervals and paired comparisons are computed."""

    row_S: AnyArray
    """Rows of the sequences in the dataset, ascending."""
    targets_S: AnyArray
    """Number of targets of each sequence."""
    metrics: tuple[str, ...]
    """Names of the columns, such as 'recall@20'."""
    sum_SM: Float64Array
    """Sum of each metric over the targets of each sequence."""

    @classmethod
    def of(cls, row_N: AnyArray, metrics: tuple[str, ...], value_NM: Float64Array) -> "SequenceSums":
        """Sum the values of targets within each sequence; the rows must ascend."""
        row_S, first_S, targets_S = np.unique(row_N, return_index=True, return_counts=True)
        return cls(row_S, targets_S, metrics, np.add.reduceat(value_NM, first_S, axis=0))

    def ratio(self, row_S: AnyArray) -> Ratio:
        """Return the means over targets for a bootstrap that resamples the sequences `row_S`, which include these."""
        place_S = None if len(row_S) == len(self.row_S) else np.searchsorted(row_S, self.row_S)
        return Ratio(self.sum_SM, self.targets_S, place_S)


@dataclass(frozen=True, eq=False)
class Slice:
    """The metrics of a group of targets, such as cold items."""

    of: str
    """Property by which targets are grouped: 'item', 'age', 'popularity', 'repeat', 'history', 'kind', 'gap', 'time', or
    'column NAME' for a column of the item table."""
    targets: int
    """Number of targets in the slice."""
    metrics: dict[str, Interval]
    """Values with intervals by name, such as 'recall@20'."""
    sums: SequenceSums = field(repr=False)
    """Sums of the metrics within each sequence, from which comparisons are computed."""

    def to_dict(self) -> dict[str, Any]:
        """Return `{"of", "targets", "metrics"}` as JSON values."""
        return {"of": self.of, "targets": self.targets, "metrics": _metrics_dict(self.metrics)}


@dataclass(frozen=True, eq=False)
class Report:
    """The metrics of one model, with intervals and slices, and the protocol that they were measured by."""

    name: str
    """Name of the model."""
    metrics: dict[str, Interval]
    """Values with intervals by name: 'recall@20', 'hit@20', 'mrr@20', 'ndcg@20', 'coverage@20'."""
    slices: dict[str, Slice]
    """The same metrics for groups of targets, by name; `Slice.of` is the property that groups them."""
    protocol: EvaluationProtocol
    """How the model was evaluated. `evaluate(other, dataset, protocol=report.protocol)` does the same."""
    data: EvaluatedData
    """Dataset and targets of the evaluation."""
    bootstrap: Bootstrap
    """How the intervals were computed."""
    notes: tuple[str, ...]
    """Sentences about these targets, such as how many are cold."""
    sums: SequenceSums = field(repr=False)
    """Sums of the metrics within each sequence, from which comparisons are computed."""
    calibration: Calibration | None = None
    """Calibration of the softmax probabilities; None for scores that are not logits."""
    trained: bool = False
    """Whether the model has trained weights, so that another seed would give another model."""
    forecast: ForecastScores | None = None
    """Scores of the forecasts of the next event; None for a model without forecast heads."""

    @property
    def targets(self) -> int:
        """Number of targets, over which the metrics are means."""
        return self.data.targets

    def __repr__(self) -> str:
        shown = ", ".join(f"{name} {found.value:.4f}" for name, found in [*self.metrics.items()][:4])
        return f"Report({self.name!r}, {self.targets:,} targets, {shown})"

    def _repr_html_(self) -> str:
        rows = [(name, found.value, found.low, found.high) for name, found in self.metrics.items()]
        title = f"{self.name}: {self.targets:,} targets of the {self.protocol.part} part"
        return html_table(title, ["metric", "value", "low", "high"], rows)

    def to_frame(self, library: FrameLibrary = "pandas") -> Any:
        """Return the metrics as a data frame with the columns `model`, `metric`, `value`, `low` and `high`.

        Raises:
            MissingLibraryError: The library is not installed.
        """
        found = [(self.name, name, *interval) for name, interval in self.metrics.items()]
        return frame_of(
            dict(zip(("model", "metric", "value", "low", "high"), zip(*found, strict=True), strict=True)),
            library,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return `{"name", "metrics", "targets", "slices", "calibration", "protocol"}`, and `forecast`, as JSON values."""
        forecast = {} if self.forecast is None else {"forecast": self.forecast.to_dict()}
        return forecast | {
            "name": self.name,
            "metrics": _metrics_dict(self.metrics),
            "targets": self.targets,
            "slices": {name: part.to_dict() for name, part in self.slices.items()},
            "calibration": None if self.calibration is None else self.calibration.to_dict(),
            "protocol": self.protocol_dict(),
        }

    def table(self, metrics: Sequence[str] | None = None) -> MetricsTable:
        """Return a table of some metrics; None: all that are means over targets.

        Raises:
            DataError: The report does not have a metric.
        """
        return MetricsTable.of([(self.name, self.metrics)], metrics or self.sums.metrics)

    def to_latex(self, metrics: Sequence[str] | None = None) -> str:
        """Return the metrics as a LaTeX `tabular` for booktabs; None: all that are means over targets."""
        return self.table(metrics).to_latex()

    def to_csv(self, metrics: Sequence[str] | None = None) -> str:
        """Return the metrics as CSV, one row per metric."""
        return self.table(metrics).to_csv()

    def to_markdown(self, metrics: Sequence[str] | None = None) -> str:
        """Return the metrics as a Markdown table."""
        return self.table(metrics).to_markdown()

    @property
    def is_list(self) -> bool:
        """Whether the ranks are places in lists of other software."""
        return self.data.listed is not None

    def list_sentence(self) -> str:
        """Say what the ranks of lists mean, for a comparison with models."""
        return f"{self.name}: a rank beyond the list of at most {self.data.listed or 0:,} items is a miss."

    def protocol_dict(self) -> dict[str, Any]:
        """Return the protocol with its hash, the data and the notes as JSON values."""
        return {
            **self._comparable(),
            "sample": self.protocol.to_dict().get("sample"),
            "sampled_from": self.data.sampled_from,
            "candidates": self.data.candidates,
            "cold": "scored" if self.data.cold_candidates else "miss",
            **({} if self.data.listed is None else {"beyond_list": "miss", "longest_list": self.data.listed}),
            "notes": list(self.notes),
            "hash": self.protocol.hash,
        }

    def sentences(self) -> list[str]:
        """Return the protocol in words, one sentence each."""
        protocol, data = self.protocol, self.data
        before = f"{protocol.min_history} event{'s' * (protocol.min_history > 1)}"
        seen = "do not include" if protocol.exclude_seen else "include"
        ties = {
            "average": "averaged over all orders",
            "best": "resolved in favour of the target",
            "worst": "resolved against the target",
        }
        context = "; its context is all of them" if data.listed is None else ""
        return [
            f"Protocol {protocol.hash}: {data.target_words}{self._drawn()} in {data.sequences:,} sequences of the "
            f"{protocol.part} part of dataset {data.dataset or '(without a fingerprint)'}.",
            f"Every event with at least {before} before it in its sequence is a target{context}.",
            f"{self._candidate_sentence()}; the candidates {seen} items seen earlier in the sequence; ties are "
            f"{ties[protocol.ties]}.",
            *([] if data.listed is not None else [self._time_sentence()]),
            self._interval_sentence(),
            *self._sample_sentences(),
            *self.notes,
        ]

    def sums_within(self, within: str | None) -> SequenceSums:
        """Return the sums of a slice, or of all targets if `within` is None.

        Raises:
            DataError: There is no such slice.
        """
        if within is None:
            return self.sums
        if not isinstance(within, str) or within not in self.slices:
            raise DataError(f"{self.name!r} has no slice {within!r}{did_you_mean(within, self.slices)}")
        return self.slices[within].sums

    def difference(self, other: "Report") -> tuple[str, Any, Any] | None:
        """Return the first property in which two reports cannot be compared, with both values, if there is one."""
        mine, theirs = self._comparable(), other._comparable()
        return next(((name, mine[name], theirs[name]) for name in mine if mine[name] != theirs[name]), None)

    def __str__(self) -> str:
        metrics = [[name, str(interval)] for name, interval in self.metrics.items()]
        blocks = [aligned([[self.name, f"{self.data.target_words}{self._drawn()}"], *metrics])]
        if self.slices:
            blocks.append(aligned([*self._slice_rows()]))
        if self.calibration is not None:
            blocks.append(str(self.calibration))
        if self.forecast is not None:
            blocks.append(str(self.forecast))
        return "\n\n".join([*blocks, "\n".join(self.sentences())])

    def _comparable(self) -> dict[str, Any]:
        """Return everything that must be equal in reports that are compared."""
        data, protocol = self.data, self.protocol
        return {
            "dataset": data.dataset,
            "part": protocol.part,
            # a sample of all targets is the same as none
            "sample": None if data.sampled_from is None else asdict(self._sample),
            "targets": data.targets,
            "sequences": data.sequences,
            **{name: value for name, value in protocol.to_dict().items() if name != "sample"},
            "interval": asdict(self.bootstrap),
        }

    @property
    def _sample(self) -> TargetSample:
        assert self.protocol.sample is not None
        return self.protocol.sample

    def _drawn(self) -> str:
        return "" if self.data.sampled_from is None else f", sampled with seed {self._sample.seed},"

    def _sample_sentences(self) -> Iterator[str]:
        """Yield what a sample of the targets means for the metrics."""
        if self.data.sampled_from is None:
            return
        yield (
            "The targets were drawn without replacement and the items were not: each metric is an estimate of its value over "
            f"all {self.data.sampled_from:,} targets, and its interval includes the error of the sample."
        )
        exposure = [name for name in ("coverage", "gini") if f"{name}@{self.protocol.at[0]}" in self.metrics]
        if exposure:
            yield (
                f"{' and '.join(exposure)} are of the lists of the sample only. They change with the number of lists, so "
                "compare them with those of the same sample only."
            )
        few = [
            f"{name} ({part.targets:,})" for name, part in self.slices.items() if part.targets < FEW_TARGETS
        ]
        if few:
            yield (
                f"These slices have fewer than {FEW_TARGETS} sampled targets, too few for a reliable interval: "
                f"{', '.join(few)}; a larger sample has more."
            )

    def _candidate_sentence(self) -> str:
        """Say which items are ranked; the sentence holds for the other models of a comparison too."""
        candidates, cold = self.data.candidates, self.data.cold_candidates
        if self.data.listed is not None:
            return (
                f"Each rank is the place in a list of at most {self.data.listed:,} items that other software has made, and "
                f"a rank beyond the list is a miss; the dataset has {candidates:,} items"
            )
        if not cold:
            return f"Each target is ranked among all {candidates:,} items of the training part, so a cold target is a miss"
        return (
            f"Each target is ranked among all {candidates:,} items, {cold:,} of them cold; a model without scores for cold "
            f"items ranks it among the other {candidates - cold:,}, so that a cold target is a miss"
        )

    def _time_sentence(self) -> str:
        return f"Models are {'' if self.protocol.query_time else 'not '}given the time of the query."

    def _interval_sentence(self) -> str:
        if self.bootstrap.resamples == 0:
            return "No intervals were computed."
        return (
            f"[low, high]: {self.bootstrap.level:.0%} intervals, {self.bootstrap.method}, "
            f"{self.bootstrap.resamples} resamples, seed {self.bootstrap.seed}."
        )

    def _slice_rows(self) -> Iterator[list[str]]:
        """Yield the slices with their metrics at the longest list; hit is left out, since it equals recall."""
        longest = max(self.protocol.at)
        shown = [
            name for name in self.sums.metrics if name.endswith(f"@{longest}") and not name.startswith("hit@")
        ]
        yield ["slice", "targets", *shown]
        before = ""
        for name, part in self.slices.items():
            if part.of != before:
                yield [part.of, "", *[""] * len(shown)]
                before = part.of
            yield [f"  {name}", f"{part.targets:,}", *(str(part.metrics[metric]) for metric in shown)]


def check_comparable(first: Report, others: Iterable[Report]) -> None:
    """Check that reports are of the same targets, have the same metrics and have intervals.

    Raises:
        DataError: They do not; the message names the difference and both values.
    """
    if first.bootstrap.resamples < 2:
        raise DataError(
            f"a comparison needs intervals, and {first.name!r} was evaluated with resamples="
            f"{first.bootstrap.resamples}; 1000 is usual"
        )
    for other in others:
        found = first.difference(other)
        if found is None and first.sums.metrics != other.sums.metrics:
            found = "metrics", first.sums.metrics, other.sums.metrics
        if found is not None:
            name, mine, theirs = found
            raise DataError(
                f"{first.name!r} and {other.name!r} cannot be compared: {name} is {mine!r} for one and "
                f"{theirs!r} for the other; evaluate both on the same dataset in the same way"
            )
        assert np.array_equal(first.sums.row_S, other.sums.row_S)


def shared_slices(reports: Sequence[Report]) -> list[str]:
    """Return the names of the slices that all reports have; some may have been made without slices."""
    return [name for name in reports[0].slices if all(name in report.slices for report in reports)]


def _metrics_dict(metrics: dict[str, Interval]) -> dict[str, Any]:
    return {name: interval.to_dict() for name, interval in metrics.items()}
