"""The part of the report page about forecasts of the next kind and the next time: tables and plots of each model."""

from typing import NamedTuple

from markupsafe import Markup

from reprise.report.comparison_file import JsonObject
from reprise.report.plots import RankedModels
from reprise.report.svg import Series, axes, dot, image, line, polyline, x_scale, y_scale

SCORE_TITLES = {
    "log_loss": "log loss", "brier": "Brier score", "log_likelihood": "log-likelihood", "crps": "CRPS, s",
}  # fmt: skip
"""Column titles of the scores."""


class ForecastTable(NamedTuple):
    """The scores of a model and of baselines."""

    title: str
    columns: list[str]
    rows: list[tuple[str, list[str]]]
    """Name of each forecast, and its cells."""


class ForecastPart(NamedTuple):
    """The forecasts of one model."""

    series: Series
    targets: int
    tables: list[ForecastTable]
    plots: list[tuple[str, Markup]]
    """Titles and plots."""


def forecast_parts(models: RankedModels) -> list[ForecastPart]:
    """Return the tables and plots of every model that forecasts."""
    found = []
    for series, facts in models:
        reports = (facts["pooled"], *facts["reports"])
        scores = next((report["forecast"] for report in reports if report.get("forecast")), None)
        if scores is not None:
            groups = {"Next kind": scores["kinds"], "Time to the next event": scores["gaps"]}
            tables = [_table(title, rows) for title, rows in groups.items() if rows]
            found.append(ForecastPart(series, scores["targets"], tables, _plots(series, scores)))
    return found


def _table(title: str, rows: list[JsonObject]) -> ForecastTable:
    names = list(rows[0]["scores"])
    columns = [SCORE_TITLES[name] for name in names]
    columns += [f"{column}: model minus this" for column in columns]
    return ForecastTable(
        title,
        columns,
        [
            (row["name"], [_cell(row["scores"][name]) for name in names] + _differences(row, names))
            for row in rows
        ],
    )


def _differences(row: JsonObject, names: list[str]) -> list[str]:
    return [_cell(row["differences"][name], "+") if row["differences"] else "" for name in names]


def _cell(interval: JsonObject, sign: str = "") -> str:
    text = f"{interval['value']:{sign}.4f}"
    if interval["low"] is None:
        return text
    return f"{text} [{interval['low']:{sign}.4f}, {interval['high']:{sign}.4f}]"


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
