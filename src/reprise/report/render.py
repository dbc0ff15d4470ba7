"""Rendering of a comparison as one HTML page that needs no other file: style, plots and script are inside it."""

from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from reprise.evaluation.slices import POPULARITY
from reprise.report import page_data, plots, tables
from reprise.report.comparison_file import ComparisonRecord
from reprise.report.forecast_page import forecast_parts
from reprise.report.summary import correction_note

PAGE = Path(__file__).parent / "page"
"""Directory of the template, the style sheet and the script."""


def render(comparison: ComparisonRecord) -> str:
    """Return the HTML page of a comparison. Item ids, titles and all other text are escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PAGE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["utc"] = page_data.utc
    return environment.get_template("page.html").render(
        comparison=comparison,
        style=_asset("style.css"),
        script=_asset("sort.js"),
        **_page_values(comparison),
    )


def _asset(name: str) -> Markup:
    """Read a file of this package that is inserted without escaping."""
    return Markup((PAGE / name).read_text(encoding="utf-8"))


def _page_values(comparison: ComparisonRecord) -> dict[str, Any]:
    metric = comparison["metric"]
    models = plots.rank_models(comparison, metric)
    calibration = tables.calibration_table(models)
    longest = max(comparison["protocol"]["at"])
    return {
        "dataset_name": page_data.dataset_name(comparison),
        "evaluated": datetime.fromisoformat(comparison["made"]),
        "headline": page_data.headline(comparison, models, metric),
        "metric": metric,
        "models": [series for series, _ in models],
        "several_seeds": any(len(facts["seeds"]) > 1 for _, facts in models),
        "accuracy": tables.accuracy_table(comparison, models, metric),
        "undecided": tables.not_different_from(comparison, models[0][0].name, metric),
        "pairwise": page_data.pairwise_results(comparison, models),
        "correction_note": correction_note(comparison),
        "training_time": plots.training_time_plot(models, metric),
        "trained": [series for series, facts in models if facts["training"]["curve"]],
        "learning_curves": plots.learning_curves(models),
        "slices": plots.slice_plots(models, metric),
        "popularity_shares": POPULARITY,
        "reliability": plots.reliability_diagram(models),
        "calibration": calibration,
        "forecasts": forecast_parts(models),
        "cold_items": tables.cold_items_table(models),
        "content": tables.content_tables(models, longest),
        "longest": longest,
        "list_metrics": tables.list_metrics_table(models),
        "examples": page_data.examples(comparison, models),
        "search": page_data.search(comparison["search"]),
        "recipes": page_data.recipes(models),
    }
