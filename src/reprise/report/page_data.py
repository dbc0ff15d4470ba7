"""Values that the page template shows and that take more than formatting."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import tomli_w

from reprise.evaluation.comparison.model_comparison import ENOUGH_SEEDS
from reprise.report.comparison_file import ComparisonRecord, ExampleRecord, RankedListRecord, SearchRecord
from reprise.report.plots import RankedModels, duration
from reprise.report.svg import Series
from reprise.report.tables import not_different_from, typeset
from reprise.training.tuning.search_directory import format_value

CHEAP = 10
"""How many times faster than the best model another one must be to train, to be named next to it."""


@dataclass(frozen=True)
class Headline:
    """What the comparison shows about the best model."""

    model: str
    """Name of the model with the highest metric."""
    value: float
    """Its value of the metric."""
    undecided: list[str]
    """Names of the models that do not differ significantly from it, in the order of the page."""
    beaten: int
    """Number of models that it is significantly better than."""
    others: int
    """Number of other models."""
    few_seeds: int | None
    """Number of seeds it was trained from, if that is too few for a result about its recipe; else None."""
    cheap: tuple[str, str] | None = None
    """The fastest undecided model and its training time as text, if it trains in a tenth of the best model's time."""


@dataclass(frozen=True)
class PairwiseResults:
    """The sentences of all pairwise comparisons."""

    best: list[str]
    """Comparisons with the best model, the closest model first."""
    others: list[str]
    """Comparisons of the other models with each other."""


@dataclass(frozen=True)
class ExampleList:
    """The top-k list of one model in an example."""

    series: Series
    """The model."""
    items: list[tuple[str, str]]
    """(CSS class, title) of each item: `hit` for the next item, `later` for an item that comes after it, or ''."""
    rank: int | None
    """Rank of the next item; None if it is not a candidate."""


@dataclass(frozen=True)
class ExampleView:
    """One example sequence with the lists of all models."""

    sequence: str
    """Key of the sequence."""
    target: str
    """Title of the next item, shortened."""
    hits: int
    """Number of lists that contain the next item."""
    earlier: int
    """Number of events before those of `history`."""
    history: list[str]
    """Titles of the last items before the target, oldest first."""
    following: list[str]
    """Titles of the next items, the target first."""
    lists: list[ExampleList]
    """The lists in the order of the page."""


@dataclass(frozen=True)
class RecipeView:
    """How one model was trained."""

    series: Series
    """The model."""
    runs: list[tuple[str, int]]
    """(directory, seed) of each run; empty for a baseline."""
    baseline: str | None
    """Name of the baseline; None for a trained model."""
    toml: str
    """The recipe as TOML; empty for a baseline."""


@dataclass(frozen=True)
class SearchView:
    """The result of a hyper-parameter search."""

    metric: str
    """Metric that the trials were compared by, on the validation part."""
    trials: int
    """Number of trials."""
    complete: int
    """Number of trials that were not pruned or failed."""
    number: int
    """Number of the best trial."""
    value: float
    """Metric of the best trial."""
    fields: list[tuple[str, str]]
    """(name, value) of each field of the best trial."""
    importance: list[tuple[str, float, str]]
    """(field, width of its bar in per cent, share of importance), the most important field first."""
    note: str
    """How importance was estimated."""


def dataset_name(comparison: ComparisonRecord) -> str:
    """Return the last part of the dataset's path, or its fingerprint for data in memory."""
    path = comparison["dataset"]["path"]
    return Path(path).name if path else comparison["dataset"]["fingerprint"]


def headline(comparison: ComparisonRecord, models: RankedModels, metric: str) -> Headline | None:
    """Summarise the results for the best model; None if nothing was compared."""
    if len(models) < 2 or not comparison["verdicts"]:
        return None
    series, facts = models[0]
    undecided = not_different_from(comparison, series.name, metric)
    beaten = sum(
        result["metric"] == metric and result["better"] == series.name for result in comparison["verdicts"]
    )
    seeds = len(facts["seeds"])
    few = beaten > 0 and facts["recipe"] is not None and seeds < ENOUGH_SEEDS
    return Headline(
        model=series.name,
        value=facts["pooled"]["metrics"][metric]["value"],
        undecided=[other.name for other, _ in models if other.name in undecided],
        beaten=beaten,
        others=len(models) - 1,
        few_seeds=seeds if few else None,
        cheap=_cheap(models, undecided),
    )


