"""What a log says without a network: how common each item is, and which follows which. Counted is the training part, or more.

Shape letters: I items (the warm ones), P pairs of an item and a later one, E events of a block.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from reprise.arrays import AnyArray
from reprise.data.dataset import PARTS, Part, SequenceDataset
from reprise.data.sequence_blocks import EventBlock, iter_blocks
from reprise.errors import DataError

EVENTS_AT_ONCE = 1 << 18
"""Events of which pairs are counted at a time, at every distance together."""
PAIRS_AT_ONCE = 1 << 25
"""Distinct pairs that are held between blocks; above, the rarest are forgotten (lossy counting, Manku and Motwani 2002)."""


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


def popularity(dataset: SequenceDataset, before: Part = "valid") -> Tensor:
    """Each warm item's share of the events before a part, [I], float64; by default, of the training events.

    Raises:
        DataError: The training part is empty.
    """
    count_I = item_counts(dataset, before)
    if not count_I.sum():
        raise DataError("the training part is empty, there is nothing to count; choose a later split")
    return count_I / count_I.sum()


def item_counts(dataset: SequenceDataset, before: Part = "valid") -> Tensor:
    """How many events before a part each warm item has, [I], float64; by default, the training events."""
    count_I = np.zeros(dataset.items.warm, dtype=np.int64)
    for block in counted_blocks(dataset, before):
        count_I += np.bincount(block.item_E - 1, minlength=len(count_I))
    return torch.from_numpy(count_I.astype(np.float64))


class Neighbours(NamedTuple):
    """Counted pairs of an item and one that came near it, as compressed sparse rows over item indices."""

    start: Tensor
    """[I + 2]: the neighbours of item i are at `start[i]`..`start[i + 1]`; item 0 (`PAD`) has none."""
    item_P: Tensor
    """Item indices of the neighbours, int64, ascending within a row."""
    after_P: Tensor
    """How often the neighbour came later, float64; a pair at distance k counts 1 / k."""
    before_P: Tensor
    """How often it came earlier."""
    after: Tensor
    """[I + 1]: the counts of what came after each item, summed before any were left out."""
    before: Tensor
    """[I + 1]: likewise of what came before it."""


def count_pairs(dataset: SequenceDataset, window: int = 1, before: Part = "valid") -> PairCounts:
    """Which item comes how often after which other one in the sequences of a log.

    Args:
        dataset: Only the warm items of its events before a part are read.
        window: Pairs at a distance of 1 to `window` events count; one at distance k counts 1 / k.
        before: The part; by default, the training events are read.

    Memory grows with the distinct pairs, up to `PAIRS_AT_ONCE` of them.
    """
    base = dataset.items.warm + 1
    code_P, count_P, total, _ = _counted(dataset, window, before)
    return PairCounts(*map(torch.from_numpy, (_starts(code_P, base), code_P % base, count_P, total)))


def count_neighbours(dataset: SequenceDataset, window: int, most: int, before: Part = "valid") -> Neighbours:
    """Which items come how often after and before which other ones in the sequences of a log.

    Args:
        dataset: Only the warm items of its events before a part are read.
        window: Pairs at a distance of 1 to `window` events count; one at distance k counts 1 / k.
        most: Neighbours kept of each item: those that came oftenest, before it or after it.
        before: The part; by default, the training events are read.
    """
    base = dataset.items.warm + 1
    code_P, count_P, later, earlier = _counted(dataset, window, before)
    mirrored_P = code_P % base * base + code_P // base
    either_P = np.union1d(code_P, mirrored_P)
    both_P = np.zeros((2, len(either_P)))
    for counts_P, one_P in zip(both_P, (code_P, mirrored_P), strict=True):
        counts_P[np.searchsorted(either_P, one_P)] = count_P
    kept = _commonest(either_P // base, both_P.sum(0), most)
    either_P, (after_P, before_P) = either_P[kept], both_P[:, kept]
    arrays = _starts(either_P, base), either_P % base, after_P, before_P, later, earlier
    return Neighbours(*map(torch.from_numpy, arrays))


def _starts(code_P: AnyArray, base: int) -> AnyArray:
    """Where the pairs of each item begin."""
    return np.searchsorted(code_P, np.arange(base + 1) * base)


def _counted(
    dataset: SequenceDataset, window: int, part: Part
) -> tuple[AnyArray, AnyArray, AnyArray, AnyArray]:
    """The pairs as numbers (first item times (I + 1), plus the later one), ascending; their counts; each item's sum of
    what came after it and before it, [I + 1]."""
    items = dataset.items.warm
    code_P, count_P = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float64)
    after, before = np.zeros(items + 1), np.zeros(items + 1)
    for block in counted_blocks(dataset, part):
        code, count = _block_pairs(block.item_E, block.sequence_E, window, items)
        after += np.bincount(code // (items + 1), weights=count, minlength=items + 1)
        before += np.bincount(code % (items + 1), weights=count, minlength=items + 1)
        code_P, count_P = _merged(code_P, count_P, code, count)
        if len(code_P) > PAIRS_AT_ONCE:
            kept = np.sort(np.argpartition(-count_P, PAIRS_AT_ONCE)[:PAIRS_AT_ONCE])
            code_P, count_P = code_P[kept], count_P[kept]
    return code_P, count_P, after, before


def entries(start: Tensor, item_N: Tensor) -> tuple[Tensor, Tensor]:
    """All pairs that begin with one of these items: which of them it is, ascending, and the place of the pair, both [P]."""
    first_N = start[item_N]
    length_N = start[item_N + 1] - first_N
    place_P = torch.repeat_interleave(length_N)
    offset_N = first_N - (length_N.cumsum(0) - length_N)
    return place_P, torch.arange(len(place_P), device=place_P.device) + offset_N[place_P]


def _block_pairs(
    item_E: AnyArray, sequence_E: AnyArray, window: int, items: int
) -> tuple[AnyArray, AnyArray]:
    """The pairs of a block as numbers, each once and in order, and what they count."""
    # the distance is the last digit of a key: to sort numbers is many times faster than to sort places of numbers
    keys = [np.zeros(0, dtype=np.int64)]
    for distance in range(1, min(window, len(item_E) - 1) + 1):
        together = sequence_E[:-distance] == sequence_E[distance:]
        first_P, later_P = item_E[:-distance][together].astype(np.int64), item_E[distance:][together]
        keys.append((first_P * (items + 1) + later_P) * (window + 1) + distance)
    key = np.sort(np.concatenate(keys))
    code, distance_P = np.divmod(key, window + 1)
    if not len(code):
        return code, np.zeros(0)
    begins = np.flatnonzero(np.diff(code, prepend=-1))
    return code[begins], np.add.reduceat(1 / distance_P, begins)


def _merged(
    code_P: AnyArray, count_P: AnyArray, code: AnyArray, count: AnyArray
) -> tuple[AnyArray, AnyArray]:
    """Both counts of pairs in one; each has its codes once and in order."""
    place = np.searchsorted(code_P, code)
    known = place < len(code_P)
    known[known] = code_P[place[known]] == code[known]
    count_P[place[known]] += count[known]
    new = place[~known]
    return np.insert(code_P, new, code[~known]), np.insert(count_P, new, count[~known])


def _commonest(first_P: AnyArray, count_P: AnyArray, most: int) -> AnyArray:
    """Which pairs are among the `most` commonest of their first item; of equal ones those with the smaller index."""
    order = np.lexsort((-count_P, first_P))
    row = first_P[order]
    rank = np.arange(len(row)) - np.searchsorted(row, row)
    kept: AnyArray = np.sort(order[rank < most])
    return kept


def counted_blocks(dataset: SequenceDataset, before: Part) -> Iterator[EventBlock]:
    """The events before a part whose items are warm, some at a time."""
    for block in iter_blocks(dataset, EVENTS_AT_ONCE):
        # what has no vector is passed over where histories are read, too
        yield block.select((block.part_E < PARTS.index(before)) & (block.item_E <= dataset.items.warm))
