"""Slices: groups of targets with their own metrics, such as cold items or long histories.

Shape letters: N targets, I items (the warm ones), G slices of a dimension. A dimension whose targets are all in one slice
is left out.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from reprise.arrays import AnyArray, BoolArray
from reprise.data.dataset import SequenceDataset
from reprise.data.sequence_blocks import iter_blocks
from reprise.evaluation.attribute_slices import attribute_masks
from reprise.evaluation.cold_items import is_cold
from reprise.evaluation.ranking.targets import TargetRanks
from reprise.evaluation.target_histories import seen_before
from reprise.models.counts.counting import item_counts

NONE = -1
"""Slice number of a target that is in no slice."""

POPULARITY = {"head": 0.5, "torso": 0.8, "tail": 1.0}
"""Cumulative share of the training events up to which the items of each slice go, the most popular items first."""

HISTORY = {"history_1": 1, "history_2-4": 4, "history_5-9": 9, "history_10-19": 19, "history_20-49": 49}
"""Maximum number of events before a target of each slice; above it is `LONG_HISTORY`."""
LONG_HISTORY = "history_50+"
"""Slice of the targets with more events before them than in `HISTORY`."""

SECOND_MS = 1000
DAY_MS = 24 * 3600 * SECOND_MS
GAP = {
    "gap_under_1min": 60 * SECOND_MS,
    "gap_1min-1h": 3600 * SECOND_MS,
    "gap_1h-1d": DAY_MS,
    "gap_1d-1w": 7 * DAY_MS,
}
"""Time since the event before, in milliseconds, that is just too long for each slice; above it is `LONG_GAP`."""
LONG_GAP = "gap_over_1w"
"""Slice of the targets with a longer gap than in `GAP`."""
AGE = {
    "age_under_1d": DAY_MS,
    "age_1d-1w": 7 * DAY_MS,
    "age_1w-30d": 30 * DAY_MS,
    "age_30d-180d": 180 * DAY_MS,
}
"""Age of the item, in milliseconds, that is just too old for each slice; above it is `OLD`."""
OLD = "age_over_180d"
"""Slice of the targets whose items are older than in `AGE`."""


class Dimension(NamedTuple):
    """A property that groups the targets into slices, which may overlap."""

    of: str
    """Name of the property."""
    mask_N: dict[str, BoolArray]
    """Mask of the targets of each slice, by its name; a slice has at least one target."""


Grouping = Callable[[SequenceDataset, TargetRanks], tuple[tuple[str, ...], AnyArray]]
"""Function that returns the names of the slices, and the number of the slice of each target."""


def same_time(dataset: SequenceDataset, ranks: TargetRanks) -> AnyArray:
    """Return a mask of the targets with the same timestamp as the event before them."""
    same_N: AnyArray = _gap_ms(dataset, ranks) == 0
    return same_N


def by_item(dataset: SequenceDataset, ranks: TargetRanks) -> tuple[tuple[str, ...], AnyArray]:
    """Group by whether the item is in the training part."""
    return ("warm", "cold"), is_cold(dataset, ranks).astype(np.int64)


def by_popularity(dataset: SequenceDataset, ranks: TargetRanks) -> tuple[tuple[str, ...], AnyArray]:
    """Group by popularity: the most popular items with half of the training events, those up to 80 %, and the rest.

    The item at a border belongs to the more popular slice. A cold target is in no slice. Example: items with 4, 3, 2 and 1
    of 10 events have the cumulative shares 0, .4, .7 and .9 before them, so they are head, head, torso and tail.
    """
    count_I = item_counts(dataset).numpy()
    order_I = np.argsort(-count_I, kind="stable")
    before_I = np.cumsum(count_I[order_I]) - count_I[order_I]
    place_I = np.searchsorted([*POPULARITY.values()][:-1], before_I / max(count_I.sum(), 1), side="right")
    slice_I = np.empty(len(count_I) + 1, dtype=np.int64)
    slice_I[order_I], slice_I[-1] = place_I, NONE
    # the last entry is for all cold items
    return tuple(POPULARITY), slice_I[np.minimum(dataset.item[ranks.position_N] - 1, len(count_I))]


def by_repeat(dataset: SequenceDataset, ranks: TargetRanks) -> tuple[tuple[str, ...], AnyArray]:
    """Group by whether the item came earlier in the sequence of the target."""
    seen_N = seen_before(dataset, ranks.row_N, ranks.position_N)
    return ("seen_before", "new_to_user"), (~seen_N).astype(np.int64)


def by_history(dataset: SequenceDataset, ranks: TargetRanks) -> tuple[tuple[str, ...], AnyArray]:
    """Group by the number of events before the target in its sequence."""
    before_N = ranks.position_N - dataset.offset[ranks.row_N]
    return (*HISTORY, LONG_HISTORY), np.searchsorted([*HISTORY.values()], before_N)


def by_age(dataset: SequenceDataset, ranks: TargetRanks) -> tuple[tuple[str, ...], AnyArray]:
    """Group by the age of the item: the time from its first event in the log, of any part, to the target.

    The age is for reports only. A model cannot read it, since the first event of an item may be later than the request.
    """
    first_ms_I = np.full(len(dataset.items) + 1, np.iinfo(np.int64).max)
    for block in iter_blocks(dataset):
        np.minimum.at(first_ms_I, block.item_E, block.time_ms_E)
    age_ms_N = dataset.time_ms[ranks.position_N] - first_ms_I[dataset.item[ranks.position_N]]
    return (*AGE, OLD), np.searchsorted([*AGE.values()], age_ms_N, side="right")


def by_kind(dataset: SequenceDataset, ranks: TargetRanks) -> tuple[tuple[str, ...], AnyArray]:
    """Group by the kind of the event."""
    return tuple(f"kind_{name}" for name in dataset.kinds), dataset.kind[ranks.position_N].astype(np.int64)


def by_gap(dataset: SequenceDataset, ranks: TargetRanks) -> tuple[tuple[str, ...], AnyArray]:
    """Group by the time since the event before the target."""
    return (*GAP, LONG_GAP), np.searchsorted([*GAP.values()], _gap_ms(dataset, ranks), side="right")


def by_time(dataset: SequenceDataset, ranks: TargetRanks) -> tuple[tuple[str, ...], AnyArray]:
    """Group by whether the target has the same time as the event before it."""
    return ("new_time", "same_time"), same_time(dataset, ranks).astype(np.int64)


DIMENSIONS: dict[str, Grouping] = {
    "item": by_item,
    "age": by_age,
    "popularity": by_popularity,
    "repeat": by_repeat,
    "history": by_history,
    "kind": by_kind,
    "gap": by_gap,
    "time": by_time,
}
"""All dimensions by name. To add one, write a function and add a line here."""


def dimensions(dataset: SequenceDataset, ranks: TargetRanks) -> Iterator[Dimension]:
    """Yield the dimensions in which the targets differ: those of `DIMENSIONS`, and the attributes of the items."""
    for of, group in DIMENSIONS.items():
        names, slice_N = group(dataset, ranks)
        numbers = np.unique(slice_N[slice_N != NONE])
        if len(numbers) > 1:
            yield Dimension(of, {names[number]: slice_N == number for number in numbers})
    for column, mask_N in attribute_masks(dataset, dataset.item[ranks.position_N]):
        yield Dimension(f"column {column}", mask_N)


def _gap_ms(dataset: SequenceDataset, ranks: TargetRanks) -> AnyArray:
    gap_N: AnyArray = dataset.time_ms[ranks.position_N] - dataset.time_ms[ranks.position_N - 1]
    return gap_N
