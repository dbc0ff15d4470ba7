"""Bootstrap intervals: how far a metric would move with other users of the same kind.

Shape letters: S sequences, M metrics, R resamples. Whole sequences are drawn, never single targets: the
targets of one user are correlated, and to treat them as independent makes intervals too narrow.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from reprise.arrays import AnyArray, Float64Array
from reprise.errors import ConfigError

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

    def __neg__(self) -> "Interval":
        """The same difference the other way round."""
        if self.low is None or self.high is None:
            return Interval(-self.value)
        return Interval(-self.value, -self.high, -self.low)

    def signed(self) -> str:
        """A difference in words: each number with its sign."""
        if self.low is None or self.high is None:
            return f"{self.value:+.4f}"
        return f"{self.value:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"

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

    def intervals(self, sum_SM: Float64Array, count_S: Float64Array) -> list[Interval]:
        """The ratios sum(sum_SM) / sum(count_S) with their intervals, one for each column.

        With one sequence there is nothing to resample, so there is no interval. For two models on the same
        sequences, pass the differences of their sums: the interval is then paired.
        """
        [found] = self.together(len(count_S), [Ratio(sum_SM, count_S)])
        return found

    def together(self, sequences: int, ratios: Sequence["Ratio"]) -> list[list[Interval]]:
        """The intervals of several ratios over the same sequences, from the same draws; what is drawn once costs once."""
        if self.resamples == 0:
            return [[Interval(float(value)) for value in ratio.value_M] for ratio in ratios]
        drawn = self.resampled(sequences, ratios)
        return [self.bounded(ratio, drawn_RM) for ratio, drawn_RM in zip(ratios, drawn, strict=True)]

    def resampled(self, sequences: int, ratios: Sequence["Ratio"]) -> list[Float64Array]:
        """Every ratio in every resample, [R, M] each; NaN where none of its sequences was drawn."""
        columns = [np.column_stack([ratio.sum_SM, ratio.count_S]).astype(np.float64) for ratio in ratios]
        totals: list[list[Float64Array]] = [[] for _ in ratios]
        for times_RS in self._times(sequences):
            for ratio, column_SM, found in zip(ratios, columns, totals, strict=True):
                own_RS = times_RS if ratio.place_S is None else times_RS[:, ratio.place_S]
                found.append(own_RS @ column_SM)
        return [_quotients(np.concatenate(found)) for found in totals]

    def bounded(self, ratio: "Ratio", drawn_RM: Float64Array) -> list[Interval]:
        """The values of a ratio between the percentiles of what was `resampled`."""
        drawn_RM = defined(drawn_RM)
        if len(ratio.count_S) < 2 or not len(drawn_RM):
            return [Interval(float(value)) for value in ratio.value_M]
        tail = (1 - self.level) / 2
        low_M, high_M = np.quantile(drawn_RM, [tail, 1 - tail], axis=0)
        return [Interval(*map(float, bounds)) for bounds in zip(ratio.value_M, low_M, high_M, strict=True)]

    def _times(self, sequences: int) -> Iterator[Float64Array]:
        """How often each sequence is drawn, [R, S], in blocks of resamples."""
        generator = np.random.default_rng(self.seed)
        at_once = max(1, DRAWS_AT_ONCE // sequences)
        for begin in range(0, self.resamples, at_once):
            rows = min(at_once, self.resamples - begin)
            drawn = generator.integers(sequences, size=(rows, sequences), dtype=np.int32)
            # one bincount for the whole block: row r counts in its own range of numbers
            flat = drawn + np.arange(rows)[:, None] * sequences
            times_RS = np.bincount(flat.ravel(), minlength=rows * sequences).reshape(rows, sequences)
            yield times_RS.astype(np.float64)


class Ratio(NamedTuple):
    """Sums over sequences of which the ratio is meant: for a mean over targets, the metric and the number of targets."""

    sum_SM: Float64Array
    """Sums of each sequence."""
    count_S: Float64Array
    """What they are divided by, when both are added up."""
    place_S: AnyArray | None = None
    """Which of the drawn sequences these are, where they are not all of them."""

    @property
    def value_M(self) -> Float64Array:
        """The ratio of the sums over all sequences."""
        value_M: Float64Array = self.sum_SM.sum(0) / self.count_S.sum()
        return value_M


def defined(drawn_RM: Float64Array) -> Float64Array:
    """The resamples in which some of the sequences were drawn."""
    kept_RM: Float64Array = drawn_RM[~np.isnan(drawn_RM).any(1)]
    return kept_RM


def _quotients(total_RM: Float64Array) -> Float64Array:
    """All columns divided by the last."""
    count_R1 = total_RM[:, -1:]
    return np.divide(
        total_RM[:, :-1], count_R1, out=np.full_like(total_RM[:, :-1], np.nan), where=count_R1 != 0
    )
