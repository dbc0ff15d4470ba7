"""What the page says in words: its head, the verdicts, the examples, and how the models were made."""

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import tomli_w

from reprise.evaluation.comparison.model_comparison import ENOUGH_SEEDS
from reprise.evaluation.slices import POPULARITY
from reprise.report.comparison_file import Comparison, Example, ExampleAnswer, SearchFacts, ShownItem
from reprise.report.plots import Drawn
from reprise.report.svg import Series
from reprise.report.tables import level_with_best
from reprise.training.tuning.search_directory import show

COUNTED = (
    "no",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
)
PAIR = ("first", "second")
"""What a verdict is on."""
SLICES = {
    "item": "Items that training has, and has not",
    "popularity": f"Items by popularity: the head has {POPULARITY['head']:.0%} of the training events, with the torso "
    f"{POPULARITY['torso']:.0%}",
    "repeat": "Items that came before in the sequence, and new ones",
    "history": "By the number of events before",
    "kind": "By the kind of event",
    "gap": "By the time since the event before",
    "time": "Later than the event before, and at the same time",
}
"""What divides the targets, by `Slice.of`."""


@dataclass(frozen=True)
class Verdicts:
    """Sentences: those about the leading model first."""

    first: list[str]
    others: list[str]
    reading: str
    """How p and the intervals are to be read; empty where there is one sentence only."""


@dataclass(frozen=True)
class ListShown:
    """One model's list in an example."""

    series: Series
    items: list[tuple[str, str]]
    """(`hit`, `later` or nothing; title)."""
    place: str
    """Where the item that came next stands."""


@dataclass(frozen=True)
class ExampleShown:
    """One example as the page has it."""

    summary: str
    earlier: int
    before: str
    then: str
    lists: list[ListShown] = field(default_factory=list)


@dataclass(frozen=True)
class RecipeShown:
    """How one entrant was made."""

    series: Series
    made: str
    text: str


@dataclass(frozen=True)
class SearchShown:
    """What a search says of the fields it varied."""

    sentence: str
    bars: list[tuple[str, float, str]]
    """(field, share of the widest bar in per cent, its importance)."""
    note: str
    """How importance was measured."""


def counted(number: int, noun: str) -> str:
    """A count as people write it: `three models`."""
    word = COUNTED[number] if number < len(COUNTED) else f"{number:,}"
    return f"{word} {noun}{'' if number == 1 else 's'}"


def title(study: Comparison) -> str:
    """The page's."""
    path = study["dataset"]["path"]
    name = Path(path).name if path else study["dataset"]["fingerprint"]
    models = counted(len(study["entrants"]), "model")
    return f"{models[0].upper()}{models[1:]} on {name}"


def lead(study: Comparison) -> str:
    """One paragraph under the title."""
    told = study["protocol"]
    made = datetime.fromisoformat(study["made"])
    return (
        f"{told['targets']:,} targets in {told['sequences']:,} sequences of the {told['part']} part, each ranked among "
        f"all {told['candidates']:,} items of training. Evaluated on {made.day} {made:%B %Y}."
    )


def headline(study: Comparison, drawn: Drawn, main: str) -> str:
    """Which model leads, and whether that is shown."""
    if len(drawn) < 2 or not study["verdicts"]:
        return ""
    series, facts = drawn[0]
    level = level_with_best(study, series.name, main)
    value = facts["pooled"]["metrics"][main]["value"]
    beaten = [
        verdict
        for verdict in study["verdicts"]
        if verdict["metric"] == main and verdict["better"] == series.name
    ]
    said = f"{series.name} has the highest {main}, {value:.4f}"
    if level:
        others = ", ".join(other.name for other, _ in drawn if other.name in level)
        said += f"; no difference is shown between it and {others}"
    if beaten:
        said += (
            f"; it is better than {'all' if len(beaten) == len(drawn) - 1 else counted(len(beaten), 'other')}"
        )
        said += " others" if len(beaten) == len(drawn) - 1 else ""
    seeds = len(facts["seeds"])
    if beaten and facts["recipe"] is not None and seeds < ENOUGH_SEEDS:
        said += f". With {counted(seeds, 'seed')} that is said of these weights only"
    return said + "."


def verdicts(study: Comparison, drawn: Drawn) -> Verdicts | None:
    """The sentences: first those on the leading model, in the order of the page."""
    place = {series.name: number for number, (series, _) in enumerate(drawn)}
    first: list[str] = []
    others: list[str] = []
    for verdict in sorted(study["verdicts"], key=lambda found: sorted(place[found[one]] for one in PAIR)):
        about = first if place[verdict["first"]] * place[verdict["second"]] == 0 else others
        about.append(typeset(verdict["sentence"]))
    return Verdicts(first, others, correction(study)) if first or others else None


def correction(study: Comparison) -> str:
    """What several comparisons do to each; nothing where there is one only."""
    pairs = len(study["verdicts"])
    if pairs < 2:
        return ""
    return (
        f"Each p is corrected for all {pairs} comparisons (Holm 1979). Each interval is for its pair alone, so it can leave "
        "out zero where no difference is shown."
    )


def typeset(sentence: str) -> str:
    """With minus signs, and with the parts of `p < 0.01` kept on one line."""
    signed = re.sub(r"(?<![\w.])-(?=\d)", "\N{MINUS SIGN}", sentence)
    return re.sub(r"\bp ([<=]) ", "p\N{NO-BREAK SPACE}\\1\N{NO-BREAK SPACE}", signed)


