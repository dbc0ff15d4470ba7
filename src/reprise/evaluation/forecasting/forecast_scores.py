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
)
from reprise.evaluation.stats.bootstrap import Bootstrap, Interval, Ratio
from reprise.models.networks.network_scorer import NetworkScorer

MAX_TARGETS = 1 << 17
"""Maximum number of targets that are measured, and from which baselines are fitted; of more a random sample is taken."""
LEVELS = tuple(round(0.1 * step, 1) for step in range(1, 10))
"""Levels of the quantiles whose calibration is measured."""
MODEL = "model"
"""Name of the network's own forecasts among the baselines."""
LOG_LOSS, BRIER, LOG_LIKELIHOOD, CRPS = "log_loss", "brier", "log_likelihood", "crps"
"""Names of the scores. Only of the log-likelihood more is better."""
MIN_PROBABILITY = 1e-12
"""Smallest probability that enters a log loss."""


class ForecastRow(NamedTuple):
    """The scores of one forecast."""

    name: str
    """`MODEL`, or the name of a baseline."""
    scores: dict[str, Interval]
    """Mean of each score over the targets."""
    differences: dict[str, Interval]
    """The model's score minus this one, paired by sequence; empty for the model."""

    def to_dict(self) -> dict[str, Any]:
        """Return `{"name", "scores", "differences"}` as JSON values."""
        groups = {"scores": self.scores, "differences": self.differences}
        return {"name": self.name} | {
            key: {name: value.to_dict() for name, value in group.items()} for key, group in groups.items()
        }


class Coverage(NamedTuple):
    """The calibration of one quantile: the share of the gaps below it should be its level."""

    level: float
    share: float


@dataclass(frozen=True)
class ForecastScores:
    """How good the forecasts of a network are: of the kind of the next event and of the time until it."""

    targets: int
    """Number of targets: events with an event before them in their sequence, of cold items too."""
    kinds: tuple[ForecastRow, ...] = ()
    """Log loss (nats) and Brier score (sum over the kinds) of the next kind, the model first; empty without a kind head."""
    gaps: tuple[ForecastRow, ...] = ()
    """Log-likelihood (nats per event) and CRPS (seconds) of the next time, the model first; empty without a gap head."""
    kind_bins: tuple[Bin, ...] = ()
    """Reliability diagram of the most probable kind, in bins of equally many targets."""
    gap_coverage: tuple[Coverage, ...] = ()
    """Calibration of the quantiles of the time."""

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
    model: NetworkScorer, dataset: SequenceDataset, bootstrap: Bootstrap, *, seed: int = 0
) -> ForecastScores | None:
    """Score the forecasts of a network for the test part; None if the network has no forecast heads.

    The baselines are fitted to the events before the test part, and are scored on the same targets.
    """
    heads = model.forecast
    if heads is None:
        return None
    part: Part = "test"
    test = events_ahead(dataset, part, MAX_TARGETS, seed)
    parts = [events_ahead(dataset, before, MAX_TARGETS // 2, seed) for before in ("train", "valid")]
    train = events_at(dataset, np.sort(np.concatenate([one.position_N for one in parts])))
    query_ND = queries_before(model, dataset, test, part)
    scoring = _Scoring(test, bootstrap)
    probability_NK = heads.kind_probabilities(query_ND, test.history)
    gaps = heads.gap_distribution(query_ND, test.history)
    kinds_found: tuple[ForecastRow, ...] = ()
    bins: tuple[Bin, ...] = ()
    if probability_NK is not None:
        others = kind_baselines(train, test, len(dataset.kinds))
        values = {
            name: kind_scores(p_NK, test.kind_N) for name, p_NK in ({MODEL: probability_NK} | others).items()
        }
        kinds_found = scoring.rows(values)
        right_N = probability_NK.argmax(axis=1) == test.kind_N
        bins = equal_mass(probability_NK.max(axis=1), right_N.astype(np.float64), BINS)
    if gaps is None:
        return ForecastScores(len(test.kind_N), kinds_found, (), bins)
    forecasts: dict[str, GapForecast] = {MODEL: gaps} | gap_baselines(train, test)
    rows = scoring.rows({name: gap_scores(one, test.gap_s_N) for name, one in forecasts.items()})
    return ForecastScores(len(test.kind_N), kinds_found, rows, bins, coverage(gaps, test.gap_s_N))


def kind_scores(probability_NK: Float64Array, kind_N: AnyArray) -> dict[str, Float64Array]:
    """Return -log p of the kind that came, and the sum over the kinds of (p - [it came])^2 (Brier 1950), [N] each."""
    came_NK = kind_N[:, None] == np.arange(probability_NK.shape[1])
    own_N = probability_NK[np.arange(len(kind_N)), kind_N]
    return {
        LOG_LOSS: -np.log(np.maximum(own_N, MIN_PROBABILITY)),
        BRIER: ((probability_NK - came_NK) ** 2).sum(axis=1),
    }


def gap_scores(forecast: GapForecast, gap_s_N: Float64Array) -> dict[str, Float64Array]:
    """Return the log-likelihood in nats and the CRPS in seconds of gaps, [N] each."""
    return {LOG_LIKELIHOOD: forecast.log_likelihood(gap_s_N), CRPS: forecast.crps(gap_s_N)}


def coverage(forecast: GapForecast, gap_s_N: Float64Array) -> tuple[Coverage, ...]:
    """Return the share of the gaps below the quantile of each level.

    A gap of 0 has the probability z = P(x = 0). It counts as spread evenly over the levels 0 to z, so that calibrated
    forecasts have the share of the level here too (the probability integral transform of a discrete part).
    """
    share_N = forecast.cdf(gap_s_N)
    at_zero_N = gap_s_N == 0
    found = []
    for level in LEVELS:
        spread_N = np.minimum(level / np.maximum(share_N, MIN_PROBABILITY), 1.0)
        found.append(Coverage(level, float(np.where(at_zero_N, spread_N, share_N <= level).mean())))
    return tuple(found)


class _Scoring:
    """Means of scores over targets, with intervals from the same resamples of the sequences."""

    def __init__(self, test: EventsAhead, bootstrap: Bootstrap) -> None:
        self.bootstrap = bootstrap
        _, self.first_S, count_S = np.unique(test.row_N, return_index=True, return_counts=True)
        self.count_S = count_S.astype(np.float64)

    def rows(self, values: Mapping[str, Mapping[str, Float64Array]]) -> tuple[ForecastRow, ...]:
        """Return the scores of each forecast, and the differences between the model's and those of the others."""
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
