"""From a model and a dataset to a report.

Shape letters: N targets, S sequences with a target, M metrics.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from reprise.data.dataset import IntArray, Part, SequenceDataset
from reprise.errors import ConfigError
from reprise.evaluation.coverage import Coverage
from reprise.evaluation.intervals import Bootstrap, Interval
from reprise.evaluation.metrics import TIES, Array, Ties, all_metrics, resolve_ties
from reprise.evaluation.ranks import MISS
from reprise.evaluation.report import Protocol, Report, SequenceSums, Slice
from reprise.evaluation.targets import TargetRanks, Walk, device_of, rank_targets
from reprise.models.scorer import Counting, Scorer


@dataclass(frozen=True)
class Options:
    """What is rarely changed about an evaluation."""

    ties: Ties = "average"
    """Where the target stands among items of its score: 'average' over all orders, 'best' or 'worst'."""
    coverage: bool = True
    """Whether to measure coverage, which needs the lists themselves and not only ranks."""
    query_time: bool = True
    """Whether models are told the moment of asking, as they are when they serve."""
    resamples: int = 1000
    """Bootstrap resamples; 0 makes no intervals."""
    level: float = 0.95
    """Share of the resamples inside an interval."""
    seed: int = 0
    """Of the resamples."""
    tokens: int = 8192
    """Events in a batch, about. Changes time and memory, not results."""
    length: int = 256
    """Steps in a batch, at most; longer histories are carried on as a state."""
    progress: bool = True
    """Whether to show progress, where there is a terminal to show it on."""

    def __post_init__(self) -> None:
        if self.ties not in TIES:
            raise ConfigError(f"ties must be 'average', 'best' or 'worst', got {self.ties!r}")
        Bootstrap(resamples=self.resamples, level=self.level, seed=self.seed)

    @property
    def bootstrap(self) -> Bootstrap:
        """How intervals are made."""
        return Bootstrap(resamples=self.resamples, level=self.level, seed=self.seed)


QUICK = Options(coverage=False, resamples=0, progress=False)
"""Values only, as validation during training needs them."""


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
        ConfigError: A list longer than the catalogue, or an impossible option, or a network that has learned the part.
    """
    options = options or Options()
    at = _checked_at(at, dataset.items.warm)
    _check_unknown(model, part)
    walk = Walk(
        part, min_history, exclude_seen, options.query_time, options.tokens, options.length, options.progress
    )
    coverage = Coverage(dataset.items.warm, at, device_of(model)) if options.coverage else None
    with _knowing(model, dataset, part):
        ranks = rank_targets(model, dataset, walk, coverage)
    greater_N, equal_N = resolve_ties(ranks.greater_N, ranks.equal_N, options.ties)
    metrics = all_metrics(greater_N, equal_N, at)
    sums = _sums(ranks.row_N, metrics)
    shares = {} if coverage is None else {name: Interval(share) for name, share in coverage.shares().items()}
    slices = {
        name: _slice(of, ranks.row_N, metrics, mask_N, options.bootstrap)
        for of, name, mask_N in _groups(dataset, ranks)
    }
    return Report(
        name=model.name,
        metrics={**sums.intervals(options.bootstrap), **shares},
        targets=len(ranks.row_N),
        slices=slices,
        protocol=_protocol(dataset, walk, at, options, ranks),
        sums=sums,
    )


@contextmanager
def _knowing(model: Scorer, dataset: SequenceDataset, part: Part) -> Iterator[None]:
    """While it lasts, a model that counts events has counted none of the validation part, if that is what it is asked about."""
    counting = model if part == "valid" and isinstance(model, Counting) else None
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
    dataset: SequenceDataset, walk: Walk, at: tuple[int, ...], options: Options, ranks: TargetRanks
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
        notes=tuple(_notes(dataset, ranks, walk.exclude_seen)),
    )


def _checked_at(at: tuple[int, ...], items: int) -> tuple[int, ...]:
    if not at or min(at) < 1:
        raise ConfigError(f"at must hold lengths of 1 or more, got {tuple(at)}")
    if max(at) > items:
        raise ConfigError(
            f"k={max(at)} is above the catalogue of {items} items (those seen in training); choose a smaller k"
        )
    return tuple(sorted(set(at)))


def _sums(row_N: IntArray, metrics: dict[str, Array]) -> SequenceSums:
    """The metrics summed within each sequence."""
    row_S, place_N, targets_S = np.unique(row_N, return_inverse=True, return_counts=True)
    columns = [np.bincount(place_N, weights=value_N, minlength=len(row_S)) for value_N in metrics.values()]
    return SequenceSums(row_S, targets_S, tuple(metrics), np.column_stack(columns))


def _slice(of: str, row_N: IntArray, metrics: dict[str, Array], mask_N: Array, bootstrap: Bootstrap) -> Slice:
    sums = _sums(row_N[mask_N], {name: value_N[mask_N] for name, value_N in metrics.items()})
    return Slice(of, int(mask_N.sum()), sums.intervals(bootstrap), sums)


def _groups(dataset: SequenceDataset, ranks: TargetRanks) -> Iterator[tuple[str, str, Array]]:
    """The slices as masks of the targets, two by two where both have targets."""
    cold_N = _cold(dataset, ranks)
    same_N = _same_time(dataset, ranks)
    for of, no, yes, mask_N in (
        ("item", "warm", "cold", cold_N),
        ("time", "new_time", "same_time", same_N),
    ):
        if mask_N.any() and not mask_N.all():
            yield of, no, ~mask_N
            yield of, yes, mask_N


def _cold(dataset: SequenceDataset, ranks: TargetRanks) -> Array:
    cold_N: Array = dataset.item[ranks.position_N] > dataset.items.warm
    return cold_N


def _same_time(dataset: SequenceDataset, ranks: TargetRanks) -> Array:
    """Which targets have the timestamp of the event before them."""
    same_N: Array = dataset.time_ms[ranks.position_N] == dataset.time_ms[ranks.position_N - 1]
    return same_N


def _notes(dataset: SequenceDataset, ranks: TargetRanks, exclude_seen: bool) -> Iterator[str]:
    cold_N, same_N = _cold(dataset, ranks), _same_time(dataset, ranks)
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


def _share(mask_N: Array) -> str:
    return f"{int(mask_N.sum()):,} of {len(mask_N):,} targets ({mask_N.mean():.1%})"
