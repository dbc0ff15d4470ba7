"""The tables of the report page: accuracy, list metrics and calibration of each model."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from markupsafe import Markup

from reprise.evaluation.metrics import COLD_METRICS, LIST_METRICS
from reprise.report.comparison_file import ComparisonRecord, JsonObject
from reprise.report.plots import RankedModels, calibration_of, duration, interval_bars
from reprise.report.svg import Series

ACCURACY = ("ndcg", "mrr", "recall")
"""Built-in ranking metrics in the order of the accuracy table; other ranking metrics follow them."""
OMITTED = ("hit",)
"""Metrics without a column, unless the models are compared by one: with one target per list, hit equals recall."""


@dataclass(frozen=True)
class Column:
    """The header of a table column."""

    name: str
    """Text of the header."""
    sortable: bool = True
    """Whether a click on the header sorts the table."""
    sorted: bool = False
    """Whether the table is sorted by this column, in descending order."""


@dataclass(frozen=True)
class TableCell:
    """A number with its interval, or a small plot."""

    text: str = "\N{EN DASH}"
    """The formatted number; a dash if there is none."""
    interval: str = ""
    """The formatted interval; empty if there is none."""
    value: float | None = None
    """The number that the column is sorted by."""
    css: str = ""
    """`best` for the best value, `level` for a value that does not differ significantly from it."""
    plot: Markup | None = None
    """An SVG image that replaces the text."""


@dataclass(frozen=True)
class TableRow:
    """The cells of one model."""

    series: Series
    """The model of the row."""
    cells: list[TableCell]
    """One cell per column."""
    seeds: int = 1
    """Number of seeds that the values are means over."""


@dataclass(frozen=True)
class Table:
    """A table with one row per model."""

    columns: list[Column]
    """Headers of all columns but the first, which holds the names of the models."""
    rows: list[TableRow]
    """Rows in the order of the page."""
    metrics: list[str] = field(default_factory=list)
    """Names of the list metrics in the table, without their k."""


@dataclass(frozen=True)
class ContentRow:
    """What a network loses without a part of the content of items."""

    name: str
    """What is removed."""
    cells: list[TableCell]
    """Loss of recall over all targets, over the warm and over the cold ones."""


def accuracy_table(comparison: ComparisonRecord, models: RankedModels, metric: str) -> Table:
    """Build the table of ranking metrics with intervals.

    The best value of each column is marked. In the column of `metric` those that do not differ significantly from the
    best model are marked, too.
    """
    found = _metric_names(models, lambda kind: kind not in (*LIST_METRICS, *COLD_METRICS, *OMITTED))
    # the table is sorted by `metric`, so it has its column even if that is an omitted one
    with_metric = dict.fromkeys([metric, *found])
    names = sorted(with_metric, key=lambda name: (name != metric, -_k_of(name), _accuracy_order(name)))
    level = not_different_from(comparison, models[0][0].name, metric)
    bars = interval_bars(models, metric)
    rows = []
    for place, (series, facts) in enumerate(models):
        metrics = facts["pooled"]["metrics"]
        cells = [_cell(metrics[name], _mark(models, place, name, metric, level)) for name in names]
        cells.insert(1, TableCell(plot=bars[place], value=metrics[metric]["value"]))
        cells.append(_time_cell(facts["training"]["seconds"]))
        rows.append(TableRow(series, cells, max(1, len(facts["seeds"]))))
    first, *others = names
    columns = [Column(first, sorted=True), Column("interval", sortable=False), *map(Column, others)]
    return Table([*columns, Column("training time")], rows)


def list_metrics_table(models: RankedModels) -> Table | None:
    """Build the table of list metrics, such as coverage, at the largest k; None if there are none."""
    return _longest_table(models, LIST_METRICS)


def cold_items_table(models: RankedModels) -> Table | None:
    """Build the table of the measures of cold items at the largest k; None if no target and no candidate is cold."""
    return _longest_table(models, COLD_METRICS)


def _longest_table(models: RankedModels, kinds: tuple[str, ...]) -> Table | None:
    """Build the table of some metrics at the largest k; None if no model has them."""
    names = _metric_names(models, lambda kind: kind in kinds)
    if not names:
        return None
    longest = max(names, key=_k_of).partition("@")[2]
    names = [name for name in names if name.partition("@")[2] == longest]
    rows = [
        TableRow(series, [_cell(facts["pooled"]["metrics"].get(name)) for name in names])
        for series, facts in models
    ]
    columns = [Column(name.replace("_", " ")) for name in names]
    return Table(columns, rows, metrics=[name.partition("@")[0] for name in names])


def content_tables(models: RankedModels, longest: int) -> list[tuple[Series, list[ContentRow]]]:
    """Return for each network that reads content what it loses in recall without parts of it."""
    metric = f"recall@{longest}"
    found = []
    for series, facts in models:
        rows = [
            ContentRow(
                part["name"],
                [
                    _cell((part[group] or {}).get(metric), signed=True)
                    for group in ("differences", "warm", "cold")
                ],
            )
            for part in facts.get("content") or ()
        ]
        if rows:
            found.append((series, rows))
    return found


def calibration_table(models: RankedModels) -> Table:
    """Build the table of calibration errors, with the models that predict probabilities."""
    rows = []
    for series, facts in models:
        found = calibration_of(facts)
        if found is not None:
            values = [found["ece"], *([found["log_loss"]] if found.get("log_loss") is not None else [])]
            rows.append(TableRow(series, [TableCell(_number(value), value=value) for value in values]))
    names = ["ECE", "log loss"][: len(rows[0].cells) if rows else 0]
    return Table([Column(name) for name in names], rows)


def not_different_from(comparison: ComparisonRecord, best: str, metric: str) -> set[str]:
    """Return the names of the models that do not differ significantly from the best one in a metric."""
    return {
        result["second"] if result["first"] == best else result["first"]
        for result in comparison["verdicts"]
        if result["metric"] == metric
        and result["better"] is None
        and best in (result["first"], result["second"])
    }


def _metric_names(models: RankedModels, wanted: Callable[[str], bool]) -> list[str]:
    """Return the metrics of any model, each once, whose name before '@' is wanted."""
    names = dict.fromkeys(name for _, facts in models for name in facts["pooled"]["metrics"])
    return [name for name in names if wanted(name.partition("@")[0])]


def _k_of(name: str) -> int:
    return int(name.partition("@")[2])


def _accuracy_order(name: str) -> int:
    kind = name.partition("@")[0]
    return ACCURACY.index(kind) if kind in ACCURACY else len(ACCURACY)


def _mark(models: RankedModels, place: int, name: str, metric: str, level: set[str]) -> str:
    values = [facts["pooled"]["metrics"][name]["value"] for _, facts in models]
    if len(models) > 1 and values[place] == max(values):
        return "best"
    return "level" if name == metric and models[place][0].name in level else ""


def _cell(interval: JsonObject | None, css: str = "", *, signed: bool = False) -> TableCell:
    if interval is None:
        return TableCell()
    value, low, high = interval["value"], interval["low"], interval["high"]
    if signed:
        bounds = "" if low is None or high is None else f"{low:+.4f} to {high:+.4f}"
        return TableCell(typeset(f"{value:+.4f}"), typeset(bounds), value, css)
    bounds = "" if low is None or high is None else f"{_number(low)}\N{EN DASH}{_number(high)}"
    return TableCell(_number(value), bounds, value, css)


def typeset(sentence: str) -> str:
    """Replace hyphens before numbers by minus signs, and keep 'p < 0.01' on one line."""
    signed = re.sub(r"(?<![\w.])-(?=\d)", "\N{MINUS SIGN}", sentence)
    return re.sub(r"\bp ([<=]) ", "p\N{NO-BREAK SPACE}\\1\N{NO-BREAK SPACE}", signed)


def _number(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 1 else f"{value:.3f}" if abs(value) < 10 else f"{value:.2f}"


def _time_cell(seconds: float | None) -> TableCell:
    return TableCell() if seconds is None else TableCell(duration(seconds), value=seconds)
