"""Tests of the HTML page, read with an HTML parser."""

import re
from html.parser import HTMLParser

import pytest

from reprise.report.comparison_file import ComparisonRecord, SearchRecord
from reprise.report.render import render

VOID = {"meta", "circle", "rect", "br"}
SECTIONS = [
    "models", "comparisons", "cost", "learning", "cold", "slices", "calibration", "lists", "examples", "protocol", "recipes",
]  # fmt: skip
"""Anchors of a page without a hyper-parameter search, in order."""


class Page(HTMLParser):
    """A parser that checks that tags are nested correctly, and collects ids, links, sources and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.sources: list[str] = []
        self.texts: list[str] = []
        self.tags: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        found = dict(attrs)
        if "id" in found:
            self.ids.append(str(found["id"]))
        for name in ("src", "href", "action", "data", "srcset", "poster"):
            if name in found:
                (self.links if name == "href" else self.sources).append(str(found[name]))
        assert not [name for name in found if name.startswith("on")], "event handlers are not allowed"
        if tag not in VOID or tag in ("circle", "rect"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.texts.append(data)


def test_content_has_a_section_if_a_network_reads_it(comparison: ComparisonRecord) -> None:
    gap = {"recall@10": {"value": -0.025, "low": -0.04, "high": 0.01}}
    comparison["entrants"][1]["content"] = [
        {"name": "without <title>", "differences": gap, "warm": gap, "cold": None}
    ]
    page = Page(render(comparison))
    assert page.ids == [*SECTIONS[:5], "content", *SECTIONS[5:]]
    assert "without <title>" in page.texts
    assert "\N{MINUS SIGN}0.0250" in page.texts
    assert "\N{MINUS SIGN}0.0400 to +0.0100" in page.texts


def test_page_has_all_sections_and_links_to_them(comparison: ComparisonRecord) -> None:
    page = Page(render(comparison))
    assert page.ids == SECTIONS
    assert page.links == [f"#{name}" for name in SECTIONS]


def test_page_loads_nothing_from_the_network(comparison: ComparisonRecord) -> None:
    page = Page(render(comparison))
    assert page.sources == []
    assert all(link.startswith("#") for link in page.links)
    assert not re.search(r"https?:|//[a-z]|@import|url\(", page.text)
    assert "link" not in page.tags and "iframe" not in page.tags


def test_all_text_of_a_comparison_is_escaped(comparison: ComparisonRecord) -> None:
    markup = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>"
    harmless = Page(render(comparison))
    example = comparison["examples"][0]
    example["sequence"] = markup
    for shown in (*example["history"], *example["next"], example["lists"][1]["items"][0]):
        shown["title"] = markup
    comparison["dataset"]["path"] = markup
    comparison["command"] = markup
    comparison["words"] = [markup]
    comparison["verdicts"][0]["sentence"] = markup
    for entrant in comparison["entrants"]:
        entrant["pooled"]["slices"][markup] = dict(entrant["pooled"]["slices"]["warm"], of=markup)
    named = comparison["entrants"][1]["name"]
    for verdict in comparison["verdicts"]:
        verdict |= {key: markup for key in ("first", "second", "better") if verdict[key] == named}
    comparison["entrants"][1]["name"] = example["lists"][1]["entrant"] = markup
    comparison["entrants"][1]["runs"] = [markup, markup]
    page = Page(render(comparison))
    assert page.tags.count("script") == harmless.tags.count("script") == 1
    assert "img" not in page.tags
    assert "<script>alert" not in page.text


def test_page_is_complete_without_its_script(comparison: ComparisonRecord) -> None:
    text = render(comparison)
    assert text.index("<script>") > text.index("</footer>")
    text_of_page = " ".join(Page(text).texts)
    for text in ("gru 1 x 8", "0.3000", "Mug 3", "100 targets", "reprise evaluate runs/a", "ndcg@10"):
        assert text in text_of_page


def test_colours_are_in_the_style_sheet_and_have_enough_contrast(comparison: ComparisonRecord) -> None:
    body = render(comparison).partition("</style>")[2]
    assert not re.search(r'fill="|stroke="|#[0-9a-f]{6}', body)
    style = render(comparison).partition("</style>")[0]
    light, dark = (
        re.findall(r"--s\d: (#[0-9a-f]{6})", style.partition("@media")[0]),
        re.findall(r"--s\d: (#[0-9a-f]{6})", style.partition("@media (prefers-color-scheme: dark)")[2]),
    )
    assert len(light) == len(dark) == 8
    for paper, colours in (("#fcfbf8", light), ("#171613", dark)):
        assert f"--paper: {paper}" in style
        assert min(contrast(paper, colour) for colour in colours) >= 4.5


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two colours, 1 to 21 (WCAG 2.2, from relative luminance)."""

    def luminance(colour: str) -> float:
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        red, green, blue = (
            part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
        )
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize(
    "kept", [slice(0, 1), slice(1, 2), slice(0, 3)], ids=["a baseline", "a network", "all"]
)
def test_page_is_valid_for_any_number_of_models(comparison: ComparisonRecord, kept: slice) -> None:
    comparison["entrants"] = comparison["entrants"][kept]
    names = {entrant["name"] for entrant in comparison["entrants"]}
    comparison["verdicts"] = [
        found for found in comparison["verdicts"] if {found["first"], found["second"]} <= names
    ]
    for example in comparison["examples"]:
        example["lists"] = [found for found in example["lists"] if found["entrant"] in names]
    Page(render(comparison))


