"""Compare several models, each trained from several seeds, with a correction for multiple comparisons."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, combinations, pairwise
from typing import Any, Literal, get_args

from reprise.argument_checks import choice, instance, listed, number
from reprise.errors import ConfigError, DataError, did_you_mean
from reprise.evaluation.comparison.seeds import Estimate, resample_runs
from reprise.evaluation.report import Report
from reprise.evaluation.stats.bootstrap import Interval
from reprise.evaluation.stats.significance import holm

Against = Literal["first", "best", "each"]
"""Pairs that are compared: the first model with every other, the best one with every other, or each with each."""

ENOUGH_SEEDS = 3
"""Minimum number of seeds for a result about a trained model; with fewer it applies to the compared runs only."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """A model with one report per seed; a model that does not depend on a seed has one report."""

    name: str
    """Name of the model in results."""
    reports: tuple[Report, ...]
    """Reports of its runs, made with the same protocol."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "reports", tuple(listed("reports", self.reports, "Report objects")))
        for report in self.reports:
            instance("each report", report, Report, "evaluate(model, dataset) returns one")

    @property
    def trained(self) -> bool:
        """Whether another seed would give another model."""
        return any(report.trained for report in self.reports)


@dataclass(frozen=True)
class ComparisonResult:
    """The result of comparing two models."""

    first: str
    """Name of the first model."""
    second: str
    """Name of the second model."""
    metric: str
    """Metric that was compared, such as 'recall@20'."""
    difference: Interval
    """First minus second, each the mean over its seeds; the interval includes the variation of sequences and seeds."""
    p: float
    """Two-sided p-value of no difference."""
    p_adjusted: float
    """P-value after Holm's correction over all comparisons."""
    seeds: tuple[int, int]
    """Number of seeds of each model."""
    better: str | None
    """Name of the better model; None if the difference is not significant."""
    trained: tuple[bool, bool] = (True, True)
    """Whether each model depends on a seed."""

    def to_dict(self) -> dict[str, Any]:
        """Return `{"first", "second", "metric", "difference", "p", "p_adjusted", "seeds", "better", "sentence"}`."""
        return {
            "first": self.first,
            "second": self.second,
            "metric": self.metric,
            "difference": self.difference.to_dict(),
            "p": self.p,
            "p_adjusted": self.p_adjusted,
            "seeds": list(self.seeds),
            "better": self.better,
            "sentence": self.sentence(),
        }

    def sentence(self) -> str:
        """Return the result in words, with a warning if a trained model has few seeds."""
        return " ".join(filter(None, (self._finding(), self._warning())))

    def _finding(self) -> str:
        p = "p < 0.0001" if self.p_adjusted < 1e-4 else f"p = {self.p_adjusted:.2g}"
        if self.better is None:
            gap = self.difference.signed()
            return f"No difference in {self.metric} is shown between {self.first} and {self.second} ({gap}, {p})."
        first = self.better == self.first
        gap = (self.difference if first else -self.difference).signed()
        return f"{self.better} is better than {self.second if first else self.first} in {self.metric} ({gap}, {p})."

    def _warning(self) -> str:
        few = [
            f"{name} has only {seeds} seed{'s' * (seeds > 1)}"
            for name, seeds, trained in zip((self.first, self.second), self.seeds, self.trained, strict=True)
            if trained and seeds < ENOUGH_SEEDS
        ]
        if not few:
            return ""
        return f"{' and '.join(few)} (use {ENOUGH_SEEDS} or more), so this applies to these runs only."


def compare_models(
    candidates: Sequence[Candidate],
    *,
    metric: str,
    against: Against = "first",
    level: float = 0.05,
    within: str | None = None,
) -> tuple[ComparisonResult, ...]:
    """Compare models by a paired bootstrap over sequences, the variation between seeds, and Holm's correction.

    The value of a candidate is the mean over its seeds. The p-value is that of the t distribution for the difference in
    standard errors, which include the variation of the sequences, paired, and of the seeds (`SeedRuns.estimate`).

    With `against="best"` the correction covers all pairs, not only those that are returned. The best model is chosen on
    the same targets, so a correction for its own comparisons alone would find differences by chance.

    Args:
        candidates: Two models or more.
        metric: Metric that is a mean over targets, such as 'recall@20'.
        against: 'first': the first with every other; 'best': the best with every other, the closest first; 'each': all
            pairs.
        level: Significance level: the chance of even one false finding among all comparisons.
        within: Name of a slice, to compare only its targets.

    Raises:
        ConfigError: There are fewer than two candidates or two with the same name, or the metric or `against` is unknown.
        DataError: The reports have different protocols, no intervals, or no such slice.
    """
    candidates = listed("candidates", candidates, "Candidate objects")
    _check(candidates, metric, against, level)
    runs = resample_runs([report for it in candidates for report in it.reports], [within], [metric])[0][
        metric
    ]
    # the runs of all candidates are in one list: with 3, 1 and 2 runs they are 0-2, 3 and 4-5
    ends = [*accumulate((len(it.reports) for it in candidates), initial=0)]
    own = [range(*bounds) for bounds in pairwise(ends)]
    pairs = [pair for pair in combinations(range(len(own)), 2) if against != "first" or pair[0] == 0]
    p = holm([runs.estimate(own[one], own[other]).p for one, other in pairs])
    adjusted = {frozenset(pair): value for pair, value in zip(pairs, p, strict=True)}
    if against == "best":
        ranking = sorted(range(len(own)), key=lambda it: -runs.estimate(own[it]).value)
        pairs = [(ranking[0], other) for other in ranking[1:]]
    return tuple(
        _result(
            (candidates[one], candidates[other]),
            metric,
            runs.estimate(own[one], own[other]),
            adjusted[frozenset((one, other))],
            level,
        )
        for one, other in pairs
    )


def _result(
    pair: tuple[Candidate, Candidate], metric: str, found: Estimate, adjusted: float, level: float
) -> ComparisonResult:
    first, second = pair
    better = first.name if found.value > 0 else second.name
    return ComparisonResult(
        first=first.name,
        second=second.name,
        metric=metric,
        difference=found.interval(1 - level),
        p=found.p,
        p_adjusted=adjusted,
        seeds=(len(first.reports), len(second.reports)),
        better=better if adjusted < level else None,
        trained=(first.trained, second.trained),
    )


def _check(candidates: Sequence[Candidate], metric: str, against: str, level: float) -> None:
    for one in candidates:
        instance("each candidate", one, Candidate, "write Candidate(name, reports)")
    names = [it.name for it in candidates]
    if len(names) < 2:
        raise ConfigError(f"a comparison needs two models or more, got {len(names)}")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ConfigError(f"two models are named {twice[0]!r}; give each its own name")
    empty = [it.name for it in candidates if not it.reports]
    if empty:
        raise DataError(f"{empty[0]!r} has no report; evaluate it first")
    choice("against", against, get_args(Against))
    if not 0 < number("level", level) < 1:
        raise ConfigError(f"level must lie between 0 and 1, got {level}; 0.05 is usual")
    known = candidates[0].reports[0].sums.metrics
    if not isinstance(metric, str) or metric not in known:
        raise ConfigError(f"models cannot be compared by {metric!r}{did_you_mean(metric, known)}")
