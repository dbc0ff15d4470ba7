"""From a model and a dataset to a report.

Shape letters: N targets, S sequences with a target, M metrics.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np
from torch import nn

from reprise.arrays import AnyArray
from reprise.data.dataset import Part, SequenceDataset
from reprise.errors import ConfigError
from reprise.evaluation.calibration import Confidences, gives_logits
from reprise.evaluation.list_metrics import Lists
from reprise.evaluation.metrics import METRICS, TIES, Metric, Ties, all_metrics, check_metrics, resolve_ties
from reprise.evaluation.ranking.ranks import MISS
from reprise.evaluation.ranking.targets import EvaluationPlan, TargetRanks, device_of, rank_targets
from reprise.evaluation.report import Protocol, Report, SequenceSums, Slice
from reprise.evaluation.slices import cold, dimensions, same_time
from reprise.evaluation.stats.bootstrap import Bootstrap, Interval, Ratio
from reprise.evaluation.target_leakage import check_blind, check_data
from reprise.models.scorer import CountingScorer, Scorer


@dataclass(frozen=True)
class Options:
    """What is rarely changed about an evaluation."""

    metrics: tuple[Metric, ...] = METRICS
    """Ranking metrics to compute at each list length, your own included."""
    ties: Ties = "average"
    """Where the target stands among items of its score: 'average' over all orders, 'best' or 'worst'."""
    lists: bool = True
    """Whether to measure what the lists show (coverage, novelty, diversity), which needs more than ranks."""
    slices: bool = True
    """Whether to give the metrics of some of the targets apart."""
    calibration: bool = True
    """Whether to look at the probabilities of a network, which needs the softmax."""
    query_time: bool = True
    """Whether models are told the moment of asking, as they are when they serve."""
    resamples: int = 1000
    """Bootstrap resamples; 0 makes no intervals."""
    level: float = 0.95
    """Share of the resamples inside an interval."""
    seed: int = 0
    """Of the resamples, and of the samples that diversity and calibration are taken from."""
    tokens: int = 8192
    """Events in a batch, about. Changes time and memory, not results."""
    length: int = 256
    """Steps in a batch, at most; longer histories are carried on as a state."""
    progress: bool = True
    """Whether to show progress, where there is a terminal to show it on."""
    leaks: bool = True
    """Whether to look for leaks first; a dataset is searched once."""

    def __post_init__(self) -> None:
        if self.ties not in TIES:
            raise ConfigError(f"ties must be 'average', 'best' or 'worst', got {self.ties!r}")
        object.__setattr__(self, "metrics", check_metrics(self.metrics))
        Bootstrap(resamples=self.resamples, level=self.level, seed=self.seed)

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as JSON values; a metric is the name by which `find_metric` finds it."""
        names = [metric.source or metric.name for metric in self.metrics]
        return {**{field.name: getattr(self, field.name) for field in fields(self)}, "metrics": names}

    @property
    def bootstrap(self) -> Bootstrap:
        """How intervals are made."""
        return Bootstrap(resamples=self.resamples, level=self.level, seed=self.seed)


QUICK = Options(lists=False, slices=False, calibration=False, resamples=0, progress=False, leaks=False)
"""Values only, as validation during training needs them; `train` looks for leaks before it begins."""


def evaluate(
    model: Scorer,
    dataset: SequenceDataset,
    *,
    part: Part = "test",
    at: tuple[int, ...] = (10, 20),
    exclude_seen: bool = False,
    min_history: int = 1,
    options: Options | None = None,
) -> Report:
    """Rank the next item at every event of a part among all items, and say how well.

    The state is carried: the context of a target is everything that came before it in its sequence, earlier
    parts and earlier targets included.

    Args:
        model: A network, a baseline, or your own scorer.
        dataset: What it was trained on, with its later parts.
        part: Events of this part are targets.
        at: Lengths of the lists; every metric is taken at each.
        exclude_seen: Take items that came earlier in the sequence out of the candidates. A target that was
            seen earlier is then a miss, and the protocol says how many there are.
        min_history: Only targets with at least this many events before them.
        options: What is rarely changed.

    Raises:
        DataError: There are no targets, or the model's scores are not finite or not for these items.
        LeakError: The dataset gives its targets away, or the model reads them or was fitted on another dataset.
        ConfigError: A list longer than the catalogue, or an impossible option, or a network that has learned the part.
    """
    options = options or Options()
    at = _checked_at(at, dataset.items.warm)
    _check_unknown(model, part)
    leaks = check_data(model, dataset) if options.leaks else ()
    walk = EvaluationPlan(
        part, min_history, exclude_seen, options.query_time, options.tokens, options.length, options.progress
    )
    lists = Lists(dataset, walk, at, options.seed, device_of(model)) if options.lists else None
    asked = options.calibration and gives_logits(model)
    confidences = Confidences(dataset, walk, options.seed) if asked else None
    with knowing(model, dataset, part):
        if options.leaks:
            check_blind(model, dataset, walk)
        ranks = rank_targets(model, dataset, walk, lists, confidences)
    values = all_metrics(*resolve_ties(ranks.greater_N, ranks.equal_N, options.ties), at, options.metrics)
    value_NM = np.column_stack([*values.values()])
    sums = SequenceSums.of(ranks.row_N, tuple(values), value_NM)
    parts = [*_parts(dataset, ranks, sums.metrics, value_NM)] if options.slices else []
    metrics, slices = _measured(
        sums, parts, [] if lists is None else [*lists.ratios(ranks)], options.bootstrap
    )
    looked = (note for it in (lists, confidences) if it is not None for note in it.notes())
    notes = [*_notes(dataset, ranks, exclude_seen), *looked, *leaks]
    return Report(
        name=model.name,
        metrics=metrics if lists is None else metrics | lists.exposure.values(),
        targets=len(ranks.row_N),
        slices=slices,
        protocol=replace(_protocol(dataset, walk, at, options, ranks), notes=tuple(notes)),
        sums=sums,
        calibration=None if confidences is None else confidences.calibration(),
        trained=isinstance(model, nn.Module),
    )


