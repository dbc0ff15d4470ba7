"""Rows of events grouped into one history per user."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from reprise.data.vocabulary import ItemId

USERS_PER_BATCH = 4096
"""Largest number of users in a batch."""


class UserHistories(NamedTuple):
    """A batch of users and their events in time order."""

    keys: list[ItemId]
    """User ids, or session ids if the files have no users."""
    events: list[list[Any]]
    """Events of each user: item ids, or mappings with `item_id` and the extra fields that were requested."""


def group_by_user(
    batches: Iterator[pa.RecordBatch], users_per_batch: int | None = None
) -> Iterator[UserHistories]:
    """Group rows that are sorted by user; the rows of a user may continue in the next batch.

    Args:
        batches: Rows of `user_id`, `item_id` and further fields.
        users_per_batch: Largest number of users in a batch; None: `USERS_PER_BATCH`.
    """
    largest = users_per_batch or USERS_PER_BATCH
    keys: list[ItemId] = []
    events: list[list[Any]] = []
    for batch in batches:
        for key, added in _runs(batch):
            if keys and keys[-1] == key:
                events[-1] += added
            elif len(keys) == largest:
                yield UserHistories(keys, events)
                keys, events = [key], [added]
            else:
                keys.append(key)
                events.append(added)
    if keys:
        yield UserHistories(keys, events)


def _runs(batch: pa.RecordBatch) -> Iterator[tuple[ItemId, list[Any]]]:
    """Split a batch where the user changes; return each user's id and events."""
    if not len(batch):
        return
    user_E = batch.column("user_id").to_numpy(zero_copy_only=False)
    fields = batch.drop_columns("user_id")
    event_E = fields.to_pylist() if fields.num_columns > 1 else fields.column("item_id").to_pylist()
    cuts = [0, *(np.flatnonzero(user_E[1:] != user_E[:-1]) + 1).tolist(), len(user_E)]
    for first, last in pairwise(cuts):
        yield user_E[first : first + 1].tolist()[0], event_E[first:last]