def _cheap(models: RankedModels, undecided: Collection[str]) -> tuple[str, str] | None:
    """Return the fastest of the models that do not differ from the best one, if it is ten times as fast to train."""
    seconds = {series.name: facts["training"]["seconds"] for series, facts in models}
    best_s = seconds[models[0][0].name]
    times = {name: found for name in undecided if (found := seconds[name]) is not None}
    if best_s is None or not times:
        return None
    name = min(times, key=lambda one: times[one])
    return (name, duration(times[name])) if times[name] * CHEAP <= best_s else None


def pairwise_results(comparison: ComparisonRecord, models: RankedModels) -> PairwiseResults | None:
    """Return the sentences of all comparisons in the order of the page; None if nothing was compared."""
    place = {series.name: number for number, (series, _) in enumerate(models)}
    best: list[str] = []
    others: list[str] = []
    places = [
        (sorted((place[result["first"]], place[result["second"]])), result["sentence"])
        for result in comparison["verdicts"]
    ]
    for pair, sentence in sorted(places, key=lambda found: found[0]):
        (best if pair[0] == 0 else others).append(typeset(sentence))
    return PairwiseResults(best, others) if best or others else None


def examples(comparison: ComparisonRecord, models: RankedModels) -> list[ExampleView]:
    """Return all examples, with the lists in the order of the page."""
    return [_example(example, models) for example in comparison["examples"]]


def _example(example: ExampleRecord, models: RankedModels) -> ExampleView:
    answers = {answer["entrant"]: answer for answer in example["lists"]}
    target = example["next"][0]
    return ExampleView(
        sequence=str(example["sequence"]),
        target=_shortened(target["title"]),
        hits=sum(any(item["id"] == target["id"] for item in answer["items"]) for answer in example["lists"]),
        earlier=example["earlier"],
        history=[item["title"].strip() for item in example["history"]],
        following=[item["title"].strip() for item in example["next"]],
        lists=[
            _example_list(series, answers[series.name], example)
            for series, _ in models
            if series.name in answers
        ],
    )


def _example_list(series: Series, answer: RankedListRecord, example: ExampleRecord) -> ExampleList:
    following = [item["id"] for item in example["next"]]
    items = [
        ("hit" if item["id"] == following[0] else "later" if item["id"] in following else "", item["title"])
        for item in answer["items"]
    ]
    return ExampleList(series, items, answer["rank"])


def _shortened(text: str, max_length: int = 60) -> str:
    if len(text) <= max_length:
        return text
    return text[: max_length - 1].rstrip() + "\N{HORIZONTAL ELLIPSIS}"


def recipes(models: RankedModels) -> list[RecipeView]:
    """Return the recipe of each trained model, and the name of each baseline."""
    return [
        RecipeView(
            series,
            runs=list(zip(facts["runs"], facts["seeds"], strict=True)) if facts["recipe"] is not None else [],
            baseline=facts["baseline"],
            toml="" if facts["recipe"] is None else tomli_w.dumps(facts["recipe"]).strip(),
        )
        for series, facts in models
    ]


def search(found: SearchRecord | None) -> SearchView | None:
    """Return the best trial of a search and the importance of its fields; None without a search."""
    if found is None:
        return None
    trials, best = found["trials"], found["best"]
    widest = max(found["importance"].values(), default=0.0) or 1.0
    ranked = sorted(found["importance"].items(), key=lambda pair: -pair[1])
    return SearchView(
        metric=found["metric"],
        trials=len(trials),
        complete=sum(trial["state"] == "complete" for trial in trials),
        number=best["number"],
        value=best["value"],
        fields=[(name, format_value(value)) for name, value in best["fields"].items()],
        importance=[(name, round(100 * share / widest, 1), f"{share:.0%}") for name, share in ranked],
        note=found["note"],
    )


def utc(time_ms: int) -> str:
    """Format a timestamp in milliseconds since the epoch as a date and time in UTC."""
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
