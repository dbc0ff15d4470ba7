"""Item frequencies and item co-occurrence counts of a log, read in blocks of events.

Shape letters: I items (the scored ones), P pairs of items, E events of a block, N items that are looked up.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from reprise.arrays import AnyArray
from reprise.data.dataset import PARTS, Part, SequenceDataset, check_dataset
from reprise.data.sequence_blocks import EventBlock, iter_blocks
from reprise.errors import DataError

EVENTS_PER_BLOCK = 1 << 18
"""Number of events whose pairs are counted together, at all distances."""
MAX_PAIRS = 1 << 25
"""Largest number of distinct pairs kept between blocks.
Beyond it the rarest pairs are dropped (lossy counting, Manku and Motwani 2002)."""


class PairCounts(NamedTuple):
    """Counts of ordered pairs (item, later item), as compressed sparse rows (CSR) over item indices."""

    start: Tensor
    """Row offsets, int64 [I + 2]: the pairs of item i are at `start[i]`..`start[i + 1]`; item 0 (`PAD`) has none."""
    successor_P: Tensor
    """Index of the later item, int64, ascending within a row."""
    count_P: Tensor
    """Weighted count of each pair, float64; an occurrence at distance k adds 1 / k."""
    total: Tensor
    """Sum of the counts of each item's pairs [I + 1], including the pairs that were dropped."""


def popularity(dataset: SequenceDataset, before: Part = "valid") -> Tensor:
    """Return the share of each scored item in the events before a part, float64 [I]; by default, of the training part.

    Raises:
        DataError: The training part is empty.
    """
    count_I = item_counts(dataset, before)
    check_counts(count_I)
    return count_I / count_I.sum()


def check_counts(count_I: Tensor) -> None:
    """Check that there are events.

    Raises:
        DataError: There are none.
    """
    if not count_I.sum():
        raise DataError("the training part is empty, there is nothing to count; choose a later split")


def item_counts(dataset: SequenceDataset, before: Part = "valid") -> Tensor:
    """Count the events of each scored item before a part, float64 [I]; by default, in the training part."""
    count_I = np.zeros(check_dataset(dataset).items.scored, dtype=np.int64)
    for block in event_blocks(dataset, before):
        count_I += np.bincount(block.item_E - 1, minlength=len(count_I))
    return torch.from_numpy(count_I.astype(np.float64))


class Neighbours(NamedTuple):
    """Co-occurrence counts of each item with its neighbours, in both orders, as compressed sparse rows (CSR)."""

    start: Tensor
    """Row offsets, int64 [I + 2]: the neighbours of item i are at `start[i]`..`start[i + 1]`; item 0 (`PAD`) has none."""
    item_P: Tensor
    """Item index of the neighbour, int64, ascending within a row."""
    after_P: Tensor
    """Weighted count of the neighbour after the item, float64; an occurrence at distance k adds 1 / k."""
    before_P: Tensor
    """Weighted count of the neighbour before the item, float64."""
    after: Tensor
    """Sum of the counts of everything after each item [I + 1], including the neighbours that were dropped."""
    before: Tensor
    """Sum of the counts of everything before each item [I + 1], including the neighbours that were dropped."""


def count_pairs(dataset: SequenceDataset, window: int = 1, before: Part = "valid") -> PairCounts:
    """Count how often each item comes after each other item in the same sequence.

    Memory grows with the number of distinct pairs, up to `MAX_PAIRS`.

    Args:
        dataset: Only events of scored items before the part are read.
        window: Largest distance of a pair, in events. An occurrence at distance k adds 1 / k.
        before: Part before which events are counted; by default the training events.
    """
    base = dataset.items.scored + 1
    code_P, count_P, total, _ = _count_codes(dataset, window, before)
    return PairCounts(*map(torch.from_numpy, (_row_starts(code_P, base), code_P % base, count_P, total)))


