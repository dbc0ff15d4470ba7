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
from reprise.data.sequence_blocks import EventBlock, iter_blocks, iter_user_blocks
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
    """Sum of the counts of everything after each item [I + 1], including the neighbours beyond `max_neighbours`."""
    before: Tensor
    """Sum of the counts of everything before each item [I + 1], including the neighbours beyond `max_neighbours`."""


class _CodedPairs(NamedTuple):
    """Counts of ordered pairs. A pair (i, j) has the code i (I + 1) + j; codes are distinct and ascending."""

    code_P: AnyArray
    count_P: AnyArray
    """Weighted count, float64."""
    users_P: AnyArray
    """Number of different users, int32; 0 if it is not needed."""

    def select(self, kept_P: AnyArray) -> "_CodedPairs":
        """Return some of the pairs, in the same order."""
        return _CodedPairs(*(column_P[kept_P] for column_P in self))


def count_pairs(dataset: SequenceDataset, window: int = 1, before: Part = "valid") -> PairCounts:
    """Count how often each item comes after each other item in the same sequence.

    Memory grows with the number of distinct pairs, up to `MAX_PAIRS`.

    Args:
        dataset: Only events of scored items before the part are read.
        window: Largest distance of a pair, in events. An occurrence at distance k adds 1 / k.
        before: Part before which events are counted; by default the training events.
    """
    base = dataset.items.scored + 1
    (code_P, count_P, _), total, _ = _count_codes(dataset, window, before)
    return PairCounts(*map(torch.from_numpy, (_row_starts(code_P, base), code_P % base, count_P, total)))


def count_neighbours(
    dataset: SequenceDataset, window: int, max_neighbours: int, before: Part = "valid", pair_users: int = 1
) -> Neighbours:
    """Count how often items occur near each other in the same sequence, separately for the two orders.

    With `pair_users` above 1, the result depends on no pair of fewer users, the sums `after` and `before` included.

    Args:
        dataset: Only events of scored items before the part are read.
        window: Largest distance of a pair, in events. An occurrence at distance k adds 1 / k.
        max_neighbours: Number of neighbours kept per item: those with the highest count before and after together.
        before: Part before which events are counted; by default the training events.
        pair_users: Minimum number of different users with a pair in this order; the pairs of fewer are not counted. A
            user is a sequence, or all sessions with the same `SequenceDataset.owner`.
    """
    base = dataset.items.scored + 1
    (code_P, count_P, _), later, earlier = _count_codes(dataset, window, before, pair_users)
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
    dataset: SequenceDataset, window: int, part: Part, pair_users: int = 1
) -> tuple[_CodedPairs, AnyArray, AnyArray]:
    """Count the pairs of all blocks, and leave out those of fewer than `pair_users` users.

    Returns the pairs, and for each item the sum of the counts of everything after it and before it, [I + 1] each.
    """
    base = dataset.items.scored + 1
    pairs = _CodedPairs(np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros(0, dtype=np.int32))
    sums = np.zeros((2, base))
    for block in event_blocks(dataset, part, whole_users=pair_users > 1):
        found = _block_pairs(block, window, base, dataset.owner, count_users=pair_users > 1)
        sums += _sums(found, base)
        pairs = _merge_pairs(pairs, found)
        # The log may hold more distinct pairs than fit in memory. A pair dropped here restarts at 0 if it occurs again,
        # so counts and users of rare pairs may be too small. The sums above are added before anything is dropped.
        if len(pairs.code_P) > MAX_PAIRS:
            pairs = pairs.select(np.sort(np.argpartition(-pairs.count_P, MAX_PAIRS)[:MAX_PAIRS]))
    if pair_users > 1:
        # blocks hold whole users, so the numbers of users of all blocks add up
        pairs = pairs.select(pairs.users_P >= pair_users)
        sums = _sums(pairs, base)
    return pairs, *sums


