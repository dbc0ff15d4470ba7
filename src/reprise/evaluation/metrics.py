"""Ranking metrics: the expected gain of one target, from how many items score higher and how many score the same.

Shape letters: N targets, K ranks. Each position has one relevant item, so recall@k equals hit@k and the ideal DCG is 1.
Ties: the target is equally likely at each rank among the items of its score, and a metric is its expected value.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import numpy as np

from reprise.argument_checks import listed, shown
from reprise.arrays import AnyArray, Float64Array
from reprise.class_names import resolve
from reprise.errors import ConfigError, did_you_mean

Ties = Literal["average", "best", "worst"]
TIES: tuple[Ties, ...] = ("average", "best", "worst")

Gain = Callable[[Float64Array], Float64Array]
"""Function of the ranks 1..K, [K] float64, that returns the gain of a target at each of them, [K], between 0 and 1."""

LIST_METRICS = ("novelty", "popularity_lift", "diversity", "coverage", "gini")
"""Names of the measures of whole lists (`list_metrics`), which a `Metric` may not have."""
COLD_METRICS = ("recall_cold", "recall_warm", "recall_cold_among_cold", "cold_slots")
"""Names of the measures of cold items (`cold_items`), which a `Metric` may not have: the recall of the targets that are
cold, that of the others, that of cold targets among the cold candidates only, and the share of the places that hold a cold
item."""


@dataclass(frozen=True)
class Metric:
    """A ranking metric: the gain of a target at each rank. Below the last place k of the list the gain is 0.

    Pass your own to `evaluate` in `EvaluationOptions(metrics=(*METRICS, mine))`. Where a name is needed, as in a recipe or on
    the command line, write `module:NAME@k`, the place where the object is defined; see `find_metric`.
    """

    name: str
    """Name in reports, without the list length, such as 'recall'."""
    gain: Gain
    """Gain of a target as a function of its rank, 1 for the first place."""
    source: str = field(default="", compare=False)
    """Name `module:NAME` under which the metric was found; empty for a built-in metric or an object that was passed."""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.isidentifier():
            raise ConfigError(f"a metric's name must be an identifier such as 'rbp', got {self.name!r}")
        if not callable(self.gain):
            raise ConfigError(
                f"gain of the metric {self.name!r} must be a function of the ranks, got {shown(self.gain)}"
            )
        if self.name in LIST_METRICS or self.name in COLD_METRICS:
            raise ConfigError(
                f"{self.name!r} is the name of a measure of lists; give the metric another name"
            )

    def __reduce__(self) -> str | tuple[Any, ...]:
        # `gain` may be a lambda, which cannot be pickled; another process imports the metric by its name instead
        if self.source:
            return _imported, (self.source,)
        return Metric, (self.name, self.gain)

    def _gains(self, k: int) -> Float64Array:
        """Return the gains of the first `k` places, [K].

        Raises:
            ConfigError: The function of a user does not return one finite number for each place.
        """
        found = self.gain(np.arange(1, k + 1, dtype=np.float64))
        try:
            gain_K = np.asarray(found, dtype=np.float64)
        except (TypeError, ValueError):
            gain_K = np.empty(0)
        if gain_K.shape != (k,) or not np.isfinite(gain_K).all():
            raise ConfigError(
                f"gain of the metric {self.name!r} must return one number for each of the {k} places, got {shown(found)}"
            )
        return gain_K

    def at(self, greater_N: AnyArray, equal_N: AnyArray, k: int) -> Float64Array:
        """Return the expected gain within the first `k` places for each target, [N].

        The rank is one of `greater + 1`..`greater + equal + 1`, each equally likely, so the expectation is a difference
        of two prefix sums of the gain (McSherry and Najork, "Computing information retrieval performance measures
        efficiently in the presence of tied scores", 2008). Example: one item above and two equal ones give rank 2, 3 or
        4; for recall@3 that is (1 + 1 + 0) / 3.

        Args:
            greater_N: Number of items that score higher; `ranking.tiles.MISS` for a target without a rank.
            equal_N: Number of other items with the same score.
            k: Length of the list.
        """
        gain_K = self._gains(k)
        prefix = np.concatenate([[0.0], np.cumsum(gain_K)])
        places_N = equal_N.astype(np.int64) + 1
        best_N = greater_N.astype(np.int64)
        inside_N: Float64Array = prefix[np.minimum(best_N + places_N, k)] - prefix[np.minimum(best_N, k)]
        return inside_N / places_N


def _reciprocal_rank(rank_K: Float64Array) -> Float64Array:
    return 1.0 / rank_K


def _discount(rank_K: Float64Array) -> Float64Array:
    return 1.0 / np.log2(rank_K + 1.0)


RECALL = Metric("recall", np.ones_like)
METRICS: tuple[Metric, ...] = (
    RECALL,
    Metric("hit", np.ones_like),
    Metric("mrr", _reciprocal_rank),
    Metric("ndcg", _discount),
)
"""The built-in metrics. `hit` (hit rate) equals `recall` here, since a target is one item; papers use either name."""


class CutoffMetric(NamedTuple):
    """A metric with the length of its list, such as 'recall@20'."""

    metric: Metric
    k: int
    """Length of the list."""

    @property
    def key(self) -> str:
        """Key of its value in reports, such as 'recall@20'."""
        return f"{self.metric.name}@{self.k}"


def find_metric(name: str, *, trusted: bool = False) -> Metric:
    """Return the metric of a name: 'recall', or `module:NAME` for a `Metric` of your own.

    Args:
        name: Name without the length of the list.
        trusted: Whether a module outside this package may be imported, which runs its code.

    Raises:
        ConfigError: The name is unknown, is not that of a `Metric`, or is not trusted.
    """
    if not isinstance(name, str):
        raise ConfigError(f"the name of a metric must be text such as 'recall', got {shown(name)}")
    built_in = {metric.name: metric for metric in METRICS}
    if name in built_in:
        return built_in[name]
    if ":" not in name:
        raise ConfigError(
            f"unknown metric {name!r} (write your own as `module:NAME`){did_you_mean(name, built_in)}"
        )
    found = resolve(name, trusted=trusted)
    if not isinstance(found, Metric):
        raise ConfigError(f"{name} is not a metric; it must be an object of class reprise.evaluation.Metric")
    return replace(found, source=name)


def parse_metric(text: str, *, trusted: bool = False) -> CutoffMetric:
    """Read a metric with its list length, such as 'ndcg@10' or 'my_metrics:RBP@20'. See `find_metric`.

    Raises:
        ConfigError: The text has no list length of 1 or more, or its metric cannot be found.
    """
    name, _, k = text.rpartition("@") if "@" in text else (text, "", "")
    metric = find_metric(name, trusted=trusted)
    if not (k.isdecimal() and int(k) > 0 and k == str(int(k))):
        raise ConfigError(f"metric {text!r} has no list length; write {name}@10, for instance")
    return CutoffMetric(metric, int(k))


def check_metrics(metrics: Iterable[Metric]) -> tuple[Metric, ...]:
    """Check that metrics are `Metric` objects with distinct names, and return them as a tuple.

    Raises:
        ConfigError: They are not.
    """
    metrics = tuple(listed("metrics", metrics, "Metric objects"))
    for metric in metrics:
        if not isinstance(metric, Metric):
            raise ConfigError(f"metrics must be Metric objects, got {metric!r}")
    names = [metric.name for metric in metrics]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"two metrics are named {name!r}; give each its own name")
    if not metrics:
        raise ConfigError("metrics is empty; pass at least one, such as METRICS")
    return metrics


def with_metric(metrics: tuple[Metric, ...], metric: Metric) -> tuple[Metric, ...]:
    """Return the metrics with one more, if it is not among them."""
    return metrics if metric in metrics else (*metrics, metric)


def resolve_ties(greater_N: AnyArray, equal_N: AnyArray, ties: Ties) -> tuple[AnyArray, AnyArray]:
    """Apply the tie rule to the counts: 'average' keeps them, 'best' puts the target first, 'worst' last."""
    if ties == "average":
        return greater_N, equal_N
    return (greater_N if ties == "best" else greater_N + equal_N), np.zeros_like(equal_N)


def all_metrics(
    greater_N: AnyArray, equal_N: AnyArray, at: tuple[int, ...], metrics: tuple[Metric, ...] = METRICS
) -> dict[str, Float64Array]:
    """Return every metric at every k, [N] each, under its key in reports, such as 'recall@20'."""
    return {CutoffMetric(metric, k).key: metric.at(greater_N, equal_N, k) for k in at for metric in metrics}


def _imported(source: str) -> Metric:
    # the process that pickled the metric had already imported it
    return find_metric(source, trusted=True)
