"""Which of several models is better, when each was trained from several seeds and all comparisons count together."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, combinations, pairwise
from typing import Any, Literal, get_args

from reprise.errors import ConfigError, DataError, did_you_mean
from reprise.evaluation.comparison.seeds import Estimate, measured
from reprise.evaluation.report import Report
from reprise.evaluation.stats.bootstrap import Interval
from reprise.evaluation.stats.significance import holm

Against = Literal["first", "best", "each"]
"""Which comparisons are told: of the first with every other, of the best with every other, or of each with each."""

ENOUGH_SEEDS = 3
"""Fewer runs of a trained model say something about these weights only, and nothing about the model."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """One model with a report for each seed it was trained from; a model that draws nothing has one."""

    name: str
    """How verdicts call it."""
    reports: tuple[Report, ...]
    """All of one protocol."""

    @property
    def trained(self) -> bool:
        """Whether another seed would give another model."""
        return any(report.trained for report in self.reports)


@dataclass(frozen=True)
class ComparisonResult:
    """What the targets say about two models."""

    first: str
    """The name of one."""
    second: str
    """The name of the other."""
    metric: str
    """What was compared, such as 'recall@20'."""
    difference: Interval
    """The first minus the second, each the mean over its seeds; the interval holds the noise of sequences and of seeds."""
    p: float
    """How often models that do not differ would differ as much, two-sided."""
    p_adjusted: float
    """The same after Holm's correction over all comparisons that were made."""
    seeds: tuple[int, int]
    """From how many seeds each was trained."""
    better: str | None
    """The name of the better one; None: no difference is shown."""
    trained: tuple[bool, bool] = (True, True)
    """Whether each draws at random when it is made, so that another seed gives another model."""

    def to_dict(self) -> dict[str, Any]:
        """`{"first", "second", "metric", "difference", "p", "p_adjusted", "seeds", "better", "sentence"}`."""
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
        """The verdict in words, with what it may be based on."""
        return " ".join(filter(None, (self._finding(), self._reach())))

    def _finding(self) -> str:
        odds = "p < 0.0001" if self.p_adjusted < 1e-4 else f"p = {self.p_adjusted:.2g}"
        if self.better is None:
            gap = self.difference.signed()
            return f"No difference in {self.metric} is shown between {self.first} and {self.second} ({gap}, {odds})."
        first = self.better == self.first
        gap = (self.difference if first else -self.difference).signed()
        return f"{self.better} is better than {self.second if first else self.first} in {self.metric} ({gap}, {odds})."

    def _reach(self) -> str:
        """What the verdict does not say, where a trained model has few seeds."""
        few = [
            f"{name} has {seeds} seed{'s' * (seeds > 1)}"
            for name, seeds, trained in zip((self.first, self.second), self.seeds, self.trained, strict=True)
            if trained and seeds < ENOUGH_SEEDS
        ]
        if not few:
            return ""
        return f"{' and '.join(few)} of {ENOUGH_SEEDS} at least: this speaks of these weights only, not of the model."


def compare_models(
    entrants: Sequence[Candidate],
    *,
    metric: str,
    against: Against = "first",
    level: float = 0.05,
    within: str | None = None,
) -> tuple[ComparisonResult, ...]:
    """Say which models are better, by a paired bootstrap over sequences, the seeds of each, and Holm's correction.

    The value of an entrant is the mean over its seeds. The p value is that of the difference in standard errors, by the t
    distribution; the error holds the noise of sequences, paired, and of seeds (`Runs.estimate`).

    With `against="best"` the correction is over all pairs, not only over those that are told: which one is best was seen
    on the same targets, and a correction over its own comparisons alone would find differences where there are none.

    Args:
        entrants: Two or more.
        metric: A mean over targets, such as 'recall@20'.
        against: 'first': the first with every other; 'best': the best with every other, the nearest first; 'each': all pairs.
        level: The chance of even one false finding among all the comparisons.
        within: A slice's name, to judge by its targets only.

    Raises:
        ConfigError: Fewer than two entrants, two of one name, or an unknown metric or way of comparing.
        DataError: The reports were not made by one protocol with intervals, or have no such slice.
    """
    _check(entrants, metric, against, level)
    runs = measured([report for it in entrants for report in it.reports], [within], [metric])[0][metric]
    ends = [*accumulate((len(it.reports) for it in entrants), initial=0)]
    own = [range(*bounds) for bounds in pairwise(ends)]
    pairs = [pair for pair in combinations(range(len(own)), 2) if against != "first" or pair[0] == 0]
    p = holm([runs.estimate(own[one], own[other]).p for one, other in pairs])
    adjusted = {frozenset(pair): value for pair, value in zip(pairs, p, strict=True)}
    if against == "best":
        ranking = sorted(range(len(own)), key=lambda it: -runs.estimate(own[it]).value)
        pairs = [(ranking[0], other) for other in ranking[1:]]
    return tuple(
        _verdict(
            (entrants[one], entrants[other]),
            metric,
            runs.estimate(own[one], own[other]),
            adjusted[frozenset((one, other))],
            level,
        )
        for one, other in pairs
    )


def _verdict(
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


def _check(entrants: Sequence[Candidate], metric: str, against: str, level: float) -> None:
    names = [it.name for it in entrants]
    if len(names) < 2:
        raise ConfigError(f"a verdict needs two entrants or more, got {len(names)}")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ConfigError(f"two entrants are called {twice[0]!r}; give each a name of its own")
    empty = [it.name for it in entrants if not it.reports]
    if empty:
        raise DataError(f"{empty[0]!r} has no report; evaluate it first")
    if against not in get_args(Against):
        raise ConfigError(
            f"against must be 'first', 'best' or 'each', got {against!r}{did_you_mean(against, get_args(Against))}"
        )
    if not 0 < level < 1:
        raise ConfigError(f"level must lie between 0 and 1, got {level}; 0.05 is usual")
    known = entrants[0].reports[0].sums.metrics
    if metric not in known:
        raise ConfigError(f"there is no verdict on {metric!r}{did_you_mean(metric, known)}")
