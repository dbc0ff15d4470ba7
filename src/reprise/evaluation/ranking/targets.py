"""The walk: every target of a part, ranked by a model that has seen all that came before it.

Shape letters: U sequences, N targets, I items (the warm ones), D width, P pairs of a target and a seen item.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from reprise.arrays import AnyArray
from reprise.data.batching import BatchPlan, RowSegments
from reprise.data.dataset import Part, SequenceDataset
from reprise.data.vocabulary import PAD
from reprise.errors import ConfigError, DataError
from reprise.evaluation.ranking.ranks import GivenScores, Hide, Lists, Scores, VectorScores, Watch, rank
from reprise.models.batch import Batch, gather
from reprise.models.scorer import Scorer, VectorScorer
from reprise.nn.cells import State
from reprise.progress import track

SCORES_IN_BATCH = 1 << 24
"""Scores that a scorer without vectors may return at once: 128 MiB in float64."""


@dataclass(frozen=True)
class EvaluationPlan:
    """Which targets there are, and how to get to them."""

    part: Part = "test"
    """Events of this part are targets."""
    min_history: int = 1
    """Only targets with at least this many events before them."""
    exclude_seen: bool = False
    """Whether items that came earlier in the sequence are no candidates."""
    query_time: bool = True
    """Whether the model is told when the target happens; else the gap to it is NaN."""
    tokens: int = 8192
    """Events in a batch, about."""
    length: int = 256
    """Steps in a batch, at most; longer histories are carried on as a state."""
    progress: bool = True
    """Whether to show progress, where there is a terminal to show it on."""

    def __post_init__(self) -> None:
        for name in ("min_history", "tokens", "length"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")

    def bounds(self, dataset: SequenceDataset) -> tuple[AnyArray, AnyArray]:
        """Where the targets lie: (first [U], one past the last [U]); equal where a sequence has none."""
        first_U, last_U = dataset.part(self.part)
        first_U = np.maximum(first_U, dataset.offset[:-1] + self.min_history)
        return first_U, np.maximum(first_U, last_U)

    def targets(self, dataset: SequenceDataset) -> int:
        """How many there are."""
        first_U, last_U = self.bounds(dataset)
        return int((last_U - first_U).sum())

    def sample(self, dataset: SequenceDataset, most: int, seed: int) -> AnyArray:
        """The positions of `most` targets drawn without replacement, or of all where they are not more; ascending."""
        first_U, last_U = self.bounds(dataset)
        end_U = np.cumsum(last_U - first_U)
        total = int(end_U[-1]) if len(end_U) else 0
        number_N = np.arange(total)
        if total > most:
            number_N = np.sort(np.random.default_rng(seed).choice(total, most, replace=False, shuffle=False))
        row_N = np.searchsorted(end_U, number_N, side="right")
        position_N: AnyArray = last_U[row_N] - (end_U[row_N] - number_N)
        return position_N


class TopKObserver(Protocol):
    """Sees the first items of every target of a walk, which costs less than to see all scores."""

    def lists(self, asked: "ScoredBatch") -> Lists:
        """What is shown the lists of this batch, in the order of its targets."""
        ...


class TargetRanks(NamedTuple):
    """Every target and where it stands, in the order of the dataset."""

    row_N: AnyArray
    """Which sequence, int64."""
    position_N: AnyArray
    """Which event of the dataset, int64."""
    greater_N: AnyArray
    """How many candidates score higher, int32; `ranks.MISS` for a target that is no candidate."""
    equal_N: AnyArray
    """How many other candidates score the same, int32."""


class ScoreObserver(Protocol):
    """Sees scores of a walk before they are dropped."""

    def watch(self, asked: "ScoredBatch", chosen_M: AnyArray) -> Watch:
        """What is called with whole rows of the scores of some targets of a batch, in their order."""
        ...

    def chosen(self, asked: "ScoredBatch") -> AnyArray:
        """Which targets of a batch it wants to see, by number, ascending."""
        ...


def rank_targets(
    model: Scorer,
    dataset: SequenceDataset,
    walk: EvaluationPlan,
    lists: TopKObserver | None = None,
    onlooker: ScoreObserver | None = None,
) -> TargetRanks:
    """Rank all targets of a part among all warm items. This is what evaluation during training calls too.

    Args:
        model: A network is set to evaluation while it is asked, and back.
        dataset: Where the events are.
        walk: Which of them are targets.
        lists: Sees the list of every target.
        onlooker: Sees all scores of some targets; they are made once more for it.

    Raises:
        DataError: There are no targets, or the model's scores are not finite or not for these items.
    """
    with asking(model):
        found = [
            _ranked(asked, scores, walk.exclude_seen, lists, onlooker)
            for asked, scores in questions(model, dataset, walk)
        ]
    joined = TargetRanks(*(np.concatenate(columns) for columns in zip(*found, strict=True)))
    order_N = np.argsort(joined.position_N)
    return TargetRanks(*(column[order_N] for column in joined))


def questions(
    model: Scorer, dataset: SequenceDataset, walk: EvaluationPlan
) -> Iterator[tuple["ScoredBatch", Scores]]:
    """All targets of a part in batches, and the scores of a model that is `asking`. See `rank_targets`.

    Raises:
        DataError: There are no targets, or the model has scores for other items.
    """
    first_U, last_U = walk.bounds(dataset)
    total = walk.targets(dataset)
    if total == 0:
        raise DataError(_no_targets(dataset, walk))
    vector_ID = _item_vectors(model, dataset)
    plan = _plan(dataset, walk, (first_U, last_U), vectors=vector_ID is not None)
    state: State | None = None
    for chunk in track(plan, f"evaluating {model.name}", walk.progress):
        batch = _batch(dataset, chunk, (first_U, last_U), walk).to(device_of(model))
        kept = None if chunk.fresh else state
        scores, state = _scored(model, batch, kept, vector_ID)
        total -= batch.targets
        if batch.targets:
            yield ScoredBatch(model.name, dataset, batch), scores
    assert total == 0


class ScoredBatch(NamedTuple):
    """One batch of questions to a model."""

    name: str
    """The model's."""
    dataset: SequenceDataset
    batch: Batch

    def targets(self) -> tuple[AnyArray, AnyArray]:
        """(row [N], position [N]) of the targets, in the order of the scores."""
        row_N, step_N = (self.batch.target_BT != PAD).cpu().numpy().nonzero()
        row_B, first_B = self.batch.row_B.cpu().numpy(), self.batch.first_B.cpu().numpy()
        return row_B[row_N], first_B[row_N] + step_N + 1

    def seen(self, chosen_M: AnyArray | None = None) -> Hide:
        """For `rank`: the items before each target in its sequence, or before some of the targets, by number."""
        row_N, position_N = self.targets()
        if chosen_M is not None:
            row_N, position_N = row_N[chosen_M], position_N[chosen_M]
        start_N = self.dataset.offset[row_N]
        device = self.batch.target_BT.device

        def hide(first: int, last: int) -> tuple[Tensor, Tensor]:
            before_C = position_N[first:last] - start_N[first:last]
            end_C = np.cumsum(before_C)
            row_P = np.repeat(np.arange(last - first), before_C)
            position_P = np.arange(end_C[-1]) + np.repeat(start_N[first:last] - (end_C - before_C), before_C)
            item_P = self.dataset.item[position_P].astype(np.int64)
            warm_P = item_P <= self.dataset.items.warm
            pairs = row_P[warm_P], item_P[warm_P] - 1
            return torch.from_numpy(pairs[0]).to(device), torch.from_numpy(pairs[1]).to(device)

        return hide

    def check(self, scores: Scores) -> None:
        """See that there is a finite score for every item.

        Raises:
            DataError: Otherwise, with the model, the sequence and the event.
        """
        _check_items(self.name, scores.items, self.dataset)
        bad = _first_non_finite(scores)
        if bad is not None:
            row, position = (int(column[bad]) for column in self.targets())
            event = position - int(self.dataset.offset[row])
            key = self.dataset.users[row : row + 1].tolist()[0]
            raise DataError(
                f"{self.name} gives a score that is not finite for event {event} of row {row} "
                f"(sequence {key!r}); its weights are damaged or its training diverged"
            )


