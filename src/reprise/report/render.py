"""A study as one page of HTML that opens anywhere: style, pictures and script stand inside the file."""

from pathlib import Path
from types import SimpleNamespace

import jinja2
from markupsafe import Markup

from reprise.report import plots, tables, text
from reprise.report.comparison_file import Comparison
from reprise.report.svg import Series

PAGE = Path(__file__).parent / "page"
SECTIONS = {
    "models": "Models", "verdicts": "Verdicts", "cost": "Training time", "learning": "Learning curves",
    "slices": "Slices", "calibration": "Calibration", "beyond": "Beyond accuracy", "examples": "Examples",
    "search": "Search", "protocol": "Protocol", "recipes": "How they were made",
}  # fmt: skip
"""The sections by their anchors, in the order of the page."""


def render(study: Comparison) -> str:
    """The page. Ids and titles are a stranger's text, and are escaped wherever they stand."""
    main = study["metric"]
    drawn = in_order(study, main)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PAGE), autoescape=True, undefined=jinja2.StrictUndefined
    )
    return environment.get_template("page.html").render(
        study=study, page=_contents(study, drawn, main), style=_own("style.css"), script=_own("sort.js")
    )


def in_order(study: Comparison, main: str) -> plots.Drawn:
    """The entrants, the best first, each with its looks."""
    ranked = sorted(study["entrants"], key=lambda facts: -facts["pooled"]["metrics"][main]["value"])
    return [
        (Series(facts["name"], number, facts["baseline"] is not None), facts)
        for number, facts in enumerate(ranked)
    ]


def _own(name: str) -> Markup:
    """A file of ours, which is no text to be escaped."""
    return Markup((PAGE / name).read_text(encoding="utf-8"))


def _contents(study: Comparison, drawn: plots.Drawn, main: str) -> SimpleNamespace:
    found = text.search(study["search"])
    beyond = tables.beyond(drawn)
    errors = tables.errors(drawn)
    return SimpleNamespace(
        title=text.title(study),
        lead=text.lead(study),
        headline=text.headline(study, drawn, main),
        sections=[item for item in SECTIONS.items() if item[0] != "search" or found],
        main=main,
        series=[series for series, _ in drawn],
        accuracy=tables.accuracy(study, drawn, main),
        verdicts=text.verdicts(study, drawn),
        no_verdicts=text.no_verdicts(study),
        cost=plots.cost(drawn, main),
        cost_caption=_cost_caption(drawn),
        learners=[series for series, facts in drawn if facts["training"]["curve"]],
        curves=plots.curves(drawn),
        slices=[(text.SLICES.get(of, of), picture) for of, picture in plots.slices(drawn, main)],
        calibration=plots.reliability(drawn),
        sure=[row.series for row in errors.rows],
        errors=errors,
        beyond=beyond,
        meanings=[(kind, tables.BEYOND.get(kind, "")) for kind in beyond.kinds] if beyond else [],
        examples=text.examples(study, drawn),
        choice=text.choice(study) if study["examples"] else "",
        search=found,
        dataset=text.dataset(study),
        recipes=text.recipes(drawn, study["protocol"]["part"]),
        versions=text.versions(study),
    )


def _cost_caption(drawn: plots.Drawn) -> str:
    hollow = "Baselines are hollow. " if any(series.baseline for series, _ in drawn) else ""
    return (
        f"{hollow}Up and to the left is better. Times were taken when each was trained, on whatever machine that was, "
        "so compare them with care."
    )
