"""Slices: the targets divided by what they are, so that a mean hides nothing.

Shape letters: N targets, I items (the warm ones), G slices of a dimension. A dimension gives each target the number of its
slice, or `NONE`; one in which all targets are alike says nothing and is left out.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from reprise.arrays import AnyArray
from reprise.data.dataset import SequenceDataset
from reprise.evaluation.ranking.targets import TargetRanks
from reprise.evaluation.target_histories import seen_before
from reprise.models.cooccurrence.counting import item_counts

NONE = -1
"""The number of the slice of a target that belongs to none."""

POPULARITY = {"head": 0.5, "torso": 0.8, "tail": 1.0}
"""Up to which share of the training events the items of each go, the commonest first."""

HISTORY = {"history_1": 1, "history_2-4": 4, "history_5-9": 9, "history_10-19": 19, "history_20-49": 49}
"""The most events before a target of each slice; above is `LONG_HISTORY`."""
LONG_HISTORY = "history_50+"

SECOND_MS = 1000
GAP = {
    "gap_under_1min": 60 * SECOND_MS,
    "gap_1min-1h": 3600 * SECOND_MS,
    "gap_1h-1d": 24 * 3600 * SECOND_MS,
    "gap_1d-1w": 7 * 24 * 3600 * SECOND_MS,
}
"""The time since the event before that is too long for each slice; from there on, `LONG_GAP`."""
LONG_GAP = "gap_over_1w"


class Dimension(NamedTuple):
    """One way to divide the targets."""

    of: str
    """What divides them."""
    names: tuple[str, ...]
    """Of the slices, [G]."""
    slice_N: AnyArray
    """Which slice each target is in, or `NONE`."""


Divide = Callable[[SequenceDataset, TargetRanks], tuple[tuple[str, ...], AnyArray]]


def cold(dataset: SequenceDataset, ranks: TargetRanks) -> AnyArray:
    """Which targets are items that the training part does not have."""
    cold_N: AnyArray = dataset.item[ranks.position_N] > dataset.items.warm
    return cold_N


def same_time(dataset: SequenceDataset, ranks: TargetRanks) -> AnyArray:
    """Which targets have the timestamp of the event before them."""
    same_N: AnyArray = _gap_ms(dataset, ranks) == 0
    return same_N


def by_item(dataset: SequenceDataset, ranks: TargetRanks) -> tuple[tuple[str, ...], AnyArray]:
    """Items that training has seen, and has not."""
    return ("warm", "cold"), cold(dataset, ranks).astype(np.int64)


def by_popularity(dataset: SequenceDataset, ranks: TargetRanks) -> tuple[tuple[str, ...], AnyArray]:
    """The commonest items that make up half of the training events, those up to four fifths, and the rest.

    A cold target is in none. The item that crosses a border still belongs to the more popular side.
    """
    count_I = item_counts(dataset).numpy()
    order_I = np.argsort(-count_I, kind="stable")
    before_I = np.cumsum(count_I[order_I]) - count_I[order_I]
    place_I = np.searchsorted([*POPULARITY.values()][:-1], before_I / max(count_I.sum(), 1), side="right")
    slice_I = np.empty(len(count_I) + 1, dtype=np.int64)
    slice_I[order_I], slice_I[-1] = place_I, NONE
    # the last entry is that of all cold items
    return tuple(POPULARITY), slice_I[np.minimum(dataset.item[ranks.position_N] - 1, len(count_I))]


def by_repeat(dataset: SequenceDataset, ranks: TargetRanks) -> tuple[tuple[str, ...], AnyArray]:
    """Items that came earlier in the sequence of the target, and items that are new there."""
    seen_N = seen_before(dataset, ranks.row_N, ranks.position_N)
    return ("seen_before", "new_to_user"), (~seen_N).astype(np.int64)


def by_history(dataset: SequenceDataset, ranks: TargetRanks) -> tuple[tuple[str, ...], AnyArray]:
    """How many events came before the target in its sequence."""
    before_N = ranks.position_N - dataset.offset[ranks.row_N]
    return (*HISTORY, LONG_HISTORY), np.searchsorted([*HISTORY.values()], before_N)


def by_kind(dataset: SequenceDataset, ranks: TargetRanks) -> tuple[tuple[str, ...], AnyArray]:
    """The kind of the target's event."""
    return tuple(f"kind_{name}" for name in dataset.kinds), dataset.kind[ranks.position_N].astype(np.int64)


def by_gap(dataset: SequenceDataset, ranks: TargetRanks) -> tuple[tuple[str, ...], AnyArray]:
    """The time since the event before the target."""
    return (*GAP, LONG_GAP), np.searchsorted([*GAP.values()], _gap_ms(dataset, ranks), side="right")


def by_time(dataset: SequenceDataset, ranks: TargetRanks) -> tuple[tuple[str, ...], AnyArray]:
    """Later than the event before, and at the same time."""
    return ("new_time", "same_time"), same_time(dataset, ranks).astype(np.int64)


DIMENSIONS: dict[str, Divide] = {
    "item": by_item,
    "popularity": by_popularity,
    "repeat": by_repeat,
    "history": by_history,
    "kind": by_kind,
    "gap": by_gap,
    "time": by_time,
}
"""Every way to divide targets, by what `Slice.of` says; a new one is a function and a line here."""


def dimensions(dataset: SequenceDataset, ranks: TargetRanks) -> Iterator[Dimension]:
    """The ways in which the targets differ."""
    for of, divide in DIMENSIONS.items():
        names, slice_N = divide(dataset, ranks)
        if len(np.unique(slice_N[slice_N != NONE])) > 1:
            yield Dimension(of, names, slice_N)


def _gap_ms(dataset: SequenceDataset, ranks: TargetRanks) -> AnyArray:
    gap_N: AnyArray = dataset.time_ms[ranks.position_N] - dataset.time_ms[ranks.position_N - 1]
    return gap_N
