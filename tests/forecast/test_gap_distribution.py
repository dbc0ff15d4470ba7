"""The closed forms of the gap distribution, compared with numeric integration and with samples."""

import numpy as np
import pytest

from reprise.arrays import Float64Array
from reprise.forecast.gap_distribution import GapDistribution

ZERO, WEIGHTS, MEANS, WIDTHS = 0.3, [0.6, 0.4], [2.0, 6.0], [0.5, 1.1]


def distribution(rows: int = 1) -> GapDistribution:
    columns = (np.tile(column, (rows, 1)) for column in (WEIGHTS, MEANS, WIDTHS))
    return GapDistribution(np.full(rows, ZERO), *columns)


def samples(count: int = 400_000) -> Float64Array:
    generator = np.random.default_rng(0)
    component = (generator.random(count) >= WEIGHTS[0]).astype(int)
    noise = generator.standard_normal(count)
    gap_s: Float64Array = np.exp(np.array(MEANS)[component] + np.array(WIDTHS)[component] * noise)
    return np.where(generator.random(count) < ZERO, 0.0, gap_s)


def test_the_density_and_the_point_mass_add_up_to_one() -> None:
    log_x = np.linspace(-8, 20, 20_001)
    density = np.exp(distribution(len(log_x)).log_likelihood(np.exp(log_x)) + log_x)
    assert np.trapezoid(density, log_x) == pytest.approx(1 - ZERO, abs=1e-9)
    assert distribution().log_likelihood(np.zeros(1))[0] == pytest.approx(np.log(ZERO))


def test_mean_and_quantiles_are_those_of_samples() -> None:
    drawn = samples()
    found = distribution()
    assert found.mean()[0] == pytest.approx(drawn.mean(), rel=0.02)
    for share in (0.2, 0.5, 0.9):
        assert found.quantile(share)[0] == pytest.approx(np.quantile(drawn, share), rel=0.02)
    assert found.quantile(0.2)[0] == 0  # below the point mass


def test_the_quantile_inverts_the_cdf() -> None:
    found = distribution(3)
    for share in (0.31, 0.5, 0.99):
        assert found.cdf(found.quantile(share)) == pytest.approx(share, abs=1e-9)


def test_after_a_wait_the_distribution_is_that_of_the_longer_gaps() -> None:
    drawn, waited = samples(), 100.0
    longer = drawn[drawn > waited]
    found = distribution().after(np.array([waited]))
    assert found.zero_N[0] == 0
    assert found.mean()[0] == pytest.approx(longer.mean(), rel=0.03)
    assert found.quantile(0.5)[0] == pytest.approx(np.median(longer), rel=0.03)
    assert found.cdf(np.array([waited]))[0] == pytest.approx(0, abs=1e-12)


def test_after_a_wait_far_beyond_all_components_the_numbers_stay_finite() -> None:
    found = distribution().after(np.array([1e12]))
    assert 1e12 <= found.quantile(0.5)[0] <= found.quantile(0.9)[0] < 1e13
    assert 1e12 <= found.mean()[0] < 1e13


def test_no_wait_and_an_unknown_wait_change_nothing() -> None:
    found = distribution(3).after(np.array([0.0, np.nan, 50.0]))
    plain = distribution(3)
    for share in (0.1, 0.6):
        assert found.quantile(share)[:2] == pytest.approx(plain.quantile(share)[:2])
    assert found.mean()[:2] == pytest.approx(plain.mean()[:2])
    assert found.zero_N.tolist() == [ZERO, ZERO, 0.0]


@pytest.mark.parametrize("gap_s", [0.0, 0.5, 8.0, 3_000.0])
def test_crps_is_the_integral_of_the_squared_distance_of_the_cdfs(gap_s: float) -> None:
    log_x = np.linspace(-12, 22, 200_001)
    x = np.exp(log_x)
    squared = (distribution(len(x)).cdf(x) - (x >= gap_s)) ** 2
    assert distribution().crps(np.array([gap_s]))[0] == pytest.approx(
        np.trapezoid(squared * x, log_x), rel=1e-3
    )
