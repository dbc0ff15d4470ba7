"""Scores of forecasts: arithmetic on a few targets, and integrals of known distributions."""

import numpy as np
import pytest

from reprise.evaluation.forecasting.forecast_baselines import ExponentialGaps
from reprise.evaluation.forecasting.forecast_scores import LEVELS, coverage, kind_scores
from reprise.forecast.gap_distribution import GapDistribution


def test_log_loss_and_brier_score_of_a_kind_are_those_of_the_definition() -> None:
    found = kind_scores(np.array([[0.8, 0.2], [0.6, 0.4]]), np.array([0, 1]))
    assert found["log_loss"] == pytest.approx([-np.log(0.8), -np.log(0.4)])
    assert found["brier"] == pytest.approx([0.2**2 + 0.2**2, 0.6**2 + 0.6**2])


@pytest.mark.parametrize("gap_s", [0.0, 2.0, 30.0])
def test_the_crps_of_an_exponential_is_the_integral_of_the_squared_distance(gap_s: float) -> None:
    forecast = ExponentialGaps(5.0)
    x = np.linspace(0, 300, 600_001)
    squared = (forecast.cdf(x) - (x >= gap_s)) ** 2
    assert forecast.crps(np.array([gap_s]))[0] == pytest.approx(np.trapezoid(squared, x), abs=1e-3)


def gaps(zero: float, mean: float, rows: int) -> GapDistribution:
    return GapDistribution(
        np.full(rows, zero), np.ones((rows, 1)), np.full((rows, 1), mean), np.ones((rows, 1))
    )


def test_a_true_distribution_covers_each_level_also_below_its_point_mass() -> None:
    generator, rows = np.random.default_rng(0), 40_000
    drawn = np.exp(3 + generator.standard_normal(rows))
    gap_s = np.where(generator.random(rows) < 0.35, 0.0, drawn)
    found = coverage(gaps(0.35, 3.0, rows), gap_s)
    assert [one.level for one in found] == list(LEVELS)
    assert [one.share for one in found] == pytest.approx(LEVELS, abs=0.01)
    late = coverage(gaps(0.35, 4.0, rows), gap_s)
    assert late[-2].share > 0.9  # of gaps that are shorter than forecast, more lie below the quantile of 0.8
