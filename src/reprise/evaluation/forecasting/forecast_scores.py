"""Scores of the forecasts of a network and of baselines, with paired intervals.

Shape letters: N targets, K kinds, L levels.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from reprise.arrays import AnyArray, Float64Array
from reprise.data.dataset import Part, SequenceDataset
from reprise.evaluation.aligned_text import aligned
from reprise.evaluation.calibration import BINS, Bin, equal_mass, expected_error
from reprise.evaluation.forecasting.forecast_baselines import GapForecast, gap_baselines, kind_baselines
from reprise.evaluation.forecasting.forecast_targets import (
    EventsAhead,
    events_ahead,
    events_at,
    queries_before,
    sample_positions,
)
from reprise.evaluation.stats.bootstrap import Bootstrap, Interval, Ratio
from reprise.evaluation.stats.target_sample import TargetSample
from reprise.models.networks.network_scorer import NetworkScorer

MAX_TARGETS = 1 << 17
"""Maximum number of test targets that are scored, and of targets that baselines are fitted to. If there are more, a random
sample is taken."""
LEVELS = tuple(round(0.1 * step, 1) for step in range(1, 10))
"""Probabilities of the quantiles whose calibration is measured."""
MODEL = "model"
"""Name of the row of the network, next to the names of the baselines."""
LOG_LOSS, BRIER, LOG_LIKELIHOOD, CRPS = "log_loss", "brier", "log_likelihood", "crps"
"""Names of the scores. For the log-likelihood, higher is better; for the others, lower is better."""
MIN_PROBABILITY = 1e-12
"""Lower bound of a probability in a log loss, which would otherwise be infinite."""


class ForecastRow(NamedTuple):
    """The scores of the network or of one baseline."""

    name: str
    """`MODEL`, or the name of a baseline."""
    scores: dict[str, Interval]
    """Mean of each score over the targets."""
    differences: dict[str, Interval]
    """Paired differences: the score of the network minus that of this baseline, by name of the score. Empty for the network."""

    def to_dict(self) -> dict[str, Any]:
        """Return `{"name", "scores", "differences"}` as JSON values."""
        groups = {"scores": self.scores, "differences": self.differences}
        return {"name": self.name} | {
            key: {name: value.to_dict() for name, value in group.items()} for key, group in groups.items()
        }


class Coverage(NamedTuple):
    """The calibration of one quantile. A calibrated forecast has a `share` equal to the `level`."""

    level: float
    """Probability of the quantile."""
    share: float
    """Share of the observed gaps below the forecast quantile."""


@dataclass(frozen=True)
class ForecastScores:
    """Scores of the forecasts of a network: the kind of the next event, and the time to it."""

    targets: int
    """Number of targets: events that have an event before them in their sequence, including events of cold items."""
    kinds: tuple[ForecastRow, ...] = ()
    """Log loss (nats) and Brier score (sum over the kinds) of the next kind. The network is the first row, followed by the
    baselines. Empty without a kind head."""
    gaps: tuple[ForecastRow, ...] = ()
    """Log-likelihood (nats per event) and CRPS (seconds) of the time to the next event. The network is the first row, followed
    by the baselines. Empty without a gap head."""
    kind_bins: tuple[Bin, ...] = ()
    """Reliability diagram of the most probable kind, in bins of equally many targets. Empty without a kind head."""
    gap_coverage: tuple[Coverage, ...] = ()
    """Calibration of the quantiles of the time to the next event. Empty without a gap head."""

    @property
    def ece(self) -> float | None:
        """Expected calibration error of the most probable kind; None without a kind head."""
        return expected_error(self.kind_bins) if self.kind_bins else None

    def to_dict(self) -> dict[str, Any]:
        """Return all results as JSON values."""
        return {
            "targets": self.targets,
            "kinds": [row.to_dict() for row in self.kinds],
            "gaps": [row.to_dict() for row in self.gaps],
            "ece": self.ece,
            "kind_bins": [part.to_dict() for part in self.kind_bins],
            "gap_coverage": [part._asdict() for part in self.gap_coverage],
        }

    def __str__(self) -> str:
        blocks = [f"forecast of the next event, {self.targets:,} targets"]
        for what, rows in (("next kind", self.kinds), ("next time", self.gaps)):
            if rows:
                names = list(rows[0].scores)
                head = [what, *names, *(f"{name}: model minus this" for name in names)]
                blocks.append(aligned([head, *(_cells(row, names) for row in rows)]))
        if self.ece is not None:
            blocks.append(f"next kind: ECE {self.ece:.4f}")
        if self.gap_coverage:
            points = "  ".join(f"{part.level:.1f}: {part.share:.3f}" for part in self.gap_coverage)
            blocks.append(f"next time: share of the gaps below each quantile\n{points}")
        return "\n\n".join(blocks)


def _cells(row: ForecastRow, names: list[str]) -> list[str]:
    differences = [row.differences[name].signed() if row.differences else "" for name in names]
    return [f"  {row.name}", *(str(row.scores[name]) for name in names), *differences]


def score_forecasts(
    model: NetworkScorer,
    dataset: SequenceDataset,
    bootstrap: Bootstrap,
    *,
    seed: int = 0,
    sample: TargetSample | None = None,
) -> ForecastScores | None:
    """Score the forecasts of a network on the test part; None if the network has no forecast heads.

    The baselines are fitted to the training and validation parts, and scored on the same targets as the network.

    Args:
        model: A trained network.
        dataset: The dataset that the network was trained on.
        bootstrap: Settings of the intervals.
        seed: Seed of the samples of targets.
        sample: Sample of the targets of the evaluation; None: all targets.
    """
    heads = model.forecast
    if heads is None:
        return None
    test = events_ahead(dataset, "test", MAX_TARGETS, seed, sample)
    before: tuple[Part, ...] = ("train", "valid")
    positions = [sample_positions(dataset, part, MAX_TARGETS // 2, seed) for part in before]
    train = events_at(dataset, np.sort(np.concatenate(positions)))
    kind_NK, gap = heads.predict(queries_before(model, dataset, test, "test", sample), test.history)
    scoring = _Scoring(test, bootstrap)
    kinds: tuple[ForecastRow, ...] = ()
    bins: tuple[Bin, ...] = ()
    if kind_NK is not None:
        probabilities = {MODEL: kind_NK} | kind_baselines(train, test, len(dataset.kinds))
        kinds = scoring.rows({name: kind_scores(p_NK, test.kind_N) for name, p_NK in probabilities.items()})
        right_N = kind_NK.argmax(axis=1) == test.kind_N
        bins = equal_mass(kind_NK.max(axis=1), right_N.astype(np.float64), BINS)
    if gap is None:
        return ForecastScores(len(test.kind_N), kinds, (), bins)
    forecasts: dict[str, GapForecast] = {MODEL: gap} | gap_baselines(train, test)
    gaps = scoring.rows({name: gap_scores(one, test.gap_s_N) for name, one in forecasts.items()})
    return ForecastScores(len(test.kind_N), kinds, gaps, bins, coverage(gap, test.gap_s_N))


def kind_scores(probability_NK: Float64Array, kind_N: AnyArray) -> dict[str, Float64Array]:
    """Return the log loss and the Brier score of each target, [N] each.

    The log loss is -log p of the observed kind, in nats. The Brier score is the sum over the kinds of (p - o)^2, with o = 1 for
    the observed kind and 0 for the others (Brier 1950).
    """
    came_NK = kind_N[:, None] == np.arange(probability_NK.shape[1])
    own_N = probability_NK[np.arange(len(kind_N)), kind_N]
    return {
        LOG_LOSS: -np.log(np.maximum(own_N, MIN_PROBABILITY)),
        BRIER: ((probability_NK - came_NK) ** 2).sum(axis=1),
    }


def gap_scores(forecast: GapForecast, gap_s_N: Float64Array) -> dict[str, Float64Array]:
    """Return the log-likelihood in nats and the CRPS in seconds of each target, [N] each."""
    return {LOG_LIKELIHOOD: forecast.log_likelihood(gap_s_N), CRPS: forecast.crps(gap_s_N)}


def coverage(forecast: GapForecast, gap_s_N: Float64Array) -> tuple[Coverage, ...]:
    """Return the share of the observed gaps below the forecast quantile, for each of `LEVELS`.

    It is the distribution function of the probability integral transform F(x) of the gaps. A gap of 0 has a point mass
    z = P(x = 0), so its transform is uniform on 0 to z (the randomised transform), and its expectation is counted.
    """
    share_N = forecast.cdf(gap_s_N)
    at_zero_N = gap_s_N == 0
    found = []
    for level in LEVELS:
        spread_N = np.minimum(level / np.maximum(share_N, MIN_PROBABILITY), 1.0)
        found.append(Coverage(level, float(np.where(at_zero_N, spread_N, share_N <= level).mean())))
    return tuple(found)


class _Scoring:
    """Means of scores over the test targets, with bootstrap intervals from the same resamples of sequences for all rows."""

    def __init__(self, test: EventsAhead, bootstrap: Bootstrap) -> None:
        self.bootstrap = bootstrap
        _, self.first_S, count_S = np.unique(test.row_N, return_index=True, return_counts=True)
        self.count_S = count_S.astype(np.float64)

    def rows(self, values: Mapping[str, Mapping[str, Float64Array]]) -> tuple[ForecastRow, ...]:
        """Return one row per forecast, from the score of each target by name of the forecast and name of the score."""
        own = values[MODEL]
        columns = [
            *(score_N for scores in values.values() for score_N in scores.values()),
            *(own[name] - score_N for key, scores in values.items() if key != MODEL for name, score_N in scores.items()),
        ]  # fmt: skip
        sum_SM = np.add.reduceat(np.column_stack(columns), self.first_S, axis=0)
        [found] = self.bootstrap.together(len(self.count_S), [Ratio(sum_SM, self.count_S)])
        intervals = iter(found)
        scores = {key: {name: next(intervals) for name in one} for key, one in values.items()}
        differences = {
            key: {name: next(intervals) for name in one} if key != MODEL else {}
            for key, one in values.items()
        }
        return tuple(ForecastRow(key, scores[key], differences[key]) for key in values)
