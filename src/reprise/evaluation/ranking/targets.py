"""Rank every target of a dataset part with a model that has seen all events before it.

Shape letters: B rows of a batch, T steps, U sequences, N targets, M selected targets, I items (the scored ones), D width,
P pairs of a target and a seen item.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from math import nan
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from reprise.arrays import AnyArray, BoolArray
from reprise.data.batching import BatchPlan, RowSegments
from reprise.data.dataset import SequenceDataset
from reprise.data.fit_popular_items import attributes_of
from reprise.data.popular_items import Moment
from reprise.data.vocabulary import PAD
from reprise.errors import DataError
from reprise.evaluation.options import EvaluationOptions
from reprise.evaluation.protocol import EvaluationProtocol
from reprise.evaluation.ranking.evaluated_targets import EvaluatedTargets
from reprise.evaluation.ranking.popular_scores import with_popular_items
from reprise.evaluation.ranking.ranks import ExclusionMask, ScoreCallback, TopKConsumer, rank, score_rows
from reprise.evaluation.ranking.scores import GivenScores, Scores, VectorScores, longest_vector
from reprise.models.batch import Batch, gather
from reprise.models.popular_fallback import popular_fallback
from reprise.models.scorer import Scorer, VectorScorer
from reprise.nn.cells import State
from reprise.progress import track

MAX_SCORES_PER_BATCH = 1 << 24
"""Maximum number of scores that a scorer without vectors may return for one batch: 128 MiB in float64."""


class TargetRanks(NamedTuple):
    """The ranks of all targets, in the order of the dataset."""

    row_N: AnyArray
    """Sequence of each target, as a row of the dataset, int64."""
    position_N: AnyArray
    """Event of each target, as a position in the dataset, int64."""
    greater_N: AnyArray
    """Number of candidates that score higher than the target, int32; `tiles.MISS` if it is not a candidate."""
    equal_N: AnyArray
    """Number of other candidates with the score of the target, int32."""


NO_RANKS = TargetRanks(
    *(np.empty(0, dtype=np.int64) for _ in range(2)), *(np.empty(0, dtype=np.int32) for _ in range(2))
)
"""The ranks of no target."""


class ScoredBatch(NamedTuple):
    """The targets of one batch, for which a model has scores."""

    model_name: str
    """Name of the model, for messages."""
    dataset: SequenceDataset
    """Dataset that holds the events."""
    batch: Batch
    """Inputs and targets of the batch."""

    def targets(self) -> tuple[AnyArray, AnyArray]:
        """Return (row [N], position [N]) of the targets, in the order of the scores."""
        row_N, step_N = (self.batch.target_BT != PAD).cpu().numpy().nonzero()
        row_B, first_B = self.batch.row_B.cpu().numpy(), self.batch.first_B.cpu().numpy()
        return row_B[row_N], first_B[row_N] + step_N + 1

    def target_items(self) -> Tensor:
        """Return the item indices of the targets, [N], in the order of the scores."""
        target_N: Tensor = self.batch.target_BT[self.batch.target_BT != PAD]
        return target_N

    def without_known_events(self) -> BoolArray:
        """Return a mask of the targets before which their sequence has no event of a scored item, [N]."""
        row_N, position_N = self.targets()
        offset, scored = self.dataset.offset, self.dataset.items.scored
        without_N: BoolArray = np.asarray(self.dataset.item[offset[row_N]]) > scored
        # few sequences begin with another item; only these are searched for their first event of a scored item
        row_S, sequence_M = np.unique(row_N[without_N], return_inverse=True)
        known_S = np.empty(len(row_S), dtype=np.int64)
        for number, row in enumerate(row_S.tolist()):
            known = np.flatnonzero(self.dataset.item[offset[row] : offset[row + 1]] <= scored)
            known_S[number] = offset[row] + known[0] if len(known) else offset[row + 1]
        without_N[without_N] = position_N[without_N] <= known_S[sequence_M]
        return without_N

    def moments_without_events(self) -> list[Moment | None]:
        """Return the moment of each target before which its sequence has no event of a warm item; None for the others."""
        row_N, position_N = self.targets()
        gap_s_N = self.batch.query_gap_s_BT[self.batch.target_BT != PAD]
        untimed_N = gap_s_N.isnan().cpu().numpy()
        moments: list[Moment | None] = [None] * len(row_N)
        for number in np.flatnonzero(self.without_known_events()).tolist():
            time_s = nan if untimed_N[number] else float(self.dataset.time_ms[position_N[number]]) / 1000.0
            moments[number] = Moment(time_s, attributes_of(self.dataset, int(row_N[number])))
        return moments

    def exclude_seen(self, selected_M: AnyArray | None = None) -> ExclusionMask:
        """Return the exclusion mask of the items that came before each target in its sequence.

        Args:
            selected_M: Numbers of the targets to cover; None: all of them.
        """
        row_N, position_N = self.targets()
        if selected_M is not None:
            row_N, position_N = row_N[selected_M], position_N[selected_M]
        start_N = self.dataset.offset[row_N]
        device = self.batch.target_BT.device

        def excluded(first: int, last: int) -> tuple[Tensor, Tensor]:
            # one pair for each event before each target: 3 and 2 events give the rows 0 0 0 1 1
            before_C = position_N[first:last] - start_N[first:last]
            end_C = np.cumsum(before_C)
            row_P = np.repeat(np.arange(last - first), before_C)
            position_P = np.arange(end_C[-1]) + np.repeat(start_N[first:last] - (end_C - before_C), before_C)
            item_P = self.dataset.item[position_P].astype(np.int64)
            scored_P = item_P <= self.dataset.items.scored
            pairs = row_P[scored_P], item_P[scored_P] - 1
            return torch.from_numpy(pairs[0]).to(device), torch.from_numpy(pairs[1]).to(device)

        return excluded

    def check(self, scores: Scores) -> None:
        """Check that every item has a finite score.

        Raises:
            DataError: A score is missing or not finite; the message names the model, the sequence and the event.
        """
        _check_items(self.model_name, scores.items, self.dataset)
        bad = _first_non_finite(scores)
        if bad is not None:
            row, position = (int(column[bad]) for column in self.targets())
            event = position - int(self.dataset.offset[row])
            key = self.dataset.users[row : row + 1].tolist()[0]
            raise DataError(
                f"{self.model_name} gives a score that is not finite for event {event} of row {row} "
                f"(sequence {key!r}); its weights are damaged or its training diverged"
            )


class TopKObserver(Protocol):
    """Receives the top-k lists of the targets, which costs less than whole rows of scores."""

    def top_k_consumer(self, batch: ScoredBatch) -> TopKConsumer | None:
        """Return the consumer of the lists of this batch, in the order of its targets; None if none are needed."""
        ...


class ScoreObserver(Protocol):
    """Receives whole rows of scores for selected targets. They are computed once more for it."""

    def select(self, batch: ScoredBatch) -> AnyArray:
        """Return the numbers of the targets of a batch to observe, [M], ascending."""
        ...

    def score_callback(self, batch: ScoredBatch, selected_M: AnyArray) -> ScoreCallback:
        """Return the callback for the rows of scores of the selected targets, in their order."""
        ...


def rank_targets(
    model: Scorer,
    dataset: SequenceDataset,
    protocol: EvaluationProtocol,
    options: EvaluationOptions | None = None,
    *,
    top_k: Sequence[TopKObserver] = (),
    observers: Sequence[ScoreObserver] = (),
) -> TargetRanks:
    """Rank the targets of a protocol among all items that the model scores. Validation during training runs this too.

    Args:
        model: Scorer to evaluate. A network is in evaluation mode during the call.
        dataset: Dataset that holds the events.
        protocol: Which events are targets and which items are candidates.
        options: Batch size, and whether to show progress.
        top_k: Observers of the top-k list of every target.
        observers: Observers of all scores of selected targets.

    Raises:
        DataError: The part has no targets, or the scores are not finite or are for other items.
    """
    with evaluation_mode(model):
        found = [
            _rank_batch(batch, _answers(model, batch, scores), protocol.exclude_seen, top_k, observers)
            for batch, scores in score_batches(model, dataset, protocol, options)
        ]
    joined = TargetRanks(*(np.concatenate(columns) for columns in zip(*found, strict=True)))
    order_N = np.argsort(joined.position_N)
    return TargetRanks(*(column[order_N] for column in joined))


def score_batches(
    model: Scorer,
    dataset: SequenceDataset,
    protocol: EvaluationProtocol,
    options: EvaluationOptions | None = None,
) -> Iterator[tuple[ScoredBatch, Scores]]:
    """Yield the targets in batches, with the scores of a model that is in `evaluation_mode`. See `rank_targets`.

    Raises:
        DataError: The part has no targets, or the model has scores for other items.
    """
    options = options or EvaluationOptions()
    dataset = scored_view(model, dataset)
    protocol.check_targets(dataset)
    targets = EvaluatedTargets.of(protocol, dataset)
    total = protocol.count_targets(dataset)
    vectors = _item_vectors(model, dataset)
    plan = _plan(dataset, options, targets, vectors=vectors is not None)
    state: State | None = None
    for segments in track(plan, f"evaluating {model.name}", options.progress):
        batch = _batch(dataset, segments, targets, protocol.query_time).to(device_of(model))
        scores, state = _score(model, batch, None if segments.fresh else state, vectors)
        if protocol.exclude_seen and isinstance(scores, VectorScores):
            # the mixture replaces only scores of items seen earlier, which are not candidates
            scores = replace(scores, corrections=scores.corrections._replace(repeats=None))
        total -= batch.targets
        if batch.targets:
            yield ScoredBatch(model.name, dataset, batch), scores
    assert total == 0


def scored_view(model: Scorer, dataset: SequenceDataset) -> SequenceDataset:
    """Return the view of a dataset for the items that a model scores: its `scored_items`, or the warm ones."""
    return dataset.scoring(getattr(model, "scored_items", dataset.items.warm))


@contextmanager
def evaluation_mode(model: object) -> Iterator[None]:
    """Disable gradients and put a network's modules into evaluation mode; restore the mode of each afterwards."""
    modules = list(model.modules()) if isinstance(model, nn.Module) else []
    before = [module.training for module in modules]
    for module in modules:
        module.training = False
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in zip(modules, before, strict=True):
            module.training = training


