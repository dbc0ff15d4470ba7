"""What the training part says without a network: how common each item is, and which follows which.

Shape letters: I items (the warm ones), P pairs of an item and a later one, E events of a block.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from reprise.data.dataset import IntArray, SequenceDataset
from reprise.errors import DataError

EVENTS_AT_ONCE = 1 << 20
"""Events of which pairs are counted at a time."""
PAIRS_AT_ONCE = 1 << 25
"""Distinct pairs that are held while counting; above, the rarest are forgotten (Manku and Motwani 2002, lossy counting)."""

Floats = np.ndarray[Any, np.dtype[Any]]


class PairCounts(NamedTuple):
    """Counted pairs of an item and one that came later, as compressed sparse rows over item indices."""

    start: Tensor
    """[I + 2]: the pairs of item i are at `start[i]`..`start[i + 1]`; item 0 (`PAD`) has none."""
    successor_P: Tensor
    """Item indices of the later items, int64, ascending within a row."""
    count_P: Tensor
    """How often, float64; a pair at distance k counts 1 / k."""
    total: Tensor
    """[I + 1]: the counts of each item's pairs, summed before any were left out."""


def popularity(dataset: SequenceDataset) -> Tensor:
    """Each warm item's share of the training events, [I], float64.

    Raises:
        DataError: The training part is empty.
    """
    count_I = item_counts(dataset)
    if not count_I.sum():
        raise DataError("the training part is empty, there is nothing to count; choose a later split")
    return count_I / count_I.sum()


def item_counts(dataset: SequenceDataset) -> Tensor:
    """How many training events each warm item has, [I], float64."""
    count_I = np.zeros(dataset.items.warm, dtype=np.int64)
    for item_E, _ in _training_blocks(dataset):
        count_I += np.bincount(item_E - 1, minlength=len(count_I))
    return torch.from_numpy(count_I.astype(np.float64))


def count_pairs(dataset: SequenceDataset, window: int = 1, most: int | None = None) -> PairCounts:
    """Which item comes how often after which other one in the sequences of the training part.

    Args:
        dataset: Only its training part is read.
        window: Pairs at a distance of 1 to `window` events count; one at distance k counts 1 / k.
        most: Successors kept of each item, the commonest ones; None: all.
    """
    items = dataset.items.warm
    code_P, count_P = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float64)
    for item_E, sequence_E in _training_blocks(dataset):
        for distance in range(1, window + 1):
            together = sequence_E[:-distance] == sequence_E[distance:]
            if not together.any():
                break
            code_E = item_E[:-distance][together].astype(np.int64) * (items + 1) + item_E[distance:][together]
            code, times = np.unique(code_E, return_counts=True)
            code_P, count_P = _merged(code_P, count_P, code, times / distance)
    first_P = code_P // (items + 1)
    total = np.bincount(first_P, weights=count_P, minlength=items + 1)
    if most is not None:
        kept = _commonest(first_P, count_P, most)
        code_P, count_P, first_P = code_P[kept], count_P[kept], first_P[kept]
    start = np.searchsorted(code_P, np.arange(items + 2) * (items + 1))
    return PairCounts(
        *map(torch.from_numpy, (start, code_P % (items + 1), count_P, total)),
    )


def _merged(
    code_P: IntArray, count_P: Floats, more_code: IntArray, more_count: Floats
) -> tuple[IntArray, Floats]:
    """Both counts of pairs in one, ordered by code."""
    code, place = np.unique(np.concatenate([code_P, more_code]), return_inverse=True)
    count = np.bincount(place, weights=np.concatenate([count_P, more_count]), minlength=len(code))
    if len(code) > PAIRS_AT_ONCE:
        kept = count > np.partition(count, len(code) - PAIRS_AT_ONCE)[len(code) - PAIRS_AT_ONCE]
        code, count = code[kept], count[kept]
    return code, count


def _commonest(first_P: IntArray, count_P: Floats, most: int) -> IntArray:
    """Which pairs are among the `most` commonest of their first item; of equal ones those with the smaller index."""
    order = np.lexsort((-count_P, first_P))
    row = first_P[order]
    rank = np.arange(len(row)) - np.searchsorted(row, row)
    kept: IntArray = np.sort(order[rank < most])
    return kept


def _training_blocks(dataset: SequenceDataset) -> Iterator[tuple[IntArray, IntArray]]:
    """The items of the training events, and the sequence of each; sequences stay whole."""
    first_U, last_U = dataset.part("train")
    end_U = np.cumsum(np.asarray(last_U) - np.asarray(first_U))
    begin = 0
    while begin < len(dataset):
        done = end_U[begin - 1] if begin else 0
        stop = max(begin + 1, int(np.searchsorted(end_U, done + EVENTS_AT_ONCE, side="right")))
        first_S, length_S = first_U[begin:stop], last_U[begin:stop] - first_U[begin:stop]
        after_S = np.cumsum(length_S)
        position_E = np.arange(after_S[-1]) + np.repeat(first_S - (after_S - length_S), length_S)
        yield dataset.item[position_E], np.repeat(np.arange(begin, stop), length_S)
        begin = stop
