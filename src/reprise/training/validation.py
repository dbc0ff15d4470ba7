"""Validation metrics of a network during training: full ranking of the validation part, or of a sample of it.

Shape letters: U sequences.
"""

from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch

from reprise.arrays import AnyArray
from reprise.data.dataset import SequenceDataset
from reprise.errors import ConfigError, DataError
from reprise.evaluation.evaluator import evaluate_ranks
from reprise.evaluation.metrics import METRICS, CutoffMetric, parse_metric, with_metric
from reprise.evaluation.options import QUICK
from reprise.evaluation.protocol import EvaluationProtocol
from reprise.evaluation.ranking.target_split import TargetSplit
from reprise.evaluation.stats.bootstrap import Interval
from reprise.models.networks.network_scorer import NetworkScorer
from reprise.training.distributed.process_group import ALONE, ProcessGroup
from reprise.training.recipe import MIN_SEQUENCES, TrainingConfig

VALID = "valid "
"""Prefix of the names of validation metrics in the records of a run."""
SAMPLE = "sample"
"""Key of the record of an epoch: the sequences that were drawn, and the interval of the metric."""
SEED = 0
"""Seed of the sample, the same for all runs, so that runs with other seeds and trials of a search compare."""
MAX_SCORES = 3 * 10**10
"""Number of scores, targets times items, from which everything after the epochs is measured on a sample too."""
RESAMPLES = 200
"""Number of bootstrap resamples for the interval of a sample."""
Metrics = dict[str, float]
"""Metrics by name, such as `ndcg@10`."""


