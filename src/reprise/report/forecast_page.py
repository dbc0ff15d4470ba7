"""The section of the report page about forecasts of the next event: tables of scores and calibration plots of each model."""

from typing import NamedTuple

from markupsafe import Markup

from reprise.evaluation.stats.bootstrap import Interval
from reprise.report.comparison_file import JsonObject
from reprise.report.plots import RankedModels, first_result
from reprise.report.svg import Series, axes, dot, image, line, polyline, x_scale, y_scale
from reprise.report.tables import typeset

SCORE_TITLES = {
    "log_loss": "log loss", "brier": "Brier score", "log_likelihood": "log-likelihood", "crps": "CRPS, s",
}  # fmt: skip
"""Column titles, by the name of the score."""


class ForecastTable(NamedTuple):
    """The scores of a network and of the baselines, as text."""

    title: str
    """What is forecast."""
    columns: list[str]
    """Titles of the columns after the name."""
    rows: list[tuple[str, list[str]]]
    """Name of the network or baseline, and the cells of its row."""


class ForecastPart(NamedTuple):
    """The results of the forecasts of one network."""

    series: Series
    """Name and colour of the network."""
    targets: int
    """Number of targets."""
    tables: list[ForecastTable]
    """Tables of scores: of the next kind and of the time, if the network forecasts them."""
    plots: list[tuple[str, Markup]]
    """Calibration plots with their titles."""


def forecast_parts(models: RankedModels) -> list[ForecastPart]:
    """Return the tables and plots of every network with forecast heads, of its first seed that has results."""
    found = []
    for series, facts in models:
        scores = first_result(facts, "forecast")
        if scores is not None:
            groups = {"Next kind": scores["kinds"], "Time to the next event": scores["gaps"]}
            tables = [_table(title, rows) for title, rows in groups.items() if rows]
            found.append(ForecastPart(series, scores["targets"], tables, _plots(series, scores)))
    return found


def _table(title: str, rows: list[JsonObject]) -> ForecastTable:
    names = list(rows[0]["scores"])
    columns = [SCORE_TITLES[name] for name in names]
    columns += [f"{column}: model minus this" for column in columns]
    return ForecastTable(title, columns, [(row["name"], _cells(row, names)) for row in rows])


def _cells(row: JsonObject, names: list[str]) -> list[str]:
    """Format the scores of a row, and its differences, which the row of the network does not have."""
    scores = [str(Interval(**row["scores"][name])) for name in names]
    differences = [
        Interval(**row["differences"][name]).signed() if row["differences"] else "" for name in names
    ]
    return [typeset(cell) for cell in scores + differences]


def _plots(series: Series, scores: JsonObject) -> list[tuple[str, Markup]]:
    kinds = [(part["confidence"], part["accuracy"]) for part in scores["kind_bins"]]
    gaps = [(part["level"], part["share"]) for part in scores["gap_coverage"]]
    plots = []
    if kinds:
        names = ("probability of the most probable kind", "share in which it came")
        plots.append(("Reliability of the next kind", _diagonal_plot(series, kinds, names)))
    if gaps:
        names = ("level of the quantile", "share of the gaps below it")
        plots.append(("Calibration of the time", _diagonal_plot(series, gaps, names)))
    return plots


def _diagonal_plot(series: Series, points: list[tuple[float, float]], names: tuple[str, str]) -> Markup:
    """Plot shares against probabilities; calibrated forecasts lie on the diagonal."""
    x, y = x_scale(0, 1), y_scale(0, 1)
    places = [(x(expected), y(found)) for expected, found in points]
    parts = [
        *axes(x, y, names),
        line(x(0), y(0), x(1), y(1), "ideal"),
        polyline(places, f"curve {series.css}"),
    ]
    for place, (expected, found) in zip(places, points, strict=True):
        parts.append(
            dot(*place, series, f"{series.name}: {expected:.1%} forecast, {found:.1%} found", radius=3)
        )
    return image(parts, f"{names[1]} against the {names[0]}")