def device_of(model: object) -> torch.device:
    """Return the device of a network's parameters; the CPU for every other model."""
    first = next(model.parameters(), None) if isinstance(model, nn.Module) else None
    return torch.device("cpu") if first is None else first.device


def _plan(
    dataset: SequenceDataset, options: EvaluationOptions, targets: EvaluatedTargets, vectors: bool
) -> BatchPlan:
    """Plan the batches of all sequences that have targets, each from its first event to its last target."""
    first_U, last_U = targets.first_U, targets.last_U
    start_U = np.asarray(dataset.offset[:-1])
    events = options.events_per_batch
    stop_U = np.where(last_U > first_U, last_U, start_U)

    def plan(events: int) -> BatchPlan:
        return BatchPlan(start_U, stop_U, events_per_batch=events, max_steps=min(options.max_steps, events))

    if vectors:
        return plan(events)
    # a table of scores has targets x items entries, so without vectors a batch holds fewer events: every event may be a
    # target, except in a sample
    most = max(1, MAX_SCORES_PER_BATCH // dataset.items.scored)
    while events > most and not (targets.is_sample and targets.most_in_group(plan(events)) <= most):
        events = max(most, events // 2)
    return plan(events)


def _batch(
    dataset: SequenceDataset, segments: RowSegments, targets: EvaluatedTargets, query_time: bool
) -> Batch:
    batch = targets.keep(gather(dataset, segments, targets.first_U, targets.last_U))
    if query_time:
        return batch
    return batch._replace(query_gap_s_BT=torch.full_like(batch.query_gap_s_BT, torch.nan))


class _ItemVectors(NamedTuple):
    """The vectors of all items, and the length of the longest one, which takes long to compute for each batch."""

    vector_ID: Tensor
    longest: Tensor


def _item_vectors(model: Scorer, dataset: SequenceDataset) -> _ItemVectors | None:
    """Return the item vectors in the type in which scores are compared; None for a scorer without vectors."""
    if not isinstance(model, VectorScorer):
        return None
    vector_ID = _at_least_float32(model.item_vectors())
    # before the first batch: a network for fewer items would fail with an index error that does not say why
    _check_items(model.name, len(vector_ID), dataset)
    return _ItemVectors(vector_ID, longest_vector(vector_ID))


def _score(
    model: Scorer, batch: Batch, state: State | None, vectors: _ItemVectors | None
) -> tuple[Scores, State]:
    if vectors is None:
        score_NI, after = model.score_batch(batch, state)
        return GivenScores(_at_least_float32(score_NI)), after
    assert isinstance(model, VectorScorer)
    query_ND, corrections, after = model.query_batch(batch, state)
    query_ND = query_ND.to(vectors.vector_ID.dtype)
    return VectorScores(query_ND, vectors.vector_ID, corrections, vectors.longest), after


def _at_least_float32(scores: Tensor) -> Tensor:
    # half precision creates ties: bfloat16 has 8 significant bits, so scores near 5 differ by at least 1/32
    return scores if scores.dtype in (torch.float32, torch.float64) else scores.float()


class _FanOut:
    """Passes the top-k lists of a batch to several consumers, with the largest of their k; a `ranks.TopKConsumer`."""

    def __init__(self, consumers: list[TopKConsumer]) -> None:
        self.consumers = consumers
        self.k = max(consumer.k for consumer in consumers)

    def receive(self, column_CK: Tensor, s_CK: Tensor) -> None:
        """Pass the lists of the next targets on."""
        for consumer in self.consumers:
            consumer.receive(column_CK, s_CK)


def _answers(model: Scorer, batch: ScoredBatch, scores: Scores) -> Scores:
    """Return the scores that a recommender would use, after a check.

    For a user without known events, a recommender does not use the scores of the network, but the popularity of the items.
    Baselines and other scorers keep their own scores.
    """
    batch.check(scores)
    if not isinstance(model, nn.Module) or not batch.without_known_events().any():
        return scores
    return with_popular_items(scores, popular_fallback(model, batch.dataset), batch.moments_without_events())


def _rank_batch(
    batch: ScoredBatch,
    scores: Scores,
    exclude_seen: bool,
    top_k: Sequence[TopKObserver],
    observers: Sequence[ScoreObserver],
) -> TargetRanks:
    target_N = batch.target_items()
    mask = batch.exclude_seen() if exclude_seen else None
    consumers = [found for one in top_k if (found := one.top_k_consumer(batch)) is not None]
    ranks = rank(scores, target_N, mask, _FanOut(consumers) if consumers else None)
    for observer in observers:
        selected_M = observer.select(batch)
        if len(selected_M):
            row_M = torch.from_numpy(selected_M).to(target_N.device)
            mask = batch.exclude_seen(selected_M) if exclude_seen else None
            callback = observer.score_callback(batch, selected_M)
            score_rows(scores.take(row_M), mask, callback)
    counts = (column.cpu().numpy().astype(np.int32) for column in ranks)
    return TargetRanks(*batch.targets(), *counts)


def _check_items(name: str, items: int, dataset: SequenceDataset) -> None:
    if items != dataset.items.scored:
        raise DataError(
            f"{name} scores {items} items, the dataset has {dataset.items.scored} "
            f"{'warm' if dataset.items.scored == dataset.items.warm else 'scored'} ones; "
            "evaluate it on the dataset it was made from"
        )


def _first_non_finite(scores: Scores) -> int | None:
    """Return the first row with a score that is not finite, if any; an overflowing product counts."""
    if isinstance(scores, VectorScores):
        # the bound of a row is finite if all its scores are, so that they need not be computed
        finite_N = torch.isfinite(scores.bounds())
        if scores.repeats is not None:
            finite_N &= scores.repeats.finite()
    else:
        assert isinstance(scores, GivenScores)
        low_N, high_N = scores.score_NI.aminmax(dim=1)
        finite_N = torch.isfinite(low_N) & torch.isfinite(high_N)
    return None if bool(finite_N.all()) else int((~finite_N).nonzero()[0])