def test_empty_sections_have_an_explanation(comparison: ComparisonRecord) -> None:
    comparison["entrants"] = comparison["entrants"][:1]
    comparison["verdicts"], comparison["examples"] = [], []
    facts = comparison["entrants"][0]
    facts["pooled"]["slices"] = {}
    facts["training"]["seconds"] = None
    text_of_page = " ".join(Page(render(comparison)).texts)
    for sentence in (
        "There is only one model, so there is nothing to compare.",
        "No training time is known for these models.",
        "None of these models is trained in epochs.",
        "so there are no slices.",
        "None of these models predicts probabilities.",
    ):
        assert sentence in text_of_page


def test_search_has_a_section(comparison: ComparisonRecord) -> None:
    trial = {"number": 1, "state": "complete", "value": 0.3, "fields": {"model.size": 8}}
    comparison["search"] = SearchRecord(
        metric="ndcg@10", trials=[trial], best=trial, importance={"model.size": 1.0}, note="By PED-ANOVA."
    )
    page = Page(render(comparison))
    assert "search" in page.ids and "#search" in page.links
    assert "model.size" in " ".join(page.texts)
    assert "By PED-ANOVA." in " ".join(page.texts)


def test_page_uses_the_metric_of_the_comparison(comparison: ComparisonRecord) -> None:
    comparison["metric"] = "recall@5"
    for verdict in comparison["verdicts"]:
        verdict["metric"] = "recall@5"
    assert "has the highest recall@5" in render(comparison)


def text_of(comparison: ComparisonRecord) -> str:
    """Return the text of the page with single spaces."""
    return " ".join("".join(Page(render(comparison)).texts).split())


def test_headline_reports_significant_and_undecided_differences(comparison: ComparisonRecord) -> None:
    assert (
        "gru 1 x 8 has the highest ndcg@10, 0.3000. It is significantly better than 1 other model. "
        "It does not differ significantly from lstm 1 x 8. "
        "It was trained with 2 seeds, so this result applies to these weights only."
    ) in text_of(comparison)


def test_headline_reports_that_the_best_model_beats_all_others(comparison: ComparisonRecord) -> None:
    comparison["entrants"][1]["seeds"].append(3)
    comparison["entrants"][1]["runs"].append("runs/gru-1-x-8-3")
    comparison["verdicts"][2]["better"] = "gru 1 x 8"
    text = text_of(comparison)
    assert "It is significantly better than all other models." in text
    assert "does not differ significantly" not in text and "these weights only" not in text


def test_title_says_the_finding_and_names_the_dataset(comparison: ComparisonRecord) -> None:
    assert "<h1>gru 1 x 8 and lstm 1 x 8 tie on shop</h1>" in render(comparison)
    comparison["entrants"][1]["seeds"].append(3)
    comparison["entrants"][1]["runs"].append("runs/gru-1-x-8-3")
    comparison["verdicts"][2]["better"] = "gru 1 x 8"
    assert "<h1>gru 1 x 8 is best on shop</h1>" in render(comparison)
    comparison["verdicts"] = []
    assert "<h1>3 models on shop</h1>" in render(comparison)


def test_headline_names_a_model_that_ties_and_trains_fast(comparison: ComparisonRecord) -> None:
    best, other = (
        comparison["entrants"][1],
        next(one for one in comparison["entrants"] if one["name"] == "lstm 1 x 8"),
    )
    best["training"]["seconds"], other["training"]["seconds"] = 100.0, 0.2
    assert "lstm 1 x 8 ties with it and was trained in 200 ms." in text_of(comparison)
    other["training"]["seconds"] = 50.0
    assert "ties with it" not in text_of(comparison)


def test_split_is_described_with_its_dates(comparison: ComparisonRecord) -> None:
    text = text_of(comparison)
    assert "by time, validation from 2023-11-14 22:13:20 UTC, test from 2023-11-21 20:53:20 UTC" in text
    comparison["dataset"]["split"] = {"kind": "leave_one_out"}
    assert "by leave one out" in text_of(comparison)


def test_missing_intervals_are_explained(comparison: ComparisonRecord) -> None:
    comparison["verdicts"] = []
    assert "The evaluation made no intervals, so it cannot show which model is better." in text_of(comparison)


def test_examples_show_the_rank_of_the_next_item(comparison: ComparisonRecord) -> None:
    text = text_of(comparison)
    assert "Sequence u7: next item Mug 3, in 3 of 3 lists" in text
    assert "Before (and 4 earlier): Mug 1 \N{RIGHTWARDS ARROW} Mug 2." in text
    assert "rank of the next item: 1,200" in text and "the next item is not a candidate" in text


def test_recipes_name_runs_and_baselines(comparison: ComparisonRecord) -> None:
    text = text_of(comparison)
    assert "runs/gru-1-x-8-1 (seed 1), runs/gru-1-x-8-2 (seed 2)" in text
    assert "baseline popularity, fitted to the events before the test part" in text
