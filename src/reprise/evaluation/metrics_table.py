"""Tables of metrics for papers and spreadsheets: LaTeX with booktabs, CSV and Markdown, one row per model."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from reprise.errors import ConfigError, DataError, did_you_mean
from reprise.evaluation.stats.bootstrap import Interval

SUFFIXES = (".tex", ".csv", ".md")
"""Suffixes of table files; each names its format."""
LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
}  # fmt: skip
"""Characters with a meaning in LaTeX, and how they are written."""


@dataclass(frozen=True, eq=False)
class MetricsTable:
    """The metrics of one or more models."""

    metrics: tuple[str, ...]
    """Names of the metrics, one column each."""
    rows: tuple[tuple[str, Mapping[str, Interval]], ...]
    """Name and values of each model."""
    marked: frozenset[tuple[int, str]] = frozenset()
    """(row, metric) of the values that differ significantly from the first row; they have a star."""

    @classmethod
    def of(
        cls,
        rows: Sequence[tuple[str, Mapping[str, Interval]]],
        metrics: Sequence[str] | None,
        marked: frozenset[tuple[int, str]] = frozenset(),
    ) -> "MetricsTable":
        """Make a table of some metrics; None: all metrics that each model has.

        Raises:
            DataError: A model does not have a metric.
        """
        if metrics is None:
            metrics = [name for name in rows[0][1] if all(name in values for _, values in rows)]
        for metric in metrics:
            for name, values in rows:
                if metric not in values:
                    raise DataError(f"{name!r} has no metric {metric!r}{did_you_mean(metric, values)}")
        return cls(tuple(metrics), tuple(rows), marked)

    def to_csv(self) -> str:
        """Return CSV with the columns model, metric, value, low, high and significant."""
        file = StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["model", "metric", "value", "low", "high", "significant"])
        for row, (name, values) in enumerate(self.rows):
            for metric in self.metrics:
                star = "yes" if (row, metric) in self.marked else ""
                writer.writerow(
                    [name, metric, *("" if one is None else repr(one) for one in values[metric]), star]
                )
        return file.getvalue()

    def to_markdown(self) -> str:
        """Return a Markdown table with intervals; the best value of a column is bold."""
        head = ["model", *self.metrics]
        lines = [head, ["---", *["---:"] * len(self.metrics)]]
        for row, (name, values) in enumerate(self.rows):
            cells = [f"{values[metric]}{self._star(row, metric)}" for metric in self.metrics]
            best = [self._is_best(values, metric) for metric in self.metrics]
            lines.append(
                [
                    name.replace("|", r"\|"),
                    *(f"**{cell}**" if one else cell for cell, one in zip(cells, best, strict=True)),
                ]
            )
        return "".join(f"| {' | '.join(line)} |\n" for line in lines)

    def to_latex(self) -> str:
        """Return a `tabular` for the LaTeX package booktabs, with intervals; the best value of a column is bold."""
        head = " & ".join(["Model", *(_escaped(metric) for metric in self.metrics)])
        lines = [rf"\begin{{tabular}}{{l{'r' * len(self.metrics)}}}", r"\toprule", rf"{head} \\", r"\midrule"]
        for row, (name, _) in enumerate(self.rows):
            cells = [self._latex_cell(row, metric) for metric in self.metrics]
            lines.append(rf"{' & '.join([_escaped(name), *cells])} \\")
        return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])

    def write(self, file: Path) -> None:
        """Write the table to a file whose suffix names the format.

        Raises:
            ConfigError: The suffix is unknown.
        """
        check_table_file(file)
        text = {".tex": self.to_latex, ".csv": self.to_csv, ".md": self.to_markdown}[file.suffix.lower()]()
        file.write_text(text, encoding="utf-8")

    def _latex_cell(self, row: int, metric: str) -> str:
        values = self.rows[row][1]
        value, low, high = values[metric]
        text = rf"\textbf{{{value:.4f}}}" if self._is_best(values, metric) else f"{value:.4f}"
        star = "$^{*}$" if (row, metric) in self.marked else ""
        bounds = "" if low is None or high is None else rf" {{\scriptsize [{low:.4f}, {high:.4f}]}}"
        return f"{text}{star}{bounds}"

    def _star(self, row: int, metric: str) -> str:
        return r" \*" if (row, metric) in self.marked else ""

    def _is_best(self, values: Mapping[str, Interval], metric: str) -> bool:
        """Whether a model has the best value; not if there is one model, or if a higher value is not better."""
        if len(self.rows) < 2 or metric.startswith(NOT_BETTER):
            return False
        return values[metric].value == max(own[metric].value for _, own in self.rows)


NOT_BETTER = ("novelty", "popularity_lift", "gini", "coverage", "diversity", "cold_slots")
"""Measures of which a higher value is not simply better."""


def check_table_file(file: Path) -> None:
    """Check that the suffix of a table file names a format.

    Raises:
        ConfigError: It does not.
    """
    if file.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"a table is .tex, .csv or .md, got {str(file)!r}; use one of these suffixes")


def _escaped(text: str) -> str:
    return "".join(LATEX.get(letter, letter) for letter in text)