class _Part(NamedTuple):
    """Some of the targets, before they have intervals."""

    of: str
    name: str
    targets: int
    sums: SequenceSums


def _parts(
    dataset: SequenceDataset, ranks: TargetRanks, metrics: tuple[str, ...], value_NM: AnyArray
) -> Iterator[_Part]:
    for dimension in dimensions(dataset, ranks):
        for number, name in enumerate(dimension.names):
            mask_N = dimension.slice_N == number
            if mask_N.any():
                sums = SequenceSums.of(ranks.row_N[mask_N], metrics, value_NM[mask_N])
                yield _Part(dimension.of, name, int(mask_N.sum()), sums)


def _measured(
    sums: SequenceSums, parts: list[_Part], shown: list[tuple[tuple[str, ...], Ratio]], bootstrap: Bootstrap
) -> tuple[dict[str, Interval], dict[str, Slice]]:
    """The metrics of all targets and of each part, and what the lists show, all from the same draws of sequences."""
    ratios = [it.ratio(sums.row_S) for it in (sums, *(part.sums for part in parts))]
    found = bootstrap.together(len(sums.row_S), [*ratios, *(ratio for _, ratio in shown)])
    named = [dict(zip(sums.metrics, intervals, strict=True)) for intervals in found[: len(ratios)]]
    metrics = named[0]
    for (names, _), intervals in zip(shown, found[len(ratios) :], strict=True):
        metrics |= dict(zip(names, intervals, strict=True))
    slices = {
        part.name: Slice(part.of, part.targets, own, part.sums)
        for part, own in zip(parts, named[1:], strict=True)
    }
    return metrics, slices


@contextmanager
def knowing(model: Scorer, dataset: SequenceDataset, part: Part) -> Iterator[None]:
    """While it lasts, a model that counts events has counted none of the validation part, if that is what it is asked about."""
    counting = model if part == "valid" and isinstance(model, CountingScorer) else None
    if counting is not None:
        counting.observe(dataset, before=part)
    try:
        yield
    finally:
        if counting is not None:
            counting.observe(dataset)


def _check_unknown(model: Scorer, part: Part) -> None:
    """See that a network has not learned what it is asked about."""
    if part == "valid" and getattr(model, "learned_before", part) == "test":
        raise ConfigError(
            f"{model.name} has learned the validation part, as the last thing, and cannot be asked about it; open it as "
            'it was before: load_run(RUN, before="valid")'
        )


def _protocol(
    dataset: SequenceDataset,
    walk: EvaluationPlan,
    at: tuple[int, ...],
    options: Options,
    ranks: TargetRanks,
) -> Protocol:
    return Protocol(
        dataset=dataset.fingerprint,
        part=walk.part,
        targets=len(ranks.row_N),
        sequences=len(np.unique(ranks.row_N)),
        candidates=dataset.items.warm,
        at=at,
        min_history=walk.min_history,
        exclude_seen=walk.exclude_seen,
        query_time=walk.query_time,
        ties=options.ties,
        interval=options.bootstrap,
    )


def _checked_at(at: tuple[int, ...], items: int) -> tuple[int, ...]:
    if not at or min(at) < 1:
        raise ConfigError(f"at must hold lengths of 1 or more, got {tuple(at)}")
    if max(at) > items:
        raise ConfigError(
            f"k={max(at)} is above the catalogue of {items} items (those seen in training); choose a smaller k"
        )
    return tuple(sorted(set(at)))


def _notes(dataset: SequenceDataset, ranks: TargetRanks, exclude_seen: bool) -> Iterator[str]:
    cold_N, same_N = cold(dataset, ranks), same_time(dataset, ranks)
    if cold_N.any():
        yield f"{_share(cold_N)} are cold: their item is not in the training part, and they count as misses."
    if exclude_seen:
        seen_N = (ranks.greater_N == MISS) & ~cold_N
        yield f"{_share(seen_N)} were seen earlier in their sequence, so they are no candidates: misses."
    if same_N.any():
        yield (
            f"{_share(same_N)} have the same time as the event before them (lines of one basket, say): "
            "their order is the order of the input, not behaviour, and a model may have learnt how the input "
            "was written."
        )


def _share(mask_N: AnyArray) -> str:
    return f"{int(mask_N.sum()):,} of {len(mask_N):,} targets ({mask_N.mean():.1%})"
