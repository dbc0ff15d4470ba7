"""Tables of metrics as LaTeX, CSV and Markdown."""

import csv

import numpy as np
import pytest

from reprise.errors import ConfigError, DataError
from reprise.evaluation.comparison.paired import compare
from reprise.evaluation.metrics_table import MetricsTable
from reprise.evaluation.stats.bootstrap import Interval

ROWS = [
    ("ours", {"recall@5": Interval(0.5, 0.4, 0.6), "gini@5": Interval(0.2)}),
    ("a_b & 5%|", {"recall@5": Interval(0.25, 0.125, 0.375), "gini@5": Interval(0.3)}),
]
TABLE = MetricsTable.of(ROWS, None, frozenset({(1, "recall@5")}))


def test_latex_is_for_booktabs_and_escapes_names():
    assert TABLE.to_latex() == (
        "\\begin{tabular}{lrr}\n\\toprule\nModel & recall@5 & gini@5 \\\\\n\\midrule\n"
        "ours & \\textbf{0.5000} {\\scriptsize [0.4000, 0.6000]} & 0.2000 \\\\\n"
        "a\\_b \\& 5\\%| & 0.2500$^{*}$ {\\scriptsize [0.1250, 0.3750]} & 0.3000 \\\\\n"
        "\\bottomrule\n\\end{tabular}\n"
    )


def test_csv_has_every_number():
    head, *rows = csv.reader(TABLE.to_csv().splitlines())
    assert head == ["model", "metric", "value", "low", "high", "significant"]
    assert rows[0] == ["ours", "recall@5", "0.5", "0.4", "0.6", ""]
    assert rows[1] == ["ours", "gini@5", "0.2", "", "", ""]
    assert rows[2] == ["a_b & 5%|", "recall@5", "0.25", "0.125", "0.375", "yes"]


def test_markdown_marks_the_best_value_only_where_more_is_better():
    lines = TABLE.to_markdown().splitlines()
    assert lines[2] == "| ours | **0.5000 [0.4000, 0.6000]** | 0.2000 |"
    assert lines[3] == "| a_b & 5%\\| | 0.2500 [0.1250, 0.3750] \\* | 0.3000 |"


def test_a_file_is_written_by_its_suffix(tmp_path):
    for suffix, text in ((".tex", TABLE.to_latex()), (".csv", TABLE.to_csv()), (".md", TABLE.to_markdown())):
        TABLE.write(tmp_path / f"table{suffix}")
        assert (tmp_path / f"table{suffix}").read_text() == text
    with pytest.raises(ConfigError, match=r"a table is .tex, .csv or .md, got '.*table.xlsx'"):
        TABLE.write(tmp_path / "table.xlsx")


def test_reports_and_comparisons_have_tables(report_of):
    """Every sequence differs by one hit of two targets, so that the difference is significant."""
    generator = np.random.default_rng(0)
    worse = generator.integers(2, size=50)
    first, second = report_of("first", worse + 1), report_of("second", worse)
    assert first.to_latex().count("\\\\") == 2
    assert first.to_csv().splitlines()[1].startswith("first,recall@5,")
    assert compare(first, second).to_markdown().splitlines()[3].endswith("\\* |")
    assert compare(first, first).to_csv().count("yes") == 0
    with pytest.raises(DataError, match=r"'first' has no metric 'recal@5'.*recall@5"):
        first.to_latex(["recal@5"])