@contextmanager
def asking(model: object) -> Iterator[None]:
    """No gradients, and a network's modules in evaluation mode; each is left as it was found."""
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
    """Where a network's parameters are; the CPU for everything else."""
    first = next(model.parameters(), None) if isinstance(model, nn.Module) else None
    return torch.device("cpu") if first is None else first.device


def _plan(
    dataset: SequenceDataset, walk: EvaluationPlan, bounds: tuple[AnyArray, AnyArray], vectors: bool
) -> BatchPlan:
    """The way through the sequences that have targets, each from its first event."""
    first_U, last_U = bounds
    start_U = np.asarray(dataset.offset[:-1])
    # a table of scores is as large as events times items, so without vectors a batch holds fewer events
    tokens = walk.tokens if vectors else min(walk.tokens, max(1, SCORES_IN_BATCH // dataset.items.warm))
    stop_U = np.where(last_U > first_U, last_U, start_U)
    return BatchPlan(start_U, stop_U, events_per_batch=tokens, max_steps=min(walk.length, tokens))


def _batch(
    dataset: SequenceDataset, chunk: RowSegments, bounds: tuple[AnyArray, AnyArray], walk: EvaluationPlan
) -> Batch:
    batch = gather(dataset, chunk, *bounds)
    if walk.query_time:
        return batch
    return batch._replace(query_gap_s_BT=torch.full_like(batch.query_gap_s_BT, torch.nan))


def _item_vectors(model: Scorer, dataset: SequenceDataset) -> Tensor | None:
    """The item vectors in the type that scores are compared in, or None for a scorer without."""
    if not isinstance(model, VectorScorer):
        return None
    vector_ID = _exact(model.item_vectors())
    # before the first batch: a network for fewer items would stumble over an index, and not say why
    _check_items(model.name, len(vector_ID), dataset)
    return vector_ID


def _scored(
    model: Scorer, batch: Batch, state: State | None, vector_ID: Tensor | None
) -> tuple[Scores, State]:
    if vector_ID is None:
        score_NI, after = model.score_batch(batch, state)
        return GivenScores(_exact(score_NI)), after
    assert isinstance(model, VectorScorer)
    query_ND, extra, after = model.query_batch(batch, state)
    return VectorScores(query_ND.to(vector_ID.dtype), vector_ID, extra), after


def _exact(scores: Tensor) -> Tensor:
    """In float32 at least: half types make ties that the model does not mean."""
    return scores if scores.dtype in (torch.float32, torch.float64) else scores.float()


def _ranked(
    asked: ScoredBatch,
    scores: Scores,
    exclude_seen: bool,
    lists: TopKObserver | None,
    onlooker: ScoreObserver | None,
) -> TargetRanks:
    asked.check(scores)
    target_N = asked.batch.target_BT[asked.batch.target_BT != PAD]
    hide = asked.seen() if exclude_seen else None
    ranks = rank(scores, target_N, hide, None if lists is None else lists.lists(asked))
    if onlooker is not None:
        chosen_M = onlooker.chosen(asked)
        if len(chosen_M):
            row_M = torch.from_numpy(chosen_M).to(target_N.device)
            hide = asked.seen(chosen_M) if exclude_seen else None
            rank(scores.take(row_M), target_N[row_M], hide, onlooker.watch(asked, chosen_M))
    counts = (column.cpu().numpy().astype(np.int32) for column in ranks)
    return TargetRanks(*asked.targets(), *counts)


def _check_items(name: str, items: int, dataset: SequenceDataset) -> None:
    if items != dataset.items.warm:
        raise DataError(
            f"{name} scores {items} items, the dataset has {dataset.items.warm} warm ones; "
            "evaluate it on the dataset it was made from"
        )


def _first_non_finite(scores: Scores) -> int | None:
    """The first row with a score that is not finite, if any; an overflowing product counts."""
    if isinstance(scores, VectorScores):
        # |q . v| <= |q| |v|: one product of norms instead of a look at every score
        fine_N = torch.isfinite(scores.query_ND.norm(dim=1) * scores.vector_ID.norm(dim=1).amax())
    else:
        assert isinstance(scores, GivenScores)
        low_N, high_N = scores.score_NI.aminmax(dim=1)
        fine_N = torch.isfinite(low_N) & torch.isfinite(high_N)
    return None if bool(fine_N.all()) else int((~fine_N).nonzero()[0])


def _no_targets(dataset: SequenceDataset, walk: EvaluationPlan) -> str:
    events = dataset.part_events(walk.part)
    return (
        f"the {walk.part} part has no target: none of its {events} events has {walk.min_history} or more "
        "before it in its sequence; choose another part, another split or a smaller min_history"
    )
