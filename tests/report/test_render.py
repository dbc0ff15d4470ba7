"""The page as a browser reads it, as far as a parser can tell."""

import re
from html.parser import HTMLParser

import pytest

from reprise.report.comparison_file import Comparison, SearchFacts
from reprise.report.render import SECTIONS, render

VOID = {"meta", "circle", "rect", "br"}


class Page(HTMLParser):
    """Sees that tags are closed in the order they were opened, and remembers what there is."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.sources: list[str] = []
        self.words: list[str] = []
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
        assert not [name for name in found if name.startswith("on")], "no script but the one at the end"
        if tag not in VOID or tag in ("circle", "rect"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)


def test_all_sections_are_there_and_the_contents_lead_to_them(study: Comparison) -> None:
    page = Page(render(study))
    assert page.ids == [name for name in SECTIONS if name != "search"]
    assert page.links == [f"#{name}" for name in page.ids]


def test_it_asks_no_other_machine_for_anything(study: Comparison) -> None:
    page = Page(render(study))
    assert page.sources == []
    assert all(link.startswith("#") for link in page.links)
    assert not re.search(r"https?:|//[a-z]|@import|url\(", page.text)
    assert "link" not in page.tags and "iframe" not in page.tags


def test_what_strangers_wrote_is_text_wherever_it_stands(study: Comparison) -> None:
    evil = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>"
    calm = Page(render(study))
    example = study["examples"][0]
    example["sequence"] = evil
    for shown in (*example["history"], *example["next"], example["lists"][1]["items"][0]):
        shown["title"] = evil
    study["dataset"]["path"] = evil
    study["command"] = evil
    study["words"] = [evil]
    study["verdicts"][0]["sentence"] = evil
    for entrant in study["entrants"]:
        entrant["pooled"]["slices"][evil] = dict(entrant["pooled"]["slices"]["warm"], of=evil)
    named = study["entrants"][1]["name"]
    for verdict in study["verdicts"]:
        verdict |= {key: evil for key in ("first", "second", "better") if verdict[key] == named}
    study["entrants"][1]["name"] = example["lists"][1]["entrant"] = evil
    study["entrants"][1]["runs"] = [evil, evil]
    page = Page(render(study))
    assert page.tags.count("script") == calm.tags.count("script") == 1
    assert "img" not in page.tags
    assert "<script>alert" not in page.text


def test_it_can_be_read_without_its_script(study: Comparison) -> None:
    text = render(study)
    assert text.index("<script>") > text.index("</footer>")
    everything = " ".join(Page(text).words)
    for word in ("gru 1 x 8", "0.3000", "Mug 3", "100 targets", "reprise evaluate runs/a", "ndcg@10"):
        assert word in everything


def test_colours_come_from_the_style_so_that_it_can_be_dark(study: Comparison) -> None:
    body = render(study).partition("</style>")[2]
    assert not re.search(r'fill="|stroke="|#[0-9a-f]{6}', body)
    style = render(study).partition("</style>")[0]
    light, dark = (
        re.findall(r"--s\d: (#[0-9a-f]{6})", style.partition("@media")[0]),
        re.findall(r"--s\d: (#[0-9a-f]{6})", style.partition("@media (prefers-color-scheme: dark)")[2]),
    )
    assert len(light) == len(dark) == 8
    for paper, colours in (("#fcfbf8", light), ("#171613", dark)):
        assert f"--paper: {paper}" in style
        assert min(contrast(paper, colour) for colour in colours) >= 4.5


def contrast(one: str, other: str) -> float:
    """The contrast of two colours, 1 to 21 (WCAG 2.2, relative luminance)."""

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
def test_any_number_of_models_makes_a_page(study: Comparison, kept: slice) -> None:
    study["entrants"] = study["entrants"][kept]
    names = {entrant["name"] for entrant in study["entrants"]}
    study["verdicts"] = [found for found in study["verdicts"] if {found["first"], found["second"]} <= names]
    for example in study["examples"]:
        example["lists"] = [found for found in example["lists"] if found["entrant"] in names]
    Page(render(study))


def test_sections_with_nothing_to_show_say_so(study: Comparison) -> None:
    study["entrants"] = study["entrants"][:1]
    study["verdicts"], study["examples"] = [], []
    facts = study["entrants"][0]
    facts["pooled"]["slices"] = {}
    facts["training"]["seconds"] = None
    everything = " ".join(Page(render(study)).words)
    for sentence in (
        "One model alone is not compared with anything.",
        "None of the models has a training time on record.",
        "None of these models learns in epochs.",
        "so there are no slices.",
        "None of these models gives probabilities.",
    ):
        assert sentence in everything


def test_a_search_has_a_section_of_its_own(study: Comparison) -> None:
    trial = {"number": 1, "state": "complete", "value": 0.3, "fields": {"model.size": 8}}
    study["search"] = SearchFacts(
        metric="ndcg@10", trials=[trial], best=trial, importance={"model.size": 1.0}, note="By PED-ANOVA."
    )
    page = Page(render(study))
    assert "search" in page.ids and "#search" in page.links
    assert "model.size" in " ".join(page.words)
    assert "By PED-ANOVA." in " ".join(page.words)


def test_the_metric_of_the_verdicts_is_that_of_the_page(study: Comparison) -> None:
    study["metric"] = "recall@5"
    for verdict in study["verdicts"]:
        verdict["metric"] = "recall@5"
    assert "has the highest recall@5" in render(study)
