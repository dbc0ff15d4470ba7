"""Validation metrics of a network during training: full ranking of the validation part, without intervals."""

from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from reprise.data.dataset import SequenceDataset
from reprise.errors import ConfigError, DataError
from reprise.evaluation.evaluator import evaluate
from reprise.evaluation.metrics import METRICS, CutoffMetric, parse_metric, with_metric
from reprise.evaluation.options import QUICK
from reprise.evaluation.protocol import EvaluationProtocol
from reprise.models.networks.network_scorer import NetworkScorer
from reprise.training.recipe import TrainingConfig

VALID = "valid "
"""Prefix of the names of validation metrics in the records of a run."""
Metrics = dict[str, float]
"""Metrics by name, such as `ndcg@10`."""


class Validation:
    """Computes the metrics of a network on the validation part, with the cut-off k of `training.metric`."""

    def __init__(self, config: TrainingConfig, dataset: SequenceDataset) -> None:
        self.dataset = dataset
        self.metric = config.metric_for(dataset.items.warm)
        self.cutoff_metric = validation_metric(self.metric)
        self.k = self.cutoff_metric.k
        self.protocol = EvaluationProtocol("valid", (self.k,), config.exclude_seen)
        if not self.protocol.count_targets(dataset):
            raise DataError(
                "the validation part has no target (an event with another before it in its sequence); "
                "prepare the log with an earlier split"
            )
        if self.k > dataset.items.warm:
            raise ConfigError(
                f"training.metric {self.metric!r} ranks the first {self.k} items, but the catalogue has only "
                f"{dataset.items.warm}; choose a smaller k"
            )

    def __call__(self, model: NetworkScorer, precision: AbstractContextManager[Any]) -> Metrics:
        """Evaluate the network in the given precision and return the metrics by name. Its training mode is restored."""
        with precision:
            report = evaluate(
                model,
                self.dataset,
                protocol=self.protocol,
                options=replace(QUICK, metrics=with_metric(METRICS, self.cutoff_metric.metric)),
            )
        # use the name in the recipe, such as `my_metrics:RBP@10`, for the metric of the recipe
        names = {self.cutoff_metric.key: self.metric}
        return {names.get(name, name): interval.value for name, interval in report.metrics.items()}


def recorded(metrics: Metrics) -> Metrics:
    """Return metrics under their names in the records of a run."""
    return {f"{VALID}{name}": value for name, value in metrics.items()}


def metrics_of(record: dict[str, Any]) -> Metrics:
    """Return the validation metrics of a record of a run."""
    return {name.removeprefix(VALID): value for name, value in record.items() if name.startswith(VALID)}


def validation_metric(name: str, *, trusted: bool = True) -> CutoffMetric:
    """Return the metric that `training.metric` names.

    Args:
        name: Metric with its list length, such as `ndcg@10`.
        trusted: Whether the metric may be in a module outside this package. A recipe in Python may import anything; the
            command line passes its option `--trusted`.

    Raises:
        ConfigError: The metric cannot be found, is not trusted, or has no list length.
    """
    try:
        return parse_metric(name, trusted=trusted)
    except ConfigError as error:
        raise ConfigError(f"training.metric: {error}") from None
