"""Options of an evaluation that change what is measured or what it costs, but not what a metric means."""

from dataclasses import dataclass, fields
from typing import Any

from reprise.argument_checks import flag, whole
from reprise.evaluation.metrics import METRICS, Metric, check_metrics
from reprise.evaluation.stats.bootstrap import Bootstrap


@dataclass(frozen=True)
class EvaluationOptions:
    """Settings of an evaluation that are not part of its `EvaluationProtocol`: further measurements, and batch sizes."""

    metrics: tuple[Metric, ...] = METRICS
    """Ranking metrics to compute at each list length, your own included."""
    lists: bool = True
    """Whether to measure the top-k lists (coverage, novelty, diversity), which needs more than the ranks."""
    slices: bool = True
    """Whether to compute the metrics of groups of targets, such as cold items."""
    calibration: bool = True
    """Whether to measure the calibration of a network, which needs the softmax over all items."""
    forecast: bool = True
    """Whether to score the forecasts of the next event, if the network has heads for them."""
    resamples: int = 1000
    """Number of bootstrap resamples; 0: no intervals."""
    level: float = 0.95
    """Confidence level of the intervals."""
    seed: int = 0
    """Seed of the bootstrap, and of the samples from which diversity and calibration are measured."""
    events_per_batch: int = 8192
    """Approximate number of events in a batch. It changes time and memory, not results."""
    max_steps: int = 256
    """Maximum number of steps in a batch; the state of a longer history is carried to the next batch."""
    progress: bool = True
    """Whether to show a progress bar if the standard error is a terminal."""
    leaks: bool = True
    """Whether to run the leakage checks first; the checks of a dataset run once."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "metrics", check_metrics(self.metrics))
        for name in ("events_per_batch", "max_steps"):
            object.__setattr__(self, name, whole(name, getattr(self, name)))
        for name in ("lists", "slices", "calibration", "forecast", "progress", "leaks"):
            object.__setattr__(self, name, flag(name, getattr(self, name)))
        Bootstrap(resamples=self.resamples, level=self.level, seed=self.seed)

    @property
    def bootstrap(self) -> Bootstrap:
        """Settings of the bootstrap intervals."""
        return Bootstrap(resamples=self.resamples, level=self.level, seed=self.seed)

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as JSON values; a metric is the name by which `find_metric` finds it."""
        names = [metric.source or metric.name for metric in self.metrics]
        return {**{field.name: getattr(self, field.name) for field in fields(self)}, "metrics": names}


QUICK = EvaluationOptions(
    lists=False, slices=False, calibration=False, forecast=False, resamples=0, progress=False, leaks=False
)
"""Metric values only, for validation during training; `train` runs the leakage checks before it begins."""
