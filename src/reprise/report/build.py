"""Build a comparison: evaluate all candidates, compare them, and collect the facts for the report."""

import platform
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from statistics import mean

from reprise.data.dataset import SequenceDataset, check_dataset
from reprise.errors import ConfigError, did_you_mean
from reprise.evaluation.comparison.model_comparison import Candidate, ComparisonResult, compare_models
from reprise.evaluation.comparison.seeds import aggregate_seeds
from reprise.evaluation.metrics import CutoffMetric
from reprise.evaluation.options import EvaluationOptions
from reprise.evaluation.protocol import EvaluationProtocol, default_lengths
from reprise.evaluation.report import Report
from reprise.report.candidates import CandidateSource
from reprise.report.comparison_file import (
    FORMAT,
    CandidateRecord,
    ComparisonRecord,
    DatasetRecord,
    TrainingRecord,
)
from reprise.report.evaluate_candidates import EvaluatedModel, Evaluation, Fit, Log, evaluate_candidates
from reprise.report.example_lists import choose_examples, describe_examples
from reprise.report.run_facts import read_training

LIBRARIES = ("torch", "numpy")
"""Libraries whose versions can change the numbers of a report."""


@dataclass(frozen=True, eq=False)
class BuiltComparison:
    """A comparison as it is written to a file, and the reports that it was made from."""

    comparison: ComparisonRecord
    """Content of the comparison file."""
    reports: tuple[Report, ...]
    """One report per candidate, aggregated over its seeds."""


def build_comparison(
    candidates: Sequence[CandidateSource],
    dataset: SequenceDataset,
    fit: Fit,
    protocol: EvaluationProtocol | None = None,
    options: EvaluationOptions | None = None,
    *,
    metric: str | None = None,
    workers: int = 1,
    log: Log = print,
) -> BuiltComparison:
    """Evaluate runs and baselines on the same targets, compare them, and collect all facts for the report.

    Args:
        candidates: Runs and baselines, as `find_candidates` returns them.
        dataset: Dataset that the runs were trained on, opened from disk.
        fit: Function that fits a baseline by its name.
        protocol: How each candidate is evaluated; None: as `evaluate` does without one.
        options: What is measured, and how the evaluation runs.
        metric: Metric by which the models are compared, such as 'recall@20'; None: ndcg at the longest list.
        workers: Number of processes. The numbers are the same for any.
        log: Receives lines of progress.

    Raises:
        ConfigError: The options do not include the metric, the protocol does not include its list length, or a list is
            longer than the catalogue.
        DataError: The part has no targets.
    """
    check_dataset(dataset)
    protocol = protocol or EvaluationProtocol(at=default_lengths(dataset.items.warm))
    options = options or EvaluationOptions()
    protocol.check_catalogue(dataset.items.warm)
    protocol.check_targets(dataset)
    metric = comparison_metric(metric, protocol, options)
    examples = choose_examples(dataset, protocol)
    evaluation = Evaluation(protocol, options, examples, fit)
    results = evaluate_candidates(candidates, dataset, evaluation, metric, workers=workers, log=log)
    names = _names(candidates, [found[0].report.name for found in results])
    compared = [
        Candidate(name, tuple(result.report for result in found))
        for name, found in zip(names, results, strict=True)
    ]
    reports = tuple(aggregate_seeds(one.reports, one.name) for one in compared)
    lists = {name: found[0].examples for name, found in zip(names, results, strict=True)}
    # the sentences about the candidates name both kinds of models, if one of them scores cold items
    widest = max(
        (found[0].report for found in results),
        key=lambda report: (report.data.listed is None, report.data.candidates),
    )
    facts = [
        _facts(name, one, found, report)
        for name, one, found, report in zip(names, candidates, results, reports, strict=True)
    ]
    comparison = ComparisonRecord(
        format=FORMAT,
        reprise=version("reprise"),
        versions={"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}},
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        command="",
        dataset=dataset_facts(dataset),
        metric=metric,
        protocol=widest.protocol_dict(),
        options=options.to_dict(),
        words=[
            *widest.sentences(),
            *(it.list_sentence() for it in reports if it.is_list and it.is_list != widest.is_list),
        ],
        entrants=facts,
        verdicts=[result.to_dict() for result in _compare(compared, metric, options)],
        examples=describe_examples(dataset, protocol, examples, lists),
        search=None,
    )
    return BuiltComparison(comparison, reports)


def comparison_metric(metric: str | None, protocol: EvaluationProtocol, options: EvaluationOptions) -> str:
    """Return the metric by which models are compared: the given one, or ndcg at the longest list.

    Raises:
        ConfigError: The reports will not have this metric.
    """
    names = [CutoffMetric(one, k).key for k in protocol.at for one in options.metrics]
    metric = metric or f"ndcg@{protocol.at[-1]}"
    if metric not in names:
        raise ConfigError(f"the reports do not have the metric {metric!r}{did_you_mean(metric, names)}")
    return metric


def _compare(
    compared: list[Candidate], metric: str, options: EvaluationOptions
) -> Sequence[ComparisonResult]:
    """Compare each pair of models, if there are intervals to compare them by."""
    if len(compared) < 2 or options.resamples < 2:
        return ()
    return compare_models(compared, metric=metric, against="each")


def dataset_facts(dataset: SequenceDataset) -> DatasetRecord:
    """Return the facts about a dataset that the report shows."""
    return DatasetRecord(
        path=str(dataset.path) if dataset.path else None,
        fingerprint=dataset.fingerprint,
        sequences=len(dataset),
        events=dataset.events,
        items=dataset.items.warm,
        cold=len(dataset.items) - dataset.items.warm,
        first=_timestamp(int(dataset.time_ms.min())),
        last=_timestamp(int(dataset.time_ms.max())),
        split=dict(dataset.split),
    )


def _timestamp(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="seconds")


def _names(candidates: Sequence[CandidateSource], fitted: Sequence[str]) -> list[str]:
    """Name the candidates: a baseline by its fitted model, or by what was typed if two have the same name."""
    own = [name if one.baseline else one.name for one, name in zip(candidates, fitted, strict=True)]
    counts = Counter(own)
    return [
        name if counts[name] == 1 else one.baseline or name for one, name in zip(candidates, own, strict=True)
    ]


def _facts(
    name: str, one: CandidateSource, found: Sequence[EvaluatedModel], report: Report
) -> CandidateRecord:
    return CandidateRecord(
        name=name,
        runs=[str(run) for run in one.runs],
        seeds=list(one.seeds),
        baseline=one.baseline,
        lists=None if one.lists is None else str(one.lists),
        recipe=one.recipe,
        training=_training(one, found),
        evaluated_s=[round(result.evaluated_s, 3) for result in found],
        reports=[result.report.to_dict() for result in found],
        pooled=report.to_dict(),
        content=found[0].content,
    )


def _training(one: CandidateSource, found: Sequence[EvaluatedModel]) -> TrainingRecord:
    if one.recipe is not None:
        return read_training(one.runs, one.recipe)
    if one.lists is not None:
        return TrainingRecord(seconds=None, metric=None, curve=[])
    return TrainingRecord(seconds=round(mean(result.fitted_s for result in found), 3), metric=None, curve=[])