def _sums(pairs: _CodedPairs, base: int) -> AnyArray:
    """Return the sums of the counts of everything after each item and before it, [2, I + 1]."""
    ends = np.divmod(pairs.code_P, base)
    return np.stack([np.bincount(item_P, weights=pairs.count_P, minlength=base) for item_P in ends])


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
    block: EventBlock, window: int, base: int, owner_U: AnyArray | None, *, count_users: bool
) -> _CodedPairs:
    """Return the pairs of a block; codes have the base I + 1."""
    # All numbers of a pair are packed into one key, and the keys are sorted: sorting numbers is many times faster than
    # an argsort of codes. From the highest bits: the earlier item, the later item, the user if users are counted, the
    # distance. Example with the sequence 1 2 2 and the window 2: the pairs are (1, 2) at distance 1, (2, 2) at distance
    # 1 and (1, 2) at distance 2. Sorted, both pairs (1, 2) come first and count 1 / 1 + 1 / 2; then (2, 2) counts 1.
    # Items and users are numbered within the block, so that a key has fewer than 64 bits in any catalogue.
    sequence_E = block.sequence_E
    known, item_E = np.unique(block.item_E, return_inverse=True)
    person_E = np.zeros(0, dtype=np.int64)
    if count_users:
        owner_E = sequence_E if owner_U is None else owner_U[sequence_E]
        person_E = (np.diff(owner_E, prepend=owner_E[:1]) != 0).cumsum()
    window = min(window, max(1, len(item_E) - 1))
    item_bits, distance_bits = len(known).bit_length(), window.bit_length()
    user_bits = int(person_E[-1]).bit_length() if len(person_E) else 0
    assert 2 * item_bits + user_bits + distance_bits < 64, "a block has too many items and users for its keys"
    keys = [np.zeros(0, dtype=np.int64)]
    for distance in range(1, window + 1):
        same_sequence = np.flatnonzero(sequence_E[:-distance] == sequence_E[distance:])
        key = item_E[same_sequence] << item_bits | item_E[distance:][same_sequence]
        if user_bits:
            key = key << user_bits | person_E[same_sequence]
        keys.append(key << distance_bits | distance)
    key = np.sort(np.concatenate(keys))
    if not len(key):
        return _CodedPairs(key, np.zeros(0), np.zeros(0, dtype=np.int32))
    weight_P = (1 / np.arange(1, window + 1))[(key & ((1 << distance_bits) - 1)) - 1]
    key >>= distance_bits
    is_new_P = np.diff(key, prepend=-1) != 0
    key >>= user_bits
    begins = np.flatnonzero(np.diff(key, prepend=-1))
    pair_P = key[begins]
    code_P = known[pair_P >> item_bits].astype(np.int64) * base + known[pair_P & ((1 << item_bits) - 1)]
    users_P = (
        np.add.reduceat(is_new_P, begins, dtype=np.int32) if count_users else np.zeros(len(begins), np.int32)
    )
    return _CodedPairs(code_P, np.add.reduceat(weight_P, begins), users_P)


def _merge_pairs(pairs: _CodedPairs, found: _CodedPairs) -> _CodedPairs:
    """Add the pairs of a block to those of the blocks before it, which are changed."""
    position = np.searchsorted(pairs.code_P, found.code_P)
    known = position < len(pairs.code_P)
    known[known] = pairs.code_P[position[known]] == found.code_P[known]
    pairs.count_P[position[known]] += found.count_P[known]
    pairs.users_P[position[known]] += found.users_P[known]
    new = position[~known]
    return _CodedPairs(
        *(np.insert(column_P, new, new_P[~known]) for column_P, new_P in zip(pairs, found, strict=True))
    )


def _most_frequent(first_P: AnyArray, count_P: AnyArray, limit: int) -> AnyArray:
    """Return the indices of the `limit` most frequent pairs of each first item; ties go to the smaller index."""
    order = np.lexsort((-count_P, first_P))
    row = first_P[order]
    rank = np.arange(len(row)) - np.searchsorted(row, row)
    kept: AnyArray = np.sort(order[rank < limit])
    return kept


def event_blocks(
    dataset: SequenceDataset, before: Part, *, whole_users: bool = False
) -> Iterator[EventBlock]:
    """Iterate over the events of scored items before a part, in blocks of whole sequences or of whole users."""
    blocks = iter_user_blocks if whole_users else iter_blocks
    for block in blocks(dataset, EVENTS_PER_BLOCK):
        # cold items are skipped here because networks and scorers skip them in a history, too
        yield block.select((block.part_E < PARTS.index(before)) & (block.item_E <= dataset.items.scored))
