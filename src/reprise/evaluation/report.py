"""What an evaluation found, together with the protocol that found it.

Shape letters: S sequences with a target, M metrics.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, NamedTuple

import numpy as np

from reprise.arrays import AnyArray, Float64Array
from reprise.errors import DataError, did_you_mean
from reprise.evaluation.calibration import Calibration
from reprise.evaluation.metrics import Ties
from reprise.evaluation.stats.bootstrap import Bootstrap, Interval, Ratio

COLD_RULE = "miss"
"""What a cold target counts as: no model can rank an item that training never saw."""


@dataclass(frozen=True)
class Protocol:
    """Everything that decides what the numbers of a report mean; only reports with equal ones are compared."""

    dataset: str
    """Fingerprint of the dataset."""
    part: str
    """Events of this part are targets."""
    targets: int
    """How many."""
    sequences: int
    """In how many sequences."""
    candidates: int
    """How many items each target is ranked among: all warm ones, never a sample."""
    at: tuple[int, ...]
    """Lengths of the lists."""
    min_history: int
    """Fewest events before a target."""
    exclude_seen: bool
    """Whether items from earlier in the sequence are no candidates."""
    query_time: bool
    """Whether the models were told the moment of asking."""
    ties: Ties
    """Where a target stands among items of the same score."""
    interval: Bootstrap
    """How the intervals were made."""
    cold: str = COLD_RULE
    """What a target counts as that the training part does not have."""
    notes: tuple[str, ...] = field(default=(), compare=False)
    """What a reader should know of these targets, in sentences."""

    def difference(self, other: "Protocol") -> tuple[str, Any, Any] | None:
        """The first field in which two protocols differ, with both values; notes are not compared."""
        for item in fields(self):
            mine, theirs = getattr(self, item.name), getattr(other, item.name)
            if item.compare and mine != theirs:
                return item.name, mine, theirs
        return None

    def to_dict(self) -> dict[str, Any]:
        """All fields, as JSON has them."""
        return {**asdict(self), "at": list(self.at), "notes": list(self.notes)}

    def sentences(self) -> list[str]:
        """The protocol in words."""
        seen = (
            "items seen earlier in the sequence are left out" if self.exclude_seen else "seen items stay in"
        )
        time = "are told" if self.query_time else "are not told"
        places = {
            "average": "averaged over all orders",
            "best": "broken for the target",
            "worst": "broken against it",
        }
        return [
            f"{self.part} part of dataset {self.dataset or '(no fingerprint)'}: {self.targets:,} targets in "
            f"{self.sequences:,} sequences.",
            f"Every event with at least {self.min_history} before it is a target; its context is all before it.",
            f"Ranked among all {self.candidates:,} items of the training part; {seen}; "
            f"ties are {places[self.ties]}; a cold target is a {self.cold}.",
            f"Models {time} the moment of asking.",
            self._interval_sentence(),
            *self.notes,
        ]

    def _interval_sentence(self) -> str:
        if self.interval.resamples == 0:
            return "No intervals were made."
        return (
            f"[low, high]: {self.interval.level:.0%} intervals, {self.interval.method}, "
            f"{self.interval.resamples} resamples, seed {self.interval.seed}."
        )


class SequenceSums(NamedTuple):
    """The metrics summed within each sequence: what intervals and paired comparisons are made from."""

    row_S: AnyArray
    """Which sequences of the dataset, ascending."""
    targets_S: AnyArray
    """How many targets each has."""
    metrics: tuple[str, ...]
    """The names of the columns."""
    sum_SM: Float64Array
    """Sums over each sequence's targets."""

    @classmethod
    def of(cls, row_N: AnyArray, metrics: tuple[str, ...], value_NM: Float64Array) -> "SequenceSums":
        """Sum the values of targets, whose rows ascend, within each sequence."""
        row_S, first_S, targets_S = np.unique(row_N, return_index=True, return_counts=True)
        return cls(row_S, targets_S, metrics, np.add.reduceat(value_NM, first_S, axis=0))

    def ratio(self, row_S: AnyArray) -> Ratio:
        """The means over targets, for a bootstrap that draws the sequences `row_S`, which hold these."""
        place_S = None if len(row_S) == len(self.row_S) else np.searchsorted(row_S, self.row_S)
        return Ratio(self.sum_SM, self.targets_S, place_S)


