"""The record of item vectors that changed while a model was served. It finds the user states that are outdated.

Shape letters: N items of a state.
"""

from collections.abc import Iterable
from hashlib import blake2b

import numpy as np

from reprise.arrays import AnyArray

MAX_CHANGES = 100_000
"""Maximum number of items whose changes are recorded. Above it the record is emptied, and all earlier states are outdated."""


def item_hashes(items: Iterable[str]) -> AnyArray:
    """Return the distinct hashes of item ids, ascending, int64. Hashes of equal ids are equal in all processes."""
    digests = {
        int.from_bytes(blake2b(item.encode(), digest_size=8).digest(), "big", signed=True) for item in items
    }
    return np.array(sorted(digests), dtype=np.int64)


class ChangedVectors:
    """The vector changes of one tenant's items, numbered in order. Only one thread at a time may call `add`."""

    def __init__(self) -> None:
        self.number = 0
        """Number of the last change; 0: none."""
        self._number_of: dict[int, int] = {}
        self._from = 0
        self._present: set[int] = set()

    def add(self, items: Iterable[str], present: Iterable[str]) -> None:
        """Record that the vectors of items changed or were removed.

        Args:
            items: Ids of these items.
            present: Ids of those of them whose current vector is not in the saved model.
        """
        changed = item_hashes(items).tolist()
        if not changed:
            return
        self._present = (self._present - set(changed)) | set(item_hashes(present).tolist())
        if len(self._number_of) + len(changed) > MAX_CHANGES:
            self._number_of, self._from = {}, self.number + 1
        self._number_of |= dict.fromkeys(changed, self.number + 1)
        self.number += 1  # last: a state that another thread computes now gets the number before

    def any_since(self, number: int, hash_N: AnyArray) -> bool:
        """Return whether the vector of one of the items, given by their hashes, changed after the change `number`."""
        if number == self.number or not len(hash_N):
            return False
        return number < self._from or any(self._number_of.get(one, 0) > number for one in hash_N.tolist())

    def any_present(self, hash_N: AnyArray) -> bool:
        """Return whether one of the items, given by their hashes, has a vector that is not in the saved model."""
        return bool(self._present) and not self._present.isdisjoint(hash_N.tolist())
