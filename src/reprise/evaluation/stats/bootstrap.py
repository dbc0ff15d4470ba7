"""Bootstrap confidence intervals: how much a metric would vary with other users of the same kind.

Shape letters: S sequences, M metrics, R resamples. Whole sequences are resampled, never single targets: the targets of one
user are correlated, and treating them as independent makes intervals too narrow.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from reprise.argument_checks import number, whole
from reprise.arrays import AnyArray, Float64Array
from reprise.errors import ConfigError

MAX_DRAWS = 1 << 21
"""Maximum number of sequences drawn in one block of resamples, which limits the memory."""


class Interval(NamedTuple):
    """A value with its confidence interval; `low` and `high` are None without one."""

    value: float
    """Value over all sequences."""
    low: float | None = None
    """Lower end of the interval."""
    high: float | None = None
    """Upper end of the interval."""

    def to_dict(self) -> dict[str, float | None]:
        """Return `{"value", "low", "high"}`."""
        return self._asdict()

    def __neg__(self) -> "Interval":
        """Return the interval of the negative value, as for a difference taken in the other direction."""
        if self.low is None or self.high is None:
            return Interval(-self.value)
        return Interval(-self.value, -self.high, -self.low)

    def signed(self) -> str:
        """Format a difference, each number with its sign."""
        if self.low is None or self.high is None:
            return f"{self.value:+.4f}"
        return f"{self.value:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"{self.value:.4f}"
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"


@dataclass(frozen=True)
class Bootstrap:
    """Settings of bootstrap intervals. Equal settings give equal intervals.

    Percentile intervals of a ratio of sums under resampling of sequences with replacement (Efron and
    Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13).
    """

    resamples: int = 1000
    """Number of resamples; 0: no intervals."""
    level: float = 0.95
    """Confidence level: the share of the resamples inside the interval."""
    seed: int = 0
    """Seed of the resamples."""
    method: str = "percentile bootstrap over sequences"
    """Name of the method, for reports."""

    def __post_init__(self) -> None:
        resamples = whole("resamples", self.resamples, low=0, remedy="0 computes no intervals")
        object.__setattr__(self, "resamples", resamples)
        object.__setattr__(self, "seed", whole("seed", self.seed, low=0, high=2**63 - 1))
        if not 0 < number("level", self.level) < 1:
            raise ConfigError(f"level must lie between 0 and 1, got {self.level}; 0.95 is usual")
        object.__setattr__(self, "level", float(self.level))

    def intervals(self, sum_SM: Float64Array, count_S: Float64Array) -> list[Interval]:
        """Return the ratios sum(sum_SM) / sum(count_S) with their intervals, one per column.

        A single sequence has no interval. For two models on the same sequences, pass the differences of their sums: the
        interval is then that of the paired difference.
        """
        [found] = self.together(len(count_S), [Ratio(sum_SM, count_S)])
        return found

    def together(self, sequences: int, ratios: Sequence["Ratio"]) -> list[list[Interval]]:
        """Return the intervals of several ratios from the same resamples, which are drawn only once."""
        if self.resamples == 0:
            return [[Interval(float(value)) for value in ratio.value_M] for ratio in ratios]
        drawn = self.resampled(sequences, ratios)
        return [self.bounded(ratio, drawn_RM) for ratio, drawn_RM in zip(ratios, drawn, strict=True)]

    def resampled(self, sequences: int, ratios: Sequence["Ratio"]) -> list[Float64Array]:
        """Return the values of every ratio in every resample, [R, M] each; NaN if none of its sequences was drawn.

        A resample is a vector of how often each sequence was drawn, so its sums are one matrix product. Example: the sums
        3, 0, 2 over 4, 2, 2 targets have the ratio 5 / 8. A resample that draws the first sequence twice, the second
        never and the third once has the counts 2, 0, 1 and the ratio (2 * 3 + 2) / (2 * 4 + 2) = 0.8.
        """
        columns = [np.column_stack([ratio.sum_SM, ratio.count_S]).astype(np.float64) for ratio in ratios]
        totals: list[list[Float64Array]] = [[] for _ in ratios]
        for times_RS in self._times(sequences):
            for ratio, column_SM, found in zip(ratios, columns, totals, strict=True):
                own_RS = times_RS if ratio.place_S is None else times_RS[:, ratio.place_S]
                found.append(own_RS @ column_SM)
        return [_quotients(np.concatenate(found)) for found in totals]

    def bounded(self, ratio: "Ratio", drawn_RM: Float64Array) -> list[Interval]:
        """Return the values of a ratio with the percentiles of its `resampled` values."""
        drawn_RM = defined(drawn_RM)
        # one sequence gives the same value in every resample: an interval of width 0 would be wrong
        if len(ratio.count_S) < 2 or not len(drawn_RM):
            return [Interval(float(value)) for value in ratio.value_M]
        tail = (1 - self.level) / 2
        low_M, high_M = np.quantile(drawn_RM, [tail, 1 - tail], axis=0)
        return [Interval(*map(float, bounds)) for bounds in zip(ratio.value_M, low_M, high_M, strict=True)]

    def _times(self, sequences: int) -> Iterator[Float64Array]:
        """Yield how often each sequence is drawn, [R, S], in blocks of resamples."""
        generator = np.random.default_rng(self.seed)
        rows_per_block = max(1, MAX_DRAWS // sequences)
        for begin in range(0, self.resamples, rows_per_block):
            rows = min(rows_per_block, self.resamples - begin)
            drawn = generator.integers(sequences, size=(rows, sequences), dtype=np.int32)
            # one bincount for the whole block: with 3 sequences, row 1 counts in the numbers 3, 4, 5
            flat = drawn + np.arange(rows)[:, None] * sequences
            times_RS = np.bincount(flat.ravel(), minlength=rows * sequences).reshape(rows, sequences)
            # float64, since a product of integers does not use the fast matrix library
            yield times_RS.astype(np.float64)


class Ratio(NamedTuple):
    """Sums per sequence whose ratio is estimated: for a mean over targets, the metric and the number of targets."""

    sum_SM: Float64Array
    """Numerators: the sums of each sequence."""
    count_S: Float64Array
    """Denominators: the counts of each sequence."""
    place_S: AnyArray | None = None
    """Positions of these sequences among those that are resampled; None: they are all of them."""

    @property
    def value_M(self) -> Float64Array:
        """Ratio of the sums over all sequences."""
        value_M: Float64Array = self.sum_SM.sum(0) / self.count_S.sum()
        return value_M


def defined(drawn_RM: Float64Array) -> Float64Array:
    """Return the resamples in which at least one of the sequences was drawn."""
    kept_RM: Float64Array = drawn_RM[~np.isnan(drawn_RM).any(1)]
    return kept_RM


def _quotients(total_RM: Float64Array) -> Float64Array:
    """Divide all columns by the last one."""
    count_R1 = total_RM[:, -1:]
    return np.divide(
        total_RM[:, :-1], count_R1, out=np.full_like(total_RM[:, :-1], np.nan), where=count_R1 != 0
    )