def count_neighbours(
    dataset: SequenceDataset, window: int, max_neighbours: int, before: Part = "valid"
) -> Neighbours:
    """Count how often items occur near each other in the same sequence, separately for the two orders.

    Args:
        dataset: Only events of scored items before the part are read.
        window: Largest distance of a pair, in events. An occurrence at distance k adds 1 / k.
        max_neighbours: Number of neighbours kept per item: those with the highest count before and after together.
        before: Part before which events are counted; by default the training events.
    """
    base = dataset.items.scored + 1
    code_P, count_P, later, earlier = _count_codes(dataset, window, before)
    # A count of (i, j) is also the count of "i before j" as seen from j. So every pair is needed under its own code
    # and under the mirrored one. Example with 3 items (base 4) and the sequence 1 2: the pair (1, 2) has code
    # 1 * 4 + 2 = 6 and the mirrored code 2 * 4 + 1 = 9. The result has both: item 1 has neighbour 2 with after = 1,
    # before = 0, and item 2 has neighbour 1 with after = 0, before = 1.
    mirrored_P = code_P % base * base + code_P // base
    either_P = np.union1d(code_P, mirrored_P)
    both_P = np.zeros((2, len(either_P)))
    for counts_P, codes_P in zip(both_P, (code_P, mirrored_P), strict=True):
        counts_P[np.searchsorted(either_P, codes_P)] = count_P
    kept = _most_frequent(either_P // base, both_P.sum(0), max_neighbours)
    either_P, (after_P, before_P) = either_P[kept], both_P[:, kept]
    arrays = _row_starts(either_P, base), either_P % base, after_P, before_P, later, earlier
    return Neighbours(*map(torch.from_numpy, arrays))


def _row_starts(code_P: AnyArray, base: int) -> AnyArray:
    """Return the CSR row offsets of pair codes in ascending order."""
    return np.searchsorted(code_P, np.arange(base + 1) * base)


def _count_codes(
    dataset: SequenceDataset, window: int, part: Part
) -> tuple[AnyArray, AnyArray, AnyArray, AnyArray]:
    """Count the pairs of all blocks.

    A pair (i, j) has the code i (I + 1) + j. Returns the codes in ascending order, their counts, and for each item the
    sum of the counts of everything after it and before it, [I + 1] each.
    """
    items = dataset.items.scored
    code_P, count_P = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float64)
    after, before = np.zeros(items + 1), np.zeros(items + 1)
    for block in event_blocks(dataset, part):
        code, count = _block_pairs(block.item_E, block.sequence_E, window, items)
        after += np.bincount(code // (items + 1), weights=count, minlength=items + 1)
        before += np.bincount(code % (items + 1), weights=count, minlength=items + 1)
        code_P, count_P = _merge_counts(code_P, count_P, code, count)
        # The log may hold more distinct pairs than fit in memory. A pair dropped here restarts at 0 if it occurs again,
        # so counts of rare pairs may be too small. The totals above are added before anything is dropped.
        if len(code_P) > MAX_PAIRS:
            kept = np.sort(np.argpartition(-count_P, MAX_PAIRS)[:MAX_PAIRS])
            code_P, count_P = code_P[kept], count_P[kept]
    return code_P, count_P, after, before


def csr_entries(start: Tensor, item_N: Tensor) -> tuple[Tensor, Tensor]:
    """Return all stored pairs of the rows `item_N`: the position in `item_N`, ascending, and the pair index, [P] each.

    With `start` = [0, 0, 2, 3] and `item_N` = [2, 1] the positions are [0, 1, 1] and the pair indices [2, 0, 1].
    """
    first_N = start[item_N]
    length_N = start[item_N + 1] - first_N
    position_P = torch.repeat_interleave(length_N)
    offset_N = first_N - (length_N.cumsum(0) - length_N)
    return position_P, torch.arange(len(position_P), device=position_P.device) + offset_N[position_P]


def _block_pairs(
    item_E: AnyArray, sequence_E: AnyArray, window: int, items: int
) -> tuple[AnyArray, AnyArray]:
    """Return the distinct pair codes of a block, ascending, and their counts."""
    # The distance is appended to the code as a last digit, and the combined keys are sorted: sorting numbers is many
    # times faster than an argsort of codes. Example with 3 items and window 2, in which the codes have base 4 and the
    # distance base 3: the sequence 1 2 2 gives (1, 2) at distance 1 (code 6, key 19), (2, 2) at distance 1 (code 10,
    # key 31) and (1, 2) at distance 2 (key 20). Sorted: 19, 20, 31. So code 6 counts 1 / 1 + 1 / 2, code 10 counts 1.
    keys = [np.zeros(0, dtype=np.int64)]
    for distance in range(1, min(window, len(item_E) - 1) + 1):
        same_sequence = sequence_E[:-distance] == sequence_E[distance:]
        first_P, later_P = (
            item_E[:-distance][same_sequence].astype(np.int64),
            item_E[distance:][same_sequence],
        )
        keys.append((first_P * (items + 1) + later_P) * (window + 1) + distance)
    key = np.sort(np.concatenate(keys))
    code, distance_P = np.divmod(key, window + 1)
    if not len(code):
        return code, np.zeros(0)
    begins = np.flatnonzero(np.diff(code, prepend=-1))
    return code[begins], np.add.reduceat(1 / distance_P, begins)


def _merge_counts(
    code_P: AnyArray, count_P: AnyArray, code: AnyArray, count: AnyArray
) -> tuple[AnyArray, AnyArray]:
    """Add counts to counts; the codes of each input, and of the result, are distinct and ascending."""
    position = np.searchsorted(code_P, code)
    known = position < len(code_P)
    known[known] = code_P[position[known]] == code[known]
    count_P[position[known]] += count[known]
    new = position[~known]
    return np.insert(code_P, new, code[~known]), np.insert(count_P, new, count[~known])


def _most_frequent(first_P: AnyArray, count_P: AnyArray, limit: int) -> AnyArray:
    """Return the indices of the `limit` most frequent pairs of each first item; ties go to the smaller index."""
    order = np.lexsort((-count_P, first_P))
    row = first_P[order]
    rank = np.arange(len(row)) - np.searchsorted(row, row)
    kept: AnyArray = np.sort(order[rank < limit])
    return kept


def event_blocks(dataset: SequenceDataset, before: Part) -> Iterator[EventBlock]:
    """Iterate over the events of scored items before a part, in blocks of whole sequences."""
    for block in iter_blocks(dataset, EVENTS_PER_BLOCK):
        # cold items are skipped here because networks and scorers skip them in a history, too
        yield block.select((block.part_E < PARTS.index(before)) & (block.item_E <= dataset.items.scored))
