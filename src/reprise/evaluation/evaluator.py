"""Evaluate a model on a dataset and make a report.

Shape letters: N targets, S sequences with a target, M metrics.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from torch import nn

from reprise.argument_checks import instance, shown
from reprise.arrays import AnyArray
from reprise.data.dataset import Part, SequenceDataset, check_dataset
from reprise.errors import ConfigError
from reprise.evaluation.calibration import CalibrationObserver, gives_logits
from reprise.evaluation.cold_items import ColdItems, is_cold
from reprise.evaluation.forecasting.forecast_scores import ForecastScores, score_forecasts
from reprise.evaluation.list_metrics import ListMetrics
from reprise.evaluation.metrics import all_metrics, resolve_ties
from reprise.evaluation.options import EvaluationOptions
from reprise.evaluation.protocol import (
    DEFAULT_LENGTHS,
    EvaluationProtocol,
    default_lengths,
    list_lengths,
)
from reprise.evaluation.ranking.target_split import TargetSplit
from reprise.evaluation.ranking.targets import (
    NO_RANKS,
    ScoreObserver,
    TargetRanks,
    TopKObserver,
    device_of,
    rank_targets,
    scored_view,
)
from reprise.evaluation.ranking.tiles import MISS
from reprise.evaluation.report import EvaluatedData, Report, SequenceSums, Slice
from reprise.evaluation.slices import dimensions, same_time
from reprise.evaluation.stats.bootstrap import Bootstrap, Interval, Ratio
from reprise.evaluation.target_leakage import check_source, check_target_leakage
from reprise.models.networks.network_scorer import NetworkScorer
from reprise.models.scorer import CountingScorer, Scorer

SCORING = ("score_batch", "query_batch")
"""Methods that evaluation calls; a scorer has one of them or both."""


def evaluate(
    model: Scorer,
    dataset: SequenceDataset,
    *,
    part: Part = "test",
    at: Iterable[int] | None = None,
    exclude_seen: bool = False,
    min_history: int = 1,
    protocol: EvaluationProtocol | None = None,
    options: EvaluationOptions | None = None,
) -> Report:
    """Rank the next item at every event of a part among all items, and report the metrics.

    The context of a target is everything that came before it in its sequence, earlier parts and earlier targets included.

    Args:
        model: Network, baseline, or your own scorer.
        dataset: Dataset that the model was trained on, with its later parts.
        part: Part whose events are the targets.
        at: Lengths of the top-k lists; every metric is computed at each. None: 10 and 20, or the number of items if the
            catalogue is smaller.
        exclude_seen: Whether to remove the items that came earlier in the sequence from the candidates. A target that was
            seen earlier is then a miss, and the notes of the report say how many there are.
        min_history: Minimum number of events before a target.
        protocol: The whole protocol, instead of the four arguments before; `report.protocol` repeats an evaluation.
        options: What else is measured, and how the evaluation runs.

    Raises:
        DataError: The part has no targets, or the model's scores are not finite or are for other items.
        LeakError: The dataset leaks its targets, or the model reads them or was fitted on another dataset.
        ConfigError: A list is longer than the catalogue, a network has learned the part, or both `protocol` and one of
            its fields are given.
    """
    check_dataset(dataset)
    _check_types(model, protocol, options)
    lengths = DEFAULT_LENGTHS if at is None else list_lengths(at)
    own = EvaluationProtocol(part=part, at=lengths, exclude_seen=exclude_seen, min_history=min_history)
    protocol = chosen_protocol(own, protocol, dataset, default_at=at is None)
    return evaluate_ranks(model, dataset, protocol, options or EvaluationOptions()).report


def chosen_protocol(
    own: EvaluationProtocol, given: EvaluationProtocol | None, dataset: SequenceDataset, *, default_at: bool
) -> EvaluationProtocol:
    """Return the given protocol, or the one of single arguments with the default list lengths of the dataset.

    Raises:
        ConfigError: Both a protocol and one of its fields are given.
    """
    if given is not None and own != EvaluationProtocol():
        raise ConfigError(
            "protocol and one of part, at, exclude_seen and min_history are given; put them into the protocol"
        )
    if default_at:
        own = replace(own, at=default_lengths(dataset.items.warm))
    return given or own


class RankedReport(NamedTuple):
    """A report, and the ranks from which it was made."""

    report: Report
    ranks: TargetRanks
    """Ranks of the evaluated targets, in the order of the dataset."""


def evaluate_ranks(
    model: Scorer,
    dataset: SequenceDataset,
    protocol: EvaluationProtocol,
    options: EvaluationOptions,
    observers: Sequence[TopKObserver] = (),
    split: TargetSplit | None = None,
) -> RankedReport:
    """Evaluate like `evaluate`, and return the ranks too; `observers` receive the top-k lists of the same pass.

    With `split`, each process ranks its targets, and all of them return the report of all targets. Then only the ranks and
    the measures of cold items are available.
    """
    assert split is None or not (options.lists or options.calibration or observers)
    view = scored_view(model, dataset)
    protocol.check_catalogue(view.items.scored)
    protocol.check_targets(dataset)
    _check_not_learned(model, protocol.part)
    leaks = check_source(model, dataset) if options.leaks else ()
    lists = ListMetrics(view, protocol, options.seed, device_of(model)) if options.lists else None
    with_probabilities = options.calibration and gives_logits(model)
    probabilities = CalibrationObserver(view, protocol, options.seed) if with_probabilities else None
    cold_items = ColdItems(view, protocol)
    with counting_up_to(model, dataset, protocol.part):
        if options.leaks:
            check_target_leakage(model, view, protocol)
        top_k = [*observers, cold_items, *([lists] if lists is not None else [])]
        scores: list[ScoreObserver] = [cold_items, *([probabilities] if probabilities is not None else [])]
        if split is None:
            ranks = rank_targets(model, view, protocol, options, top_k=top_k, observers=scores)
        else:
            own = split.own(view, protocol)
            ranks = NO_RANKS
            if protocol.count_targets(own):  # there may be fewer sequences than processes
                ranks = rank_targets(model, own, protocol, options, top_k=top_k, observers=scores)
            ranks = _joined(ranks, split)
            cold_items.join(split)
    list_ratios = [*([] if lists is None else lists.ratios(ranks)), *cold_items.ratios(dataset, ranks)]
    sums, metrics, slices = measure_ranks(dataset, ranks, protocol, options, list_ratios)
    sampled = (note for it in (lists, probabilities) if it is not None for note in it.notes())
    report = Report(
        name=model.name,
        metrics=metrics if lists is None else metrics | lists.exposure.values(),
        slices=slices,
        protocol=protocol,
        data=EvaluatedData.of(view, ranks.row_N, protocol.count_all_targets(dataset)),
        bootstrap=options.bootstrap,
        notes=(*target_notes(view, ranks, protocol.exclude_seen), *sampled, *leaks),
        sums=sums,
        calibration=None if probabilities is None else probabilities.calibration(),
        trained=isinstance(model, nn.Module),
        forecast=_forecast(model, dataset, protocol, options),
    )
    return RankedReport(report, ranks)


def measure_ranks(
    dataset: SequenceDataset,
    ranks: TargetRanks,
    protocol: EvaluationProtocol,
    options: EvaluationOptions,
    list_ratios: list[tuple[tuple[str, ...], Ratio]],
) -> tuple[SequenceSums, dict[str, Interval], dict[str, Slice]]:
    """Return the sums within each sequence, the metrics and the slices of some ranks, with intervals.

    Args:
        dataset: Dataset that holds the targets.
        ranks: Ranks of the targets, in the order of the dataset.
        protocol: List lengths, and the treatment of ties.
        options: Metrics and intervals.
        list_ratios: Further metrics, as ratios of sums over the sequences of all targets.
    """
    counts = resolve_ties(ranks.greater_N, ranks.equal_N, protocol.ties)
    values = all_metrics(*counts, protocol.at, options.metrics)
    value_NM = np.column_stack([*values.values()])
    sums = SequenceSums.of(ranks.row_N, tuple(values), value_NM)
    groups = [*_groups(dataset, ranks, sums.metrics, value_NM)] if options.slices else []
    return sums, *_intervals(sums, groups, list_ratios, options.bootstrap)


def _joined(ranks: TargetRanks, split: TargetSplit) -> TargetRanks:
    """Return the ranks of the targets of all processes, in the order of the dataset."""
    position_N, (row_N, greater_N, equal_N) = split.join(
        ranks.position_N, (ranks.row_N, ranks.greater_N, ranks.equal_N)
    )
    return TargetRanks(row_N, position_N, greater_N, equal_N)


@contextmanager
def counting_up_to(model: Scorer, dataset: SequenceDataset, part: Part) -> Iterator[None]:
    """Let a model that counts events count only those before `part`, if that is the validation part.

    By default such a model has counted the validation part too, which comes before the test part.
    """
    counting = model if part == "valid" and isinstance(model, CountingScorer) else None
    if counting is not None:
        counting.count(dataset, before=part)
    try:
        yield
    finally:
        if counting is not None:
            counting.count(dataset)


def _forecast(
    model: Scorer, dataset: SequenceDataset, protocol: EvaluationProtocol, options: EvaluationOptions
) -> ForecastScores | None:
    """Return the scores of the forecasts for the test part; the heads were fitted with the validation part."""
    if not (options.forecast and protocol.part == "test" and isinstance(model, NetworkScorer)):
        return None
    return score_forecasts(model, dataset, options.bootstrap, seed=options.seed, sample=protocol.sample)


class _Group(NamedTuple):
    """Some of the targets, before they have intervals."""

    of: str
    name: str
    targets: int
    sums: SequenceSums


def _groups(
    dataset: SequenceDataset, ranks: TargetRanks, metrics: tuple[str, ...], value_NM: AnyArray
) -> Iterator[_Group]:
    for dimension in dimensions(dataset, ranks):
        for name, mask_N in dimension.mask_N.items():
            sums = SequenceSums.of(ranks.row_N[mask_N], metrics, value_NM[mask_N])
            yield _Group(dimension.of, name, int(mask_N.sum()), sums)


def _intervals(
    sums: SequenceSums,
    groups: list[_Group],
    list_ratios: list[tuple[tuple[str, ...], Ratio]],
    bootstrap: Bootstrap,
) -> tuple[dict[str, Interval], dict[str, Slice]]:
    """Return the metrics of all targets and lists, and those of each slice, all from the same resamples."""
    ratios = [it.ratio(sums.row_S) for it in (sums, *(group.sums for group in groups))]
    found = bootstrap.together(len(sums.row_S), [*ratios, *(ratio for _, ratio in list_ratios)])
    named = [dict(zip(sums.metrics, intervals, strict=True)) for intervals in found[: len(ratios)]]
    metrics = named[0]
    for (names, _), intervals in zip(list_ratios, found[len(ratios) :], strict=True):
        metrics |= dict(zip(names, intervals, strict=True))
    slices = {
        group.name: Slice(group.of, group.targets, own, group.sums)
        for group, own in zip(groups, named[1:], strict=True)
    }
    return metrics, slices


def _check_types(model: object, protocol: object, options: object) -> None:
    has_methods = hasattr(model, "initial_state") and any(hasattr(model, name) for name in SCORING)
    if isinstance(model, type) or not (has_methods and isinstance(getattr(model, "name", None), str)):
        raise ConfigError(
            f"model must be a fitted or trained model, got {shown(model)}; a spec becomes one by "
            "Markov().fit(dataset) or train(Recurrent(), dataset, RUN), and a run by load_run(RUN)"
        )
    if protocol is not None:
        instance("protocol", protocol, EvaluationProtocol, "write EvaluationProtocol(...)")
    if options is not None:
        instance("options", options, EvaluationOptions, "write EvaluationOptions(...)")


def _check_not_learned(model: Scorer, part: Part) -> None:
    if part == "valid" and getattr(model, "learned_before", part) == "test":
        raise ConfigError(
            f"{model.name} has learned the validation part in its last passes, so it cannot be evaluated on it; load it "
            'as it was before: load_run(RUN, before="valid")'
        )


def target_notes(dataset: SequenceDataset, ranks: TargetRanks, exclude_seen: bool) -> Iterator[str]:
    """Yield sentences about the targets: how many are cold, excluded, or at the time of the event before."""
    cold_N, same_N = is_cold(dataset, ranks), same_time(dataset, ranks)
    scored_N = dataset.item[ranks.position_N] <= dataset.items.scored
    if cold_N.any():
        missed = "" if scored_N.all() else " They count as misses."
        yield f"{_share(cold_N)} are cold: their item is not in the training part.{missed}"
    if exclude_seen:
        seen_N = (ranks.greater_N == MISS) & scored_N
        yield f"{_share(seen_N)} were seen earlier in their sequence. They are not candidates and count as misses."
    if same_N.any():
        yield (
            f"{_share(same_N)} have the same time as the event before them, such as the lines of one basket. Their order "
            "is that of the input, not behaviour, and a model may have learned how the input was written."
        )


def _share(mask_N: AnyArray) -> str:
    return f"{int(mask_N.sum()):,} of {len(mask_N):,} targets ({mask_N.mean():.1%})"