@dataclass(frozen=True, eq=False)
class Slice:
    """The metrics of some of the targets."""

    of: str
    """What divides the targets: 'item', 'popularity', 'repeat', 'history', 'kind', 'gap' or 'time'."""
    targets: int
    """How many."""
    metrics: dict[str, Interval]
    """By name, such as 'recall@20'."""
    sums: SequenceSums = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """`{"of", "targets", "metrics"}`."""
        return {"of": self.of, "targets": self.targets, "metrics": _metrics_dict(self.metrics)}


@dataclass(frozen=True, eq=False)
class Report:
    """The metrics of one model, with intervals, slices, and the protocol that made them."""

    name: str
    """The model's."""
    metrics: dict[str, Interval]
    """By name: 'recall@20', 'hit@20', 'mrr@20', 'ndcg@20', 'coverage@20'."""
    targets: int
    """How many targets the metrics are means over."""
    slices: dict[str, Slice]
    """The same metrics of some of the targets, by name; `Slice.of` says what divides them."""
    protocol: Protocol
    sums: SequenceSums = field(repr=False)
    calibration: Calibration | None = None
    """Whether the probabilities of the softmax can be believed; None for scores that are no logits."""
    trained: bool = False
    """Whether the model has weights, so that another seed would have given another model."""

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON has it: `{"name", "metrics", "targets", "slices", "calibration", "protocol"}`."""
        return {
            "name": self.name,
            "metrics": _metrics_dict(self.metrics),
            "targets": self.targets,
            "slices": {name: part.to_dict() for name, part in self.slices.items()},
            "calibration": None if self.calibration is None else self.calibration.to_dict(),
            "protocol": self.protocol.to_dict(),
        }

    def sums_within(self, within: str | None) -> SequenceSums:
        """The sums of a slice, or of all targets.

        Raises:
            DataError: There is no such slice.
        """
        if within is None:
            return self.sums
        if within not in self.slices:
            raise DataError(f"{self.name!r} has no slice {within!r}{did_you_mean(within, self.slices)}")
        return self.slices[within].sums

    def __str__(self) -> str:
        metrics = [[name, str(interval)] for name, interval in self.metrics.items()]
        blocks = [aligned([[self.name, f"{self.targets:,} targets"], *metrics])]
        if self.slices:
            blocks.append(aligned([*self._slice_rows()]))
        if self.calibration is not None:
            blocks.append(str(self.calibration))
        return "\n\n".join([*blocks, "\n".join(self.protocol.sentences())])

    def _slice_rows(self) -> Iterator[list[str]]:
        """The slices with their metrics at the longest list, under what divides them; hit is left out, it equals recall."""
        longest = max(self.protocol.at)
        shown = [
            name for name in self.sums.metrics if name.endswith(f"@{longest}") and not name.startswith("hit")
        ]
        yield ["slice", "targets", *shown]
        before = ""
        for name, part in self.slices.items():
            if part.of != before:
                yield [part.of, "", *[""] * len(shown)]
                before = part.of
            yield [f"  {name}", f"{part.targets:,}", *(str(part.metrics[metric]) for metric in shown)]


def check_comparable(first: Report, others: Iterable[Report]) -> None:
    """See that reports are of the same targets and have intervals.

    Raises:
        DataError: Otherwise, with the field of the protocol that differs and both values.
    """
    if first.protocol.interval.resamples < 2:
        raise DataError(
            f"a comparison needs intervals, and {first.name!r} was evaluated with resamples="
            f"{first.protocol.interval.resamples}; 1000 is usual"
        )
    for other in others:
        found = first.protocol.difference(other.protocol)
        if found is not None:
            name, mine, theirs = found
            raise DataError(
                f"{first.name!r} and {other.name!r} cannot be compared: {name} is {mine!r} for one and "
                f"{theirs!r} for the other; evaluate both on the same dataset in the same way"
            )
        assert np.array_equal(first.sums.row_S, other.sums.row_S)
        assert first.sums.metrics == other.sums.metrics


def shared_slices(reports: Sequence[Report]) -> list[str]:
    """The names of the slices that all of them have: those of one protocol differ only where some were made without."""
    return [name for name in reports[0].slices if all(name in report.slices for report in reports)]


def aligned(rows: list[list[str]]) -> str:
    """Rows of cells as lines with straight columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _metrics_dict(metrics: dict[str, Interval]) -> dict[str, Any]:
    return {name: interval.to_dict() for name, interval in metrics.items()}
