"""The tables of the page: the models by accuracy, beyond accuracy, and by their calibration."""

from dataclasses import dataclass, field

from markupsafe import Markup

from reprise.report.comparison_file import Comparison, Metrics
from reprise.report.plots import Drawn, calibration_of, duration, interval_bar
from reprise.report.svg import Series

ACCURACY = ("ndcg", "mrr", "recall")
"""Metrics of a rank, in the order of the table; hit equals recall and is left out."""
SAME = ("hit",)
BEYOND = {
    "coverage": "the share of the catalogue that stands in at least one list",
    "novelty": "how rare the shown items are: the mean of \N{MINUS SIGN}log\N{SUBSCRIPT TWO} of their shares of the log",
    "gini": "how unequally items are shown: 0 is all alike, 1 is one item only",
    "diversity": "how little the items of one list have in common: 1 is nothing, 0 is everything",
    "popularity_lift": "how much more popular the shown items are than those that the sequence held before",
}
"""What the measures beyond accuracy mean."""


@dataclass(frozen=True)
class Column:
    """The head of a column."""

    name: str
    sorts: bool = True
    sorted: bool = False


@dataclass(frozen=True)
class TableCell:
    """One number, or a picture of one."""

    text: str = "\N{EN DASH}"
    within: str = ""
    """Its interval."""
    value: float | None = None
    """What the column is sorted by."""
    css: str = ""
    """`best`, or `level` where no difference from the best is shown."""
    picture: Markup | None = None


@dataclass(frozen=True)
class TableRow:
    """One entrant."""

    series: Series
    cells: list[TableCell]
    note: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of numbers."""

    title: str
    columns: list[Column]
    rows: list[TableRow]
    reading: str = ""
    """How it is to be read."""
    kinds: list[str] = field(default_factory=list)
    """The metrics in it without their k, once each."""


def accuracy(study: Comparison, drawn: Drawn, main: str) -> Table:
    """All metrics of ranks with intervals; the best marked, and what is not shown to differ from it."""
    found = _by_kind(drawn, lambda kind: kind not in (*BEYOND, *SAME))
    names = sorted(found, key=lambda name: (name != main, -_length(name), _place(name)))
    level = level_with_best(study, drawn[0][0].name, main)
    bars = interval_bar(drawn, main)
    rows = []
    for place, (series, facts) in enumerate(drawn):
        metrics = facts["pooled"]["metrics"]
        cells = [_cell(metrics[name], _mark(drawn, place, name, main, level)) for name in names]
        cells.insert(1, TableCell(picture=bars[place], value=metrics[main]["value"]))
        rows.append(TableRow(series, [*cells, _time(facts["training"]["seconds"])], _note(facts["seeds"])))
    columns = [Column(names[0], sorted=True), Column("", sorts=False), *map(Column, names[1:])]
    return Table("Accuracy of each model", [*columns, Column("training")], rows, _reading(study, drawn, main))


def beyond(drawn: Drawn) -> Table | None:
    """What else is known of the lists; None where nothing is."""
    names = _by_kind(drawn, lambda kind: kind in BEYOND)
    if not names:
        return None
    longest = max(names, key=_length).partition("@")[2]
    names = [name for name in names if name.partition("@")[2] == longest]
    rows = [
        TableRow(series, [_cell(facts["pooled"]["metrics"].get(name)) for name in names])
        for series, facts in drawn
    ]
    columns = [Column(name.replace("_", " ")) for name in names]
    return Table("Beyond accuracy", columns, rows, kinds=[name.partition("@")[0] for name in names])


def errors(drawn: Drawn) -> Table:
    """How far the probabilities may be believed, of the entrants that have some."""
    rows = []
    for series, facts in drawn:
        found = calibration_of(facts)
        if found is not None:
            values = [found["ece"], *([found["log_loss"]] if found.get("log_loss") is not None else [])]
            rows.append(TableRow(series, [TableCell(_number(value), value=value) for value in values]))
    names = ["ECE", "log loss"][: len(rows[0].cells) if rows else 0]
    return Table("Calibration of each model", [Column(name) for name in names], rows)


def level_with_best(study: Comparison, best: str, metric: str) -> set[str]:
    """The entrants that are not shown to differ from the best in a metric."""
    return {
        verdict["second"] if verdict["first"] == best else verdict["first"]
        for verdict in study["verdicts"]
        if verdict["metric"] == metric
        and verdict["better"] is None
        and best in (verdict["first"], verdict["second"])
    }


def _by_kind(drawn: Drawn, wanted: object) -> list[str]:
    assert callable(wanted)
    return [
        name
        for name in dict.fromkeys(name for _, facts in drawn for name in facts["pooled"]["metrics"])
        if wanted(name.partition("@")[0])
    ]


def _length(name: str) -> int:
    """k of a metric at k."""
    return int(name.partition("@")[2])


def _place(name: str) -> int:
    kind = name.partition("@")[0]
    return ACCURACY.index(kind) if kind in ACCURACY else len(ACCURACY)


def _mark(drawn: Drawn, place: int, name: str, main: str, level: set[str]) -> str:
    values = [facts["pooled"]["metrics"][name]["value"] for _, facts in drawn]
    if len(drawn) > 1 and values[place] == max(values):
        return "best"
    return "level" if name == main and drawn[place][0].name in level else ""


def _cell(interval: Metrics | None, css: str = "") -> TableCell:
    if interval is None:
        return TableCell()
    value, low, high = interval["value"], interval["low"], interval["high"]
    within = "" if low is None or high is None else f"{_number(low)}\N{EN DASH}{_number(high)}"
    return TableCell(_number(value), within, value, css)


def _number(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 1 else f"{value:.3f}" if abs(value) < 10 else f"{value:.2f}"


def _time(seconds: float | None) -> TableCell:
    return TableCell() if seconds is None else TableCell(duration(seconds), value=seconds)


def _note(seeds: list[int]) -> str:
    return f"{len(seeds)} seeds" if len(seeds) > 1 else ""


def _reading(study: Comparison, drawn: Drawn, main: str) -> str:
    told = study["protocol"]["interval"]
    parts = []
    if told["resamples"]:
        parts.append(
            f"Below each value its {told['level']:.0%} interval; the bars show that of {main} on one scale."
        )
    if len(drawn) > 1:
        parts.append("The best value of each column is bold and coloured.")
    if level_with_best(study, drawn[0][0].name, main):
        parts.append(f"Dotted underneath: in {main} no difference from the best is shown.")
    if any(len(facts["seeds"]) > 1 for _, facts in drawn):
        parts.append("Of several seeds the mean is given, and its interval holds the noise of the seeds too.")
    parts.append("Training is the time of all epochs without validation, or of the fit of a baseline.")
    return " ".join(parts)
