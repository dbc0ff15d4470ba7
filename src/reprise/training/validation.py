"""How a network under training is judged: the evaluation's own ranking of the validation part, without intervals."""

from contextlib import AbstractContextManager
from typing import Any

from reprise.data.dataset import SequenceDataset
from reprise.errors import ConfigError, DataError, did_you_mean
from reprise.evaluation.evaluator import QUICK, evaluate
from reprise.evaluation.ranking.targets import EvaluationPlan
from reprise.models.networks.network_scorer import NetworkScorer
from reprise.training.recipe import TrainingConfig

METRICS = ("recall", "hit", "mrr", "ndcg")
VALID = "valid "
"""What the names of metrics begin with in the records of a run."""
Metrics = dict[str, float]
"""By name, such as `ndcg@10`."""


class Validation:
    """The metrics of a network on the validation part, at the k of the metric that chooses."""

    def __init__(self, config: TrainingConfig, dataset: SequenceDataset) -> None:
        self.dataset = dataset
        self.exclude_seen = config.exclude_seen
        self.k = _k(config.metric)
        if not EvaluationPlan("valid").targets(dataset):
            raise DataError(
                "the validation part has no event with another before it in its sequence, so no epoch could be judged; "
                "prepare the log with an earlier split"
            )
        if self.k > dataset.items.warm:
            raise ConfigError(
                f"training.metric {config.metric!r} looks at the first {self.k}, and the catalogue has only "
                f"{dataset.items.warm} items; choose a smaller k"
            )

    def __call__(self, model: NetworkScorer, precision: AbstractContextManager[Any]) -> Metrics:
        """Metrics by name. The network reads in the precision it is trained in, and is left as it was, its mode included."""
        with precision:
            report = evaluate(
                model,
                self.dataset,
                part="valid",
                at=(self.k,),
                exclude_seen=self.exclude_seen,
                options=QUICK,
            )
        return {name: interval.value for name, interval in report.metrics.items()}


def recorded(metrics: Metrics) -> Metrics:
    """Metrics as a record of a run names them."""
    return {f"{VALID}{name}": value for name, value in metrics.items()}


def metrics_of(record: dict[str, Any]) -> Metrics:
    """The metrics in a record of a run."""
    return {name.removeprefix(VALID): value for name, value in record.items() if name.startswith(VALID)}


def _k(metric: str) -> int:
    name, _, k = metric.partition("@")
    if name not in METRICS:
        raise ConfigError(f"unknown training.metric {metric!r}{did_you_mean(name, METRICS)}")
    if not (k.isdecimal() and int(k) > 0 and k == str(int(k))):
        raise ConfigError(f"training.metric {metric!r} says no length of list; write {name}@10, for instance")
    return int(k)
