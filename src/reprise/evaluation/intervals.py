"""Bootstrap intervals: how far a metric would move with other users of the same kind.

Shape letters: S sequences, M metrics, R resamples. Whole sequences are drawn, never single targets: the
targets of one user are correlated, and to treat them as independent makes intervals too narrow.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from reprise.errors import ConfigError

Floats = np.ndarray[Any, np.dtype[np.float64]]
DRAWS_AT_ONCE = 1 << 21
"""Sequences drawn in one block: what bounds the memory."""


class Interval(NamedTuple):
    """A value and where it may lie; `low` and `high` are None where no interval was made."""

    value: float
    low: float | None = None
    high: float | None = None

    def to_dict(self) -> dict[str, float | None]:
        """`{"value", "low", "high"}`."""
        return self._asdict()

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"{self.value:.4f}"
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"


@dataclass(frozen=True)
class Bootstrap:
    """How intervals are made; the same numbers come out of the same settings.

    Percentile intervals of a ratio of sums under resampling of sequences with replacement (Efron and
    Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13).
    """

    resamples: int = 1000
    """How many; 0 makes no intervals."""
    level: float = 0.95
    """Share of the resamples inside the interval."""
    seed: int = 0
    """Of the draws."""
    method: str = "percentile bootstrap over sequences"

    def __post_init__(self) -> None:
        if self.resamples < 0:
            raise ConfigError(f"resamples must be 0 (no intervals) or more, got {self.resamples}")
        if not 0 < self.level < 1:
            raise ConfigError(f"level must lie between 0 and 1, got {self.level}; 0.95 is usual")

    def intervals(self, sum_SM: Floats, count_S: Floats) -> list[Interval]:
        """The ratios sum(sum_SM) / sum(count_S) with their intervals, one for each column.

        With one sequence there is nothing to resample, so there is no interval. For two models on the same
        sequences, pass the differences of their sums: the interval is then paired.
        """
        ratio_M = sum_SM.sum(0) / count_S.sum()
        if self.resamples == 0 or len(count_S) < 2:
            return [Interval(float(value)) for value in ratio_M]
        tail = (1 - self.level) / 2
        low_M, high_M = np.quantile(self._ratios(sum_SM, count_S), [tail, 1 - tail], axis=0)
        return [Interval(*map(float, bounds)) for bounds in zip(ratio_M, low_M, high_M, strict=True)]

    def _ratios(self, sum_SM: Floats, count_S: Floats) -> Floats:
        """The ratio of every column in every resample, [R, M]."""
        generator = np.random.default_rng(self.seed)
        columns = np.column_stack([sum_SM, count_S]).astype(np.float64)
        sequences = len(columns)
        at_once = max(1, DRAWS_AT_ONCE // sequences)
        totals = []
        for begin in range(0, self.resamples, at_once):
            rows = min(at_once, self.resamples - begin)
            drawn = generator.integers(sequences, size=(rows, sequences), dtype=np.int32)
            # one bincount for the whole block: row r counts in its own range of numbers
            flat = drawn + np.arange(rows)[:, None] * sequences
            times_RS = np.bincount(flat.ravel(), minlength=rows * sequences).reshape(rows, sequences)
            totals.append(times_RS.astype(np.float64) @ columns)
        total = np.concatenate(totals)
        return total[:, :-1] / total[:, -1:]