def no_verdicts(study: Comparison) -> str:
    """Why there are none."""
    if len(study["entrants"]) == 1:
        return "One model alone is not compared with anything."
    return "No intervals were made, so nothing is said about which model is better."


def examples(study: Comparison, drawn: Drawn) -> list[ExampleShown]:
    """All of them, lists in the page's order."""
    return [_example(example, drawn) for example in study["examples"]]


def choice(study: Comparison) -> str:
    """How the examples were chosen, and what is shown."""
    kept = "without items seen earlier, " if study["protocol"]["exclude_seen"] else ""
    several = any(len(entrant["seeds"]) > 1 for entrant in study["entrants"])
    return (
        "Taken evenly from the sequences that have a target, where there are some events before it, each near its middle "
        "one, not by how well a model did. "
        f"The first {len(study['examples'][0]['lists'][0]['items'])} of each model, {kept}at the moment before the target"
        f"{', of its first seed' if several else ''}."
    )


def _example(example: Example, drawn: Drawn) -> ExampleShown:
    answers = {answer["entrant"]: answer for answer in example["lists"]}
    return ExampleShown(
        summary=f"Sequence {example['sequence']}: {_clipped(example['next'][0]['title'])}, {_shown_by(example)}",
        earlier=example["earlier"],
        before=_sequence(example["history"]),
        then=_sequence(example["next"]),
        lists=[_list(series, answers[series.name], example) for series, _ in drawn if series.name in answers],
    )


def _shown_by(example: Example) -> str:
    """How many of the lists have what came next."""
    came, lists = example["next"][0]["id"], example["lists"]
    hits = sum(any(item["id"] == came for item in answer["items"]) for answer in lists)
    return f"in {hits} of {len(lists)} list{'' if len(lists) == 1 else 's'}"


def _list(series: Series, answer: ExampleAnswer, example: Example) -> ListShown:
    coming = [item["id"] for item in example["next"]]
    items = [
        ("hit" if item["id"] == coming[0] else "later" if item["id"] in coming else "", item["title"])
        for item in answer["items"]
    ]
    rank = answer["rank"]
    place = "next item no candidate" if rank is None else f"next item at rank {rank:,}"
    return ListShown(series, items, place)


def _sequence(items: list[ShownItem]) -> str:
    return " \N{RIGHTWARDS ARROW} ".join(item["title"].strip() for item in items)


def _clipped(text: str, most: int = 60) -> str:
    return text if len(text) <= most else text[: most - 1].rstrip() + "\N{HORIZONTAL ELLIPSIS}"


def recipes(drawn: Drawn, part: str) -> list[RecipeShown]:
    """How each entrant was made: its recipe, or the name of the baseline, which counts what comes before the part."""
    shown = []
    for series, facts in drawn:
        if facts["recipe"] is None:
            text = f"baseline {facts['baseline']}, fitted to the events before the {part} part"
            shown.append(RecipeShown(series, "", text))
        else:
            runs = ", ".join(
                f"{run} (seed {seed})" for run, seed in zip(facts["runs"], facts["seeds"], strict=True)
            )
            shown.append(RecipeShown(series, runs, tomli_w.dumps(facts["recipe"]).strip()))
    return shown


def search(found: SearchFacts | None) -> SearchShown | None:
    """What was tried, what was best, and the importance of each field as bars."""
    if found is None:
        return None
    trials, best = found["trials"], found["best"]
    done = sum(trial["state"] == "complete" for trial in trials)
    fields = ", ".join(f"{name} {show(value)}" for name, value in best["fields"].items())
    sentence = (
        f"{counted(len(trials), 'trial').capitalize()} on the validation part, {done:,} of them to the end. The best, "
        f"number {best['number']}, has {found['metric']} {best['value']:.4f} there: {fields}."
    )
    widest = max(found["importance"].values(), default=0.0) or 1.0
    bars = sorted(found["importance"].items(), key=lambda pair: -pair[1])
    shown = [(name, round(100 * share / widest, 1), f"{share:.0%}") for name, share in bars]
    return SearchShown(sentence, shown, found["note"])


def dataset(study: Comparison) -> list[tuple[str, str]]:
    """Facts about the log."""
    told = study["dataset"]
    cold = f", and {told['cold']:,} more that only later parts have" if told["cold"] else ""
    return [
        ("dataset", told["path"] or "in memory"),
        ("fingerprint", told["fingerprint"]),
        ("log", f"{told['events']:,} events in {told['sequences']:,} sequences"),
        ("items", f"{told['items']:,}{cold}"),
        ("time", f"{told['first'][:10]} to {told['last'][:10]}"),
        ("split", split(told["split"])),
    ]


def split(told: dict[str, Any]) -> str:
    """How the parts were cut, in words."""
    parts = [f"by {told.get('kind', 'nothing that is written down')}".replace("_", " ")]
    for key, word in (("train_end_ms", "validation from"), ("valid_end_ms", "test from")):
        if key in told:
            parts.append(f"{word} {datetime.fromtimestamp(told[key] / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC")
    return ", ".join(parts)


def versions(study: Comparison) -> list[tuple[str, str]]:
    """What made the numbers."""
    return [("reprise", study["reprise"]), *study["versions"].items(), ("made", study["made"])]
