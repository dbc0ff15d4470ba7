"""Numbers of users of items."""

import numpy as np

from reprise.arrays import AnyArray
from reprise.data.dataset import SequenceDataset
from reprise.data.sequence_blocks import iter_user_blocks


def count_item_users(dataset: SequenceDataset) -> AnyArray:
    """Count the users with an event of each scored item before the test part, int64 [I].

    If sequences are sessions of users, a user counts once for all of them; otherwise each sequence is a user.
    """
    scored = dataset.items.scored
    users_I = np.zeros(scored, dtype=np.int64)
    for block in iter_user_blocks(dataset):
        known_E = (block.part_E < 2) & (block.item_E >= 1) & (block.item_E <= scored)
        user_E = block.sequence_E if dataset.owner is None else dataset.owner[block.sequence_E]
        pairs_P = np.unique(user_E[known_E] * (scored + 1) + block.item_E[known_E])
        users_I += np.bincount(pairs_P % (scored + 1), minlength=scored + 1)[1:]
    return users_I
