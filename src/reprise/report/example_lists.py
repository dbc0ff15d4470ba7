"""Examples: a few sequences, what came next in each, and what a model would have shown at that moment.

Shape letters: X examples, E their events, K places of a list, I items (the warm ones).
They are chosen by their place in the dataset, never by how well a model did.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from reprise.arrays import AnyArray
from reprise.data.dataset import SequenceDataset
from reprise.data.vocabulary import PAD
from reprise.evaluation.list_metrics import in_order
from reprise.evaluation.ranking.ranks import MISS, rank
from reprise.evaluation.ranking.targets import EvaluationPlan, asking, questions
from reprise.models.scorer import Scorer
from reprise.report.comparison_file import Example, ExampleAnswer, ShownItem

COUNT, LISTED, LAST, NEXT = 6, 10, 6, 5
ENOUGH = 3
"""Events before the target that an example has, where the log has such sequences: a person must see something."""


class Moments(NamedTuple):
    """When a model is asked: before one event of each of some sequences."""

    row_X: AnyArray
    """Which sequence."""
    position_X: AnyArray
    """Which event of the dataset is the target."""


class ExampleTopK(NamedTuple):
    """What one model answers in each example."""

    item_XK: AnyArray
    """Item indices, best first; 0 where fewer items than K are candidates."""
    rank_X: AnyArray
    """Where the target stands, in the middle of its ties; 0 where it is no candidate."""


def choose(dataset: SequenceDataset, walk: EvaluationPlan) -> Moments:
    """The middle targets of sequences spread evenly over those that have one, with enough events before it if it can be.

    The first target of a part often opens a new visit, and is harder than most.
    """
    first_U, last_U = walk.bounds(dataset)
    middle_U = (first_U + last_U) // 2
    position_U = np.maximum(middle_U, np.minimum(dataset.offset[:-1] + ENOUGH, last_U - 1))
    asked_U = last_U > first_U
    told_U = asked_U & (position_U - dataset.offset[:-1] >= ENOUGH)
    rows = np.flatnonzero(told_U if told_U.any() else asked_U)
    places = np.floor((np.arange(COUNT) + 0.5) * len(rows) / COUNT).astype(np.int64)
    row_X = rows[np.unique(places)]
    return Moments(row_X, position_U[row_X])


def up_to(dataset: SequenceDataset, walk: EvaluationPlan, chosen: Moments) -> SequenceDataset:
    """The chosen sequences up to those targets, which are all that is left of the part."""
    start_X, stop_X = dataset.offset[chosen.row_X], chosen.position_X + 1
    position_E = np.concatenate([np.arange(*ends) for ends in zip(start_X, stop_X, strict=True)])
    offset = np.concatenate([[0], np.cumsum(stop_X - start_X)])
    return replace(
        dataset,
        users=dataset.users[chosen.row_X],
        offset=offset,
        train_end=offset[1:] - 1,
        valid_end=offset[1:] - (walk.part == "test"),
        item=dataset.item[position_E],
        time_ms=dataset.time_ms[position_E],
        kind=dataset.kind[position_E],
        value=dataset.value[position_E],
    )


def answers(model: Scorer, dataset: SequenceDataset, walk: EvaluationPlan, chosen: Moments) -> ExampleTopK:
    """The best items of a model at the moment of each example."""
    small = up_to(dataset, walk, chosen)
    k = min(LISTED, dataset.items.warm)
    lists = ExampleTopK(np.zeros((len(chosen.row_X), k), np.int64), np.zeros(len(chosen.row_X), np.int64))
    with asking(model):
        for asked, scores in questions(model, small, replace(walk, min_history=1, progress=False)):
            row_N, _ = asked.targets()
            best = _Best(k)
            target_N = asked.batch.target_BT[asked.batch.target_BT != PAD]
            ranks = rank(scores, target_N, asked.seen() if walk.exclude_seen else None, best)
            greater_N, equal_N = (column.cpu().numpy() for column in ranks)
            lists.rank_X[row_N] = np.where(greater_N == MISS, 0, greater_N + 1 + equal_N // 2)
            lists.item_XK[row_N] = torch.cat(best.item_NK).cpu().numpy()
    return lists


class _Best:
    """Keeps the first items of each target; a `ranks.Lists`."""

    def __init__(self, longest: int) -> None:
        self.longest = longest
        self.item_NK: list[Tensor] = []

    def show(self, column_CM: Tensor, s_CM: Tensor) -> None:
        """Indices of the first items in their order; `PAD` where fewer are candidates."""
        column_CK, shown_CK = in_order(column_CM, s_CM)
        self.item_NK.append((column_CK + 1).masked_fill(~shown_CK, PAD))


def described(
    dataset: SequenceDataset, walk: EvaluationPlan, chosen: Moments, lists: dict[str, ExampleTopK]
) -> list[Example]:
    """The examples as a person reads them.

    Args:
        dataset: Where the events are.
        walk: Which of them are targets.
        chosen: As `choose` chose.
        lists: By entrant.
    """
    titles = dataset.titles()
    last_U = walk.bounds(dataset)[1]

    def shown(indices: AnyArray) -> list[ShownItem]:
        known = [index for index in indices.tolist() if index]
        ids = dataset.items.item_ids(np.array(known, np.int64))
        return [
            ShownItem(id=item_id, title=titles[index - 1]) for item_id, index in zip(ids, known, strict=True)
        ]

    examples = []
    for place, (row, position) in enumerate(zip(*(column.tolist() for column in chosen), strict=True)):
        begin = max(int(dataset.offset[row]), position - LAST)
        answered = [
            ExampleAnswer(
                entrant=name, items=shown(found.item_XK[place]), rank=int(found.rank_X[place]) or None
            )
            for name, found in lists.items()
        ]
        examples.append(
            Example(
                sequence=dataset.users[row : row + 1].tolist()[0],
                earlier=begin - int(dataset.offset[row]),
                history=shown(dataset.item[begin:position]),
                next=shown(dataset.item[position : min(int(last_U[row]), position + NEXT)]),
                lists=answered,
            )
        )
    return examples
