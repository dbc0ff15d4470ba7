"""Examples for the report: a few targets with their history, what came next, and the top-k list of each model.

Shape letters: X examples, C rows of a span, K places of a list. Examples are chosen by their place in the dataset, never by
the quality of a model, and their lists and ranks are those of the evaluation itself.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from reprise.arrays import AnyArray
from reprise.data.dataset import SequenceDataset
from reprise.data.vocabulary import PAD
from reprise.evaluation.list_metrics import in_order
from reprise.evaluation.protocol import EvaluationProtocol
from reprise.evaluation.ranking.targets import ScoredBatch, TargetRanks
from reprise.evaluation.ranking.tiles import MISS
from reprise.report.comparison_file import ExampleRecord, ItemRecord, RankedListRecord

EXAMPLES = 6
"""Maximum number of examples."""
LIST_LENGTH = 10
"""Length of the list of each model."""
HISTORY_LENGTH, NEXT_LENGTH = 6, 5
"""Maximum number of events listed before the target, and from the target onwards."""
MIN_HISTORY = 3
"""Number of events before the target of an example, if the dataset has such sequences."""


class ExampleTargets(NamedTuple):
    """Targets that serve as examples, one in each of some sequences."""

    row_X: AnyArray
    """Sequence of each target, as a row of the dataset, ascending."""
    position_X: AnyArray
    """Event of each target, as a position in the dataset, ascending."""


class ExampleTopK(NamedTuple):
    """The top-k lists of one model for the examples, and the ranks of their targets."""

    item_XK: AnyArray
    """Item indices, best first; 0 if there are fewer than K candidates."""
    rank_X: AnyArray
    """Rank of the target, in the middle of its ties; 0 if it is not a candidate."""


def choose_examples(dataset: SequenceDataset, protocol: EvaluationProtocol) -> ExampleTargets:
    """Choose the middle target of sequences spread evenly over those with a target and enough history.

    The first target of a part often opens a new session and is harder than most, so the middle one is taken. Of a
    sample of the targets, it is the middle one of those with enough history.
    """
    position_N = protocol.sampled_positions(dataset)
    if position_N is not None:
        return _choose_sampled(dataset, position_N)
    first_U, last_U = protocol.target_bounds(dataset)
    middle_U = (first_U + last_U) // 2
    position_U = np.maximum(middle_U, np.minimum(dataset.offset[:-1] + MIN_HISTORY, last_U - 1))
    has_target_U = last_U > first_U
    has_history_U = has_target_U & (position_U - dataset.offset[:-1] >= MIN_HISTORY)
    rows = np.flatnonzero(has_history_U if has_history_U.any() else has_target_U)
    row_X = rows[_spread(len(rows))]
    return ExampleTargets(row_X, position_U[row_X])


def _choose_sampled(dataset: SequenceDataset, position_N: AnyArray) -> ExampleTargets:
    row_N = np.searchsorted(dataset.offset, position_N, side="right") - 1
    has_history_N = position_N - dataset.offset[row_N] >= MIN_HISTORY
    if has_history_N.any():
        row_N, position_N = row_N[has_history_N], position_N[has_history_N]
    row_S, begin_S, targets_S = np.unique(row_N, return_index=True, return_counts=True)
    place_X = _spread(len(row_S))
    return ExampleTargets(row_S[place_X], position_N[begin_S + targets_S // 2][place_X])


def _spread(count: int) -> AnyArray:
    """Return at most `EXAMPLES` places, evenly spread over `count`."""
    return np.unique(np.floor((np.arange(EXAMPLES) + 0.5) * count / EXAMPLES).astype(np.int64))


class ExampleObserver:
    """An observer of an evaluation that keeps the top-k lists of the examples; a `targets.TopKObserver`.

    Args:
        examples: Targets whose lists are kept.
        items: Number of items in the catalogue.
    """

    def __init__(self, examples: ExampleTargets, items: int) -> None:
        self.examples = examples
        self.k = min(LIST_LENGTH, items)
        self.item_XK = np.full((len(examples.row_X), self.k), PAD, np.int64)
        """Lists of the examples that have been ranked so far."""

    def top_k_consumer(self, batch: ScoredBatch) -> "ExampleConsumer | None":
        """Return the consumer of the lists of a batch; None if it has no example."""
        _, position_N = batch.targets()
        return (
            ExampleConsumer(self, position_N) if np.isin(position_N, self.examples.position_X).any() else None
        )

    def result(self, ranks: TargetRanks) -> ExampleTopK:
        """Return the lists, with the ranks of the example targets among the ranks of all targets."""
        place_X = np.searchsorted(ranks.position_N, self.examples.position_X)
        greater_X, equal_X = (counts_N[place_X].astype(np.int64) for counts_N in ranks[2:])
        return ExampleTopK(self.item_XK, np.where(greater_X == MISS, 0, greater_X + 1 + equal_X // 2))


class ExampleConsumer:
    """A consumer of the top-k lists of a batch that keeps those of the examples; a `ranks.TopKConsumer`."""

    def __init__(self, observer: ExampleObserver, position_N: AnyArray) -> None:
        self.observer, self.position_N = observer, position_N
        self.k = observer.k
        """Number of items needed for each target."""
        self._done = 0

    def receive(self, column_CK: Tensor, s_CK: Tensor) -> None:
        """Keep the lists of the examples among the next targets."""
        position_C = self.position_N[self._done : self._done + len(s_CK)]
        self._done += len(s_CK)
        position_X = self.observer.examples.position_X
        row_X = np.flatnonzero(np.isin(position_C, position_X))
        if not len(row_X):
            return
        index = torch.from_numpy(row_X).to(s_CK.device)
        best_XK, listed_XK = in_order(column_CK[index], s_CK[index], self.k)
        item_XK = (best_XK + 1).masked_fill(~listed_XK, PAD)
        self.observer.item_XK[np.searchsorted(position_X, position_C[row_X])] = item_XK.cpu().numpy()


def describe_examples(
    dataset: SequenceDataset,
    protocol: EvaluationProtocol,
    examples: ExampleTargets,
    lists: dict[str, ExampleTopK],
) -> list[ExampleRecord]:
    """Describe the examples with the ids and titles of their items.

    Args:
        dataset: Dataset that holds the events.
        protocol: Which events are targets.
        examples: Targets chosen by `choose_examples`.
        lists: Lists and ranks by the name of the model.
    """
    titles = dataset.titles()
    last_U = protocol.target_bounds(dataset)[1]

    def item_records(indices: AnyArray) -> list[ItemRecord]:
        known = [index for index in indices.tolist() if index]
        ids = dataset.items.item_ids(np.array(known, np.int64))
        return [
            ItemRecord(id=item_id, title=titles[index - 1]) for item_id, index in zip(ids, known, strict=True)
        ]

    described = []
    for place, (row, position) in enumerate(zip(*(column.tolist() for column in examples), strict=True)):
        begin = max(int(dataset.offset[row]), position - HISTORY_LENGTH)
        answers = [
            RankedListRecord(
                entrant=name, items=item_records(found.item_XK[place]), rank=int(found.rank_X[place]) or None
            )
            for name, found in lists.items()
        ]
        described.append(
            ExampleRecord(
                sequence=dataset.users[row : row + 1].tolist()[0],
                earlier=begin - int(dataset.offset[row]),
                history=item_records(dataset.item[begin:position]),
                next=item_records(dataset.item[position : min(int(last_U[row]), position + NEXT_LENGTH)]),
                lists=answers,
            )
        )
    return described
