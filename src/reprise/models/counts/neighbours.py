"""Neighbours of each item: the items that occur near it, and those that occur in the same sessions.

Shape letters: I items (the scored ones), P pairs of an item and a neighbour.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from reprise.data.dataset import Part, SequenceDataset
from reprise.models.counts.counting import Neighbours, count_neighbours
from reprise.models.counts.item_similarity import nearest_items, session_items
from reprise.models.counts.session_matrix import find_sessions

SHRINKAGE = 20.0
"""Number of sessions added to those of each item in the similarity, as by default in `ItemKNN`."""
SESSION_LENGTH = 50
"""Maximum number of events of a session, as by default in `ItemKNN`; longer sequences are split."""


class ItemNeighbours(NamedTuple):
    """Co-occurrence counts and similarities of each item with its neighbours, as compressed sparse rows (CSR)."""

    start: Tensor
    """Row offsets, int64 [I + 2]: the neighbours of item i are at `start[i]`..`start[i + 1]`; item 0 (`PAD`) has none."""
    item_P: Tensor
    """Item index of the neighbour, int64, ascending within a row."""
    after_P: Tensor
    """Weighted count of the neighbour after the item, float64; 0 if it is a neighbour by similarity only."""
    before_P: Tensor
    """Weighted count of the neighbour before the item, float64; 0 as above."""
    cosine_P: Tensor
    """Cosine similarity over sessions, float64; 0 if it is a neighbour by co-occurrence only, or the item itself."""
    after: Tensor
    """Sum of the counts of everything after each item [I + 1], including the neighbours beyond `max_neighbours`."""
    before: Tensor
    """Sum of the counts of everything before each item [I + 1], including the neighbours beyond `max_neighbours`."""


def find_neighbours(
    dataset: SequenceDataset,
    window: int,
    max_neighbours: int,
    before: Part = "valid",
    *,
    similarity: bool = True,
    pair_users: int = 1,
) -> ItemNeighbours:
    """Find the neighbours of each item in the events before a part, by co-occurrence and by similarity.

    With `pair_users` above 1, the result depends on no pair of fewer users. It always depends on the events of each item.

    Args:
        dataset: Only events of scored items before the part are read.
        window: Largest distance of a co-occurring pair, in events; see `count_neighbours`.
        max_neighbours: Number of neighbours of each item of each of both sorts.
        before: Part before which events are counted; by default the training events.
        similarity: Whether to find neighbours by similarity; without, `cosine_P` is 0.
        pair_users: Minimum number of different users of a pair, of each sort; see `count_neighbours`.
    """
    near = count_neighbours(dataset, window, max_neighbours, before, pair_users)
    items = dataset.items.scored
    if not similarity:
        return merge_similarities(near, sparse.csr_array((items + 1, items + 1)))
    sessions = find_sessions(dataset, before, SESSION_LENGTH)
    similar_II = nearest_items(
        session_items(sessions, items),
        SHRINKAGE,
        max_neighbours,
        user_S=sessions.user_S if pair_users > 1 else None,
        pair_users=pair_users,
    )
    return merge_similarities(near, similar_II)


def merge_similarities(near: Neighbours, similar_II: Any) -> ItemNeighbours:
    """Merge the neighbours of each item by co-occurrence with those by similarity.

    Args:
        near: Neighbours by co-occurrence.
        similar_II: Similarities of item pairs as a sparse matrix [I + 1, I + 1].
    """
    base = len(near.start) - 1
    # A pair (i, j) has the code i (I + 1) + j. Both sorts of neighbours are merged by their codes.
    near_P = np.repeat(np.arange(base), np.diff(near.start)) * base + near.item_P.numpy()
    similar_P = np.repeat(np.arange(base), np.diff(similar_II.indptr)) * base + similar_II.indices
    code_P = np.union1d(near_P, similar_P)
    values = []
    for codes_P, value_P in ((near_P, near.after_P), (near_P, near.before_P), (similar_P, similar_II.data)):
        merged_P = np.zeros(len(code_P))
        merged_P[np.searchsorted(code_P, codes_P)] = value_P
        values.append(torch.from_numpy(merged_P))
    start = torch.from_numpy(np.searchsorted(code_P, np.arange(base + 1) * base))
    after_P, before_P, cosine_P = values
    item_P = torch.from_numpy(code_P % base)
    return ItemNeighbours(start, item_P, after_P, before_P, cosine_P, near.after, near.before)
