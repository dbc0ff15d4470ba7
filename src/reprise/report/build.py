"""From models and data to a study: everything is asked, compared, and written down."""

import platform
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import mean

from reprise.data.dataset import SequenceDataset
from reprise.evaluation.comparison.model_comparison import Candidate, ComparisonResult, compare_models
from reprise.evaluation.comparison.seeds import aggregate_seeds
from reprise.evaluation.report import Report
from reprise.report.candidates import Contestant, contestants
from reprise.report.comparison_file import FORMAT, Comparison, DatasetFacts, EntrantFacts, Training
from reprise.report.evaluate_candidates import Assessed, Fit, Questions, Say, assess
from reprise.report.example_lists import choose, described
from reprise.report.run_facts import read_training

LIBRARIES = ("torch", "numpy")
"""What makes the numbers besides ourselves."""


@dataclass(frozen=True)
class RunSettings:
    """The circumstances of a comparison, which change none of its numbers."""

    workers: int = 1
    """Processes that evaluate."""
    command: str = ""
    """What a person typed, to be written down."""
    say: Say = print
    """Is told how far it has come."""
    trusted: bool = True
    """Whether the recipes of runs may name classes outside this package, whose code is then run."""


@dataclass(frozen=True, eq=False)
class BuiltComparison:
    """A study, and the reports it was made from."""

    study: Comparison
    reports: tuple[Report, ...]
    """One for each entrant, its seeds pooled."""


def build_comparison(
    runs: Iterable[Path],
    baselines: Iterable[str],
    dataset: SequenceDataset,
    questions: Questions,
    fit: Fit,
    how: RunSettings,
) -> BuiltComparison:
    """Evaluate runs and baselines on the same targets, compare them, and gather all that is known of them.

    Args:
        runs: Directories that `train` wrote.
        baselines: Names that `fit` knows.
        dataset: What the runs were trained on, opened from disk.
        questions: What is asked.
        fit: Makes a baseline from its name.
        how: The circumstances.
    """
    entrants = contestants(runs, baselines, trusted=how.trusted)
    chosen = choose(dataset, questions.walk)
    assessed = assess(entrants, dataset, questions, chosen, fit, workers=how.workers, say=how.say)
    names = _names(entrants, [found[0].report.name for found in assessed])
    judged = [
        Candidate(name, tuple(answer.report for answer in found))
        for name, found in zip(names, assessed, strict=True)
    ]
    reports = tuple(aggregate_seeds(one.reports, one.name) for one in judged)
    lists = {name: found[0].lists for name, found in zip(names, assessed, strict=True)}
    facts = [
        _facts(name, one, found, report)
        for name, one, found, report in zip(names, entrants, assessed, reports, strict=True)
    ]
    study = Comparison(
        format=FORMAT,
        reprise=version("reprise"),
        versions={"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}},
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        command=how.command,
        dataset=dataset_facts(dataset),
        metric=questions.judged,
        protocol=assessed[0][0].report.protocol.to_dict(),
        options=questions.options.to_dict(),
        words=assessed[0][0].report.protocol.sentences(),
        entrants=facts,
        verdicts=[verdict.to_dict() for verdict in _verdicts(judged, questions)],
        examples=described(dataset, questions.walk, chosen, lists),
        search=None,
    )
    return BuiltComparison(study, reports)


def _verdicts(judged: list[Candidate], questions: Questions) -> Sequence[ComparisonResult]:
    """Of each pair, where there is one, and intervals to judge by."""
    if len(judged) < 2 or questions.options.resamples < 2:
        return ()
    return compare_models(judged, metric=questions.judged, against="each")


def dataset_facts(dataset: SequenceDataset) -> DatasetFacts:
    """What a reader should know of the log."""
    return DatasetFacts(
        path=str(dataset.path) if dataset.path else None,
        fingerprint=dataset.fingerprint,
        sequences=len(dataset),
        events=dataset.events,
        items=dataset.items.warm,
        cold=len(dataset.items) - dataset.items.warm,
        first=_moment(int(dataset.time_ms.min())),
        last=_moment(int(dataset.time_ms.max())),
        split=dict(dataset.split),
    )


def _moment(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="seconds")


def _names(entrants: Sequence[Contestant], called: Sequence[str]) -> list[str]:
    """A baseline knows its name when it is made, and not before; where two have one, it goes by what was typed."""
    own = [name if one.baseline else one.name for one, name in zip(entrants, called, strict=True)]
    counts = Counter(own)
    return [
        name if counts[name] == 1 else one.baseline or name for one, name in zip(entrants, own, strict=True)
    ]


def _facts(name: str, one: Contestant, found: Sequence[Assessed], report: Report) -> EntrantFacts:
    return EntrantFacts(
        name=name,
        runs=[str(run) for run in one.runs],
        seeds=list(one.seeds),
        baseline=one.baseline,
        recipe=one.recipe,
        training=_training(one, found),
        evaluated_s=[round(answer.evaluated_s, 3) for answer in found],
        reports=[answer.report.to_dict() for answer in found],
        pooled=report.to_dict(),
    )


def _training(one: Contestant, found: Sequence[Assessed]) -> Training:
    if one.recipe is not None:
        return read_training(one.runs, one.recipe)
    return Training(seconds=round(mean(answer.fitted_s for answer in found), 3), metric=None, curve=[])
