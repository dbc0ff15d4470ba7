"""Read the events before each target in blocks of sequences, so that memory does not grow with the dataset.

Shape letters: N targets, S sequences with a target, E events of a block, T targets of a block, I items (the scored ones).
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from reprise.arrays import AnyArray, Float64Array
from reprise.data.dataset import SequenceDataset

EVENTS_PER_BLOCK = 1 << 20
"""Approximate number of events in a block; a sequence is not divided."""


class TargetHistories(NamedTuple):
    """A block of sequences, each from its first event to its last target, one after the other."""

    first: int
    """Number of the first target of the block."""
    last: int
    """Number of the first target after the block."""
    item_E: AnyArray
    """Item of each event, int64."""
    sequence_E: AnyArray
    """Sequence of each event, numbered within the block."""
    place_T: AnyArray
    """Index of each target among the events of the block."""
    start_T: AnyArray
    """Index of the first event of each target's sequence."""


def seen_before(dataset: SequenceDataset, row_N: AnyArray, position_N: AnyArray) -> AnyArray:
    """Return a mask of the targets whose items came earlier in their sequence, [N]."""
    seen_N = np.zeros(len(row_N), dtype=bool)
    for block in histories(dataset, row_N, position_N):
        # one number per pair of sequence and item: a target was seen if its key occurs before it
        key_E = block.sequence_E * (len(dataset.items.ids) + 1) + block.item_E
        _, earliest_K, key_of_E = np.unique(key_E, return_index=True, return_inverse=True)
        seen_N[block.first : block.last] = earliest_K[key_of_E[block.place_T]] < block.place_T
    return seen_N


def mean_before(
    dataset: SequenceDataset, row_N: AnyArray, position_N: AnyArray, value_I: Float64Array
) -> Float64Array:
    """Return the mean value of the warm items before each target, [N]; NaN if there are none."""
    mean_N = np.full(len(row_N), np.nan)
    # index 0 is PAD, and all cold items share the last index; neither has a value
    value, counts = np.concatenate([[0.0], value_I, [0.0]]), np.ones(len(value_I) + 2)
    counts[[0, -1]] = 0
    for block in histories(dataset, row_N, position_N):
        known_E = np.minimum(block.item_E, len(value_I) + 1)
        total_E, many_E = (np.concatenate([[0.0], np.cumsum(of[known_E])]) for of in (value, counts))
        total_T = total_E[block.place_T] - total_E[block.start_T]
        many_T = many_E[block.place_T] - many_E[block.start_T]
        np.divide(total_T, many_T, out=mean_N[block.first : block.last], where=many_T > 0)
    return mean_N


def histories(dataset: SequenceDataset, row_N: AnyArray, position_N: AnyArray) -> Iterator[TargetHistories]:
    """Yield the histories of all targets in blocks; the targets must be in the order of the dataset."""
    row_S, first_S = np.unique(row_N, return_index=True)
    last_S = np.append(first_S[1:], len(row_N))
    start_S = np.asarray(dataset.offset[row_S])
    length_S = position_N[last_S - 1] + 1 - start_S
    block_S = np.cumsum(length_S) // EVENTS_PER_BLOCK
    borders = np.flatnonzero(np.diff(block_S, prepend=-1, append=block_S[-1] + 1))
    for begin, end in pairwise(borders.tolist()):
        length_B, start_B = length_S[begin:end], start_S[begin:end]
        moved_B = np.cumsum(length_B) - length_B
        position_E = np.arange(length_B.sum()) + np.repeat(start_B - moved_B, length_B)
        first, last = int(first_S[begin]), int(last_S[end - 1])
        begin_T = np.repeat(moved_B, last_S[begin:end] - first_S[begin:end])
        yield TargetHistories(
            first,
            last,
            dataset.item[position_E].astype(np.int64),
            np.repeat(np.arange(end - begin), length_B),
            begin_T + position_N[first:last] - np.asarray(dataset.offset[row_N[first:last]]),
            begin_T,
        )
