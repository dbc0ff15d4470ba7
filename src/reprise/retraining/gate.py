"""The comparison of a new network with the one before it on the same new targets.

Shape letters: N targets.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from reprise.argument_checks import number
from reprise.arrays import AnyArray, Float64Array
from reprise.data.dataset import SequenceDataset
from reprise.errors import ConfigError
from reprise.evaluation.evaluator import evaluate_ranks
from reprise.evaluation.metrics import parse_metric, resolve_ties
from reprise.evaluation.options import EvaluationOptions
from reprise.evaluation.protocol import EvaluationProtocol
from reprise.evaluation.report import SequenceSums
from reprise.evaluation.stats.bootstrap import Bootstrap, Interval
from reprise.models.scorer import Scorer
from reprise.retraining.former_view import former_view

OPTIONS = EvaluationOptions(
    lists=False, slices=False, calibration=False, forecast=False, resamples=0, progress=False, leaks=False
)


@dataclass(frozen=True)
class Gate:
    """What a new network must reach to replace the one before it."""

    metric: str = "ndcg@20"
    """Metric with its list length, over the test part of the new dataset."""
    margin: float | None = None
    """Loss of the metric that is accepted, above 0: the whole interval of the difference must be above minus this. None: the
    new network must not be shown to be worse."""

    def __post_init__(self) -> None:
        parse_metric(self.metric, trusted=True)
        if self.margin is not None and number("margin", self.margin) <= 0:
            raise ConfigError(f"margin must be above 0, got {self.margin:g}; without a margin, give None")


@dataclass(frozen=True)
class GateResult:
    """Whether a new network may replace the one before it."""

    metric: str
    """Name of the metric with its list length, such as `ndcg@20`."""
    margin: float | None
    """Loss that is accepted; None: no loss may be shown."""
    targets: int
    """Number of targets: the events of the test part of the new dataset."""
    new: float
    """Metric of the new network over all targets."""
    old: float
    """Metric of the earlier network over the same targets. A target whose item it does not know is a miss."""
    difference: Interval
    """New minus old over all targets, with a paired 95 % interval over sequences."""
    shared_targets: int
    """Number of targets whose items both networks know."""
    shared_difference: Interval | None
    """New minus old over these; None if there are none."""

    @property
    def passed(self) -> bool:
        """Whether the new network is not shown to be worse.

        Without a margin: the interval of the difference reaches 0 or above. With a margin: the whole interval is above minus
        the margin, which also needs enough targets.
        """
        low, high = self.difference.low, self.difference.high
        if low is None or high is None:  # one sequence shows nothing
            return self.margin is None
        return high >= 0 if self.margin is None else low > -self.margin

    def to_dict(self) -> dict[str, Any]:
        """Return all fields and `passed` as JSON values."""
        shared = None if self.shared_difference is None else self.shared_difference.to_dict()
        return asdict(self) | {
            "difference": self.difference.to_dict(), "shared_difference": shared, "passed": self.passed,
        }  # fmt: skip

    def __str__(self) -> str:
        if self.margin is None:
            verdict = "not shown to be worse" if self.passed else "worse"
        else:
            verdict = (
                f"less than {self.margin:g} worse"
                if self.passed
                else f"not shown to be less than {self.margin:g} worse"
            )
        text = (
            f"{self.metric} {self.new:.4f}, before {self.old:.4f}: {self.difference.signed()} on {self.targets:,} targets; the "
            f"new network is {verdict}"
        )
        if self.shared_difference is not None and self.shared_targets < self.targets:
            text += (
                f". On the {self.shared_targets:,} targets that both know: {self.shared_difference.signed()}"
            )
        return text


def judge(
    new: Scorer, dataset: SequenceDataset, old: Scorer, before: SequenceDataset, gate: Gate
) -> GateResult:
    """Compare two networks on the test part of the new dataset.

    Args:
        new: The new network.
        dataset: Its dataset.
        old: The earlier network.
        before: The dataset of the earlier network.
        gate: Metric, and the loss that is accepted.

    Raises:
        DataError: the test part has no targets.
    """
    cutoff = parse_metric(gate.metric, trusted=True)
    values = []
    view = former_view(dataset, before)
    for model, data in ((new, dataset), (old, view)):
        protocol = replace(EvaluationProtocol(), at=(min(cutoff.k, data.items.warm),))
        ranks = evaluate_ranks(model, data, protocol, OPTIONS).ranks
        greater_N, equal_N = resolve_ties(ranks.greater_N, ranks.equal_N, protocol.ties)
        values.append(cutoff.metric.at(greater_N, equal_N, cutoff.k))
        row_N, position_N = ranks.row_N, ranks.position_N
    new_N, old_N = values
    shared_N = (np.asarray(dataset.item)[position_N] <= dataset.items.warm) & (
        np.asarray(view.item)[position_N] <= before.items.warm
    )
    shared = _interval(row_N[shared_N], (new_N - old_N)[shared_N]) if shared_N.any() else None
    return GateResult(
        cutoff.key, gate.margin, len(new_N), float(new_N.mean()), float(old_N.mean()), _interval(row_N, new_N - old_N),
        int(shared_N.sum()), shared,
    )  # fmt: skip


def _interval(row_N: AnyArray, difference_N: Float64Array) -> Interval:
    """Return the mean difference with its bootstrap interval over sequences."""
    sums = SequenceSums.of(row_N, ("difference",), difference_N[:, None])
    ((interval,),) = Bootstrap().together(len(sums.row_S), [sums.ratio(sums.row_S)])
    return interval
