"""The events that private training reads: the last ones of each user, from the training part.

Shape letters: U users, E events, P positions of events.
"""

from dataclasses import dataclass

import numpy as np

from reprise.arrays import AnyArray, Int64Array
from reprise.data.dataset import SequenceDataset


@dataclass(frozen=True)
class UserEvents:
    """The items of the last events of each user, oldest first, as compressed rows."""

    start: Int64Array
    """Position of the first event of each user, and the number of events at the end, [U + 1]."""
    item_E: Int64Array
    """Item index of each event, [E]."""

    def __len__(self) -> int:
        """Return the number of users."""
        return len(self.start) - 1

    @property
    def user_E(self) -> Int64Array:
        """Number of the user of each event, [E]."""
        return np.repeat(np.arange(len(self)), np.diff(self.start))

    def select(self, wanted_E: AnyArray, item_E: AnyArray) -> "UserEvents":
        """Return some of the events, with other item indices.

        Args:
            wanted_E: Whether to keep each event.
            item_E: New item index of each event.
        """
        count_U = np.bincount(self.user_E[wanted_E], minlength=len(self))
        return UserEvents(np.concatenate([[0], np.cumsum(count_U)]), item_E[wanted_E].astype(np.int64))


def last_events(dataset: SequenceDataset, most: int) -> UserEvents:
    """Return the last `most` training events of each user, as far as their items are scored.

    The limit applies before events of other items are left out.
    """
    first_U, last_U = (np.asarray(bound, dtype=np.int64) for bound in dataset.part("train"))
    first_U = np.maximum(first_U, last_U - most)
    count_U = last_U - first_U
    start = np.concatenate([[0], np.cumsum(count_U)])
    position_E = np.repeat(first_U - start[:-1], count_U) + np.arange(start[-1])
    item_E = np.asarray(dataset.item)[position_E].astype(np.int64)
    return UserEvents(start, item_E).select(item_E <= dataset.items.scored, item_E)