class Validation:
    """Computes the metrics of a network on the validation part, with the cut-off k of `training.metric`.

    If that takes more than `MAX_SCORES` scores and the recipe has no `validation_sequences`, it is a sample of the sequences
    that takes this many, but has at least `MIN_SEQUENCES`.

    The processes of a group divide the sequences among them, and all receive the metrics of all sequences.
    """

    def __init__(self, config: TrainingConfig, dataset: SequenceDataset, group: ProcessGroup = ALONE) -> None:
        self.dataset, self.group = dataset, group
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
        if config.validation_sequences is None:
            self.dataset = self._affordable()

    def _affordable(self) -> SequenceDataset:
        """Return the dataset with the sequences that are validated; see the class."""
        first_U, last_U = self.protocol.target_bounds(self.dataset)
        row_S = np.flatnonzero(last_U > first_U)
        scores = int((last_U - first_U)[row_S].sum()) * len(self.dataset.items)
        count = max(MIN_SEQUENCES, len(row_S) * MAX_SCORES // max(MAX_SCORES, scores))
        return self.dataset if count >= len(row_S) else _validating(self.dataset, row_S, count)

    def __call__(self, model: NetworkScorer, precision: AbstractContextManager[Any]) -> Metrics:
        """Evaluate the network in the given precision and return the metrics by name. Its training mode is restored."""
        return {name: interval.value for name, interval in self._measure(model, precision).items()}

    def _measure(
        self, model: NetworkScorer, precision: AbstractContextManager[Any], resamples: int = 0
    ) -> dict[str, Interval]:
        metrics = with_metric(METRICS, self.cutoff_metric.metric)
        options = replace(QUICK, metrics=metrics, resamples=resamples)
        split = TargetSplit(self.group.rank, self.group.world_size, self._gather)
        with precision:
            report, _ = evaluate_ranks(
                model, self.dataset, self.protocol, options, split=None if self.group.is_alone else split
            )
        # use the name in the recipe, such as `my_metrics:RBP@10`, for the metric of the recipe
        names = {self.cutoff_metric.key: self.metric}
        return {names.get(name, name): interval for name, interval in report.metrics.items()}

    def _gather(self, array: AnyArray) -> AnyArray:
        joined: AnyArray = torch.cat(self.group.gather(torch.from_numpy(array))).numpy()
        return joined


class ValidationSample(NamedTuple):
    """Sequences that were drawn for the validation of the epochs, and the interval of the metric on them."""

    sequences: int
    """Number of sequences that were drawn."""
    of: int
    """Number of sequences with a target in the validation part."""
    metric: Interval
    """Metric of the recipe with the 95 % interval that is due to the choice of the sequences."""


class EpochMetrics(NamedTuple):
    """Metrics of an epoch, on the whole validation part or on a sample."""

    metrics: Metrics
    """Values by name."""
    sample: ValidationSample | None = None
    """The sample on which they were measured; None: the whole validation part."""

    def record(self) -> dict[str, Any]:
        """Return the metrics for the record of the epoch."""
        if self.sample is None:
            return recorded(self.metrics)
        _, low, high = self.sample.metric
        drawn = {"sequences": self.sample.sequences, "of": self.sample.of, "low": low, "high": high}
        return {**recorded(self.metrics), SAMPLE: drawn}


class EpochValidation:
    """Validates the epochs of a run, which is measured on a sample of the sequences if the validation part is large.

    The sample is the same in all epochs, so that two epochs differ by their weights only, and in all runs on a dataset.
    """

    def __init__(self, config: TrainingConfig, dataset: SequenceDataset, group: ProcessGroup = ALONE) -> None:
        self.whole = Validation(config, dataset, group)
        first_U, last_U = self.whole.protocol.target_bounds(dataset)
        row_S = np.flatnonzero(last_U > first_U)
        self.sequences = len(row_S)
        events = int((last_U - dataset.offset[:-1])[row_S].sum())
        scores = int((last_U - first_U)[row_S].sum()) * len(dataset.items)
        self.drawn = config.validation_sequences_for(len(row_S), events, scores)
        if self.is_sample:
            self.validation = Validation(config, _validating(dataset, row_S, self.drawn), group)
        else:
            self.validation = self.whole

    @property
    def is_sample(self) -> bool:
        """Whether the epochs are measured on a part of the sequences."""
        return self.drawn < self.sequences

    def __call__(self, model: NetworkScorer, precision: AbstractContextManager[Any]) -> EpochMetrics:
        """Return the metrics of the network on these targets, computed in the given precision."""
        if not self.is_sample:
            return EpochMetrics(self.whole(model, precision))
        found = self.validation._measure(model, precision, RESAMPLES)
        sample = ValidationSample(self.drawn, self.sequences, found[self.whole.metric])
        return EpochMetrics({name: interval.value for name, interval in found.items()}, sample)


def _validating(dataset: SequenceDataset, row_S: AnyArray, count: int) -> SequenceDataset:
    """Return the dataset with `count` of the sequences `row_S` in its validation part, drawn at random."""
    drawn = np.random.default_rng(SEED).choice(row_S, count, replace=False)
    begin_U, end_U = dataset.part("valid")
    valid_end = np.array(begin_U)
    valid_end[drawn] = end_U[drawn]
    return replace(dataset, valid_end=valid_end)


def recorded(metrics: Metrics) -> Metrics:
    """Return metrics under their names in the records of a run."""
    return {f"{VALID}{name}": value for name, value in metrics.items()}


def metrics_of(record: dict[str, Any]) -> Metrics:
    """Return the validation metrics of a record of a run."""
    return {name.removeprefix(VALID): value for name, value in record.items() if name.startswith(VALID)}


def described(record: dict[str, Any], metric: str) -> str:
    """Return the value of a metric in the record of an epoch as text, with the interval and the size of a sample."""
    value = record[f"{VALID}{metric}"]
    if SAMPLE not in record:
        return f"{value:.4f}"
    sequences, of, low, high = (record[SAMPLE][key] for key in ("sequences", "of", "low", "high"))
    return f"{Interval(value, low, high)} on {sequences:,} of {of:,} sequences"


def epoch_summary(
    record: dict[str, Any], config: TrainingConfig, *, is_best: bool, stopped_early: bool
) -> str:
    """Return the record of an epoch as one line of text."""
    value = described(record, config.metric)
    end = f", stopped: no improvement in {config.max_patience} epochs" if stopped_early else ""
    return (
        f"epoch {record['epoch']}/{config.epochs}  loss {record['loss']:.4f}  valid {config.metric} {value}"
        f"{' (best)' if is_best else ''}  {record['events_per_s']:,.0f} events/s{end}"
    )


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
