"""The part of the report page about forecasts."""

import pytest

from reprise.evaluation.calibration import Bin
from reprise.evaluation.forecasting.forecast_scores import MODEL, Coverage, ForecastRow, ForecastScores
from reprise.evaluation.stats.bootstrap import Interval
from reprise.report.comparison_file import ComparisonRecord
from reprise.report.forecast_page import forecast_parts
from reprise.report.plots import rank_models
from reprise.report.render import render


def scores() -> ForecastScores:
    own = {"log_loss": Interval(0.25, 0.2, 0.3), "brier": Interval(0.125)}
    other = {"log_loss": Interval(0.5), "brier": Interval(0.25)}
    differences = {"log_loss": Interval(-0.25, -0.3, -0.2), "brier": Interval(-0.125)}
    rows = (ForecastRow(MODEL, own, {}), ForecastRow("first-order Markov", other, differences))
    return ForecastScores(1_234, rows, (), (Bin(0.5, 0.55, 10), Bin(0.9, 0.85, 10)), (Coverage(0.5, 0.48),))


@pytest.fixture
def with_forecast(comparison: ComparisonRecord) -> ComparisonRecord:
    _, facts = rank_models(comparison, comparison["metric"])[0]
    facts["pooled"]["forecast"] = scores().to_dict()
    return comparison


def test_the_page_shows_scores_differences_and_both_plots(with_forecast: ComparisonRecord) -> None:
    page = render(with_forecast)
    for text in (
        "Next kind and time",
        "1,234 targets",
        "0.2500 [0.2000, 0.3000]",
        "\N{MINUS SIGN}0.2500 [\N{MINUS SIGN}0.3000, \N{MINUS SIGN}0.2000]",
    ):
        assert text in page
    assert "Reliability of the next kind" in page
    assert "Calibration of the time" in page
    assert "90.0% forecast, 85.0% found" in page


def test_a_comparison_without_forecasts_has_no_such_section(comparison: ComparisonRecord) -> None:
    assert forecast_parts(rank_models(comparison, comparison["metric"])) == []
    assert "Next kind and time" not in render(comparison)
