"""Which of several models is better, when each was trained from several seeds and all comparisons count together."""

from dataclasses import dataclass
from typing import Any

from reprise.evaluation.intervals import Interval
from reprise.evaluation.report import Report

ENOUGH_SEEDS = 3
"""Fewer runs of a trained model say something about these weights only, and nothing about the model."""


@dataclass(frozen=True, eq=False)
class Entrant:
    """One model with a report for each seed it was trained from; a model that draws nothing has one."""

    name: str
    """How verdicts call it."""
    reports: tuple[Report, ...]
    """All of one protocol."""


@dataclass(frozen=True)
class Verdict:
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
        gap, odds = self.difference, f"p = {self.p_adjusted:.2g} after Holm's correction"
        bounds = "" if gap.low is None or gap.high is None else f" [{gap.low:+.4f}, {gap.high:+.4f}]"
        if self.better is None:
            return (
                f"No difference in {self.metric} is shown between {self.first} and {self.second}: "
                f"{gap.value:+.4f}{bounds}, {odds}."
            )
        worse = self.second if self.better == self.first else self.first
        return f"{self.better} is better than {worse} in {self.metric}: {gap.value:+.4f}{bounds}, {odds}."

    def _reach(self) -> str:
        """What the verdict does not say, where a trained model has few seeds."""
        few = [
            f"{name} ({seeds} seed{'s' * (seeds > 1)})"
            for name, seeds, trained in zip((self.first, self.second), self.seeds, self.trained, strict=True)
            if trained and seeds < ENOUGH_SEEDS
        ]
        if not few:
            return ""
        return f"This speaks of these weights only, not of the models: {' and '.join(few)}."
