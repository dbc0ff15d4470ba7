"""How a network under training is judged: the evaluation's own ranking of the validation part, without intervals."""

from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from reprise.data.dataset import SequenceDataset
from reprise.errors import ConfigError, DataError
from reprise.evaluation.evaluator import QUICK, evaluate
from reprise.evaluation.metrics import METRICS, CutoffMetric, parse_metric, with_metric
from reprise.evaluation.ranking.targets import EvaluationPlan
from reprise.models.networks.network_scorer import NetworkScorer
from reprise.training.recipe import TrainingConfig

VALID = "valid "
"""What the names of metrics begin with in the records of a run."""
Metrics = dict[str, float]
"""By name, such as `ndcg@10`."""


class Validation:
    """The metrics of a network on the validation part, at the k of the metric that chooses."""

    def __init__(self, config: TrainingConfig, dataset: SequenceDataset) -> None:
        self.dataset = dataset
        self.exclude_seen = config.exclude_seen
        self.metric = config.metric
        self.own = _parse_metric(config.metric)
        self.k = self.own.k
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
                options=replace(QUICK, metrics=with_metric(METRICS, self.own.metric)),
            )
        # the metric of the recipe goes by the name that the recipe has for it, such as `my_metrics:RBP@10`
        named = {self.own.key: self.metric}
        return {named.get(name, name): interval.value for name, interval in report.metrics.items()}


def recorded(metrics: Metrics) -> Metrics:
    """Metrics as a record of a run names them."""
    return {f"{VALID}{name}": value for name, value in metrics.items()}


def metrics_of(record: dict[str, Any]) -> Metrics:
    """The metrics in a record of a run."""
    return {name.removeprefix(VALID): value for name, value in record.items() if name.startswith(VALID)}


def _parse_metric(text: str) -> CutoffMetric:
    try:
        # as with a cell of your own, a recipe in Python is trusted; the command line checks it before
        return parse_metric(text, trusted=True)
    except ConfigError as error:
        raise ConfigError(f"training.metric: {error}") from None
