"""Which items of a tenant got another vector while the model was served, so that states that have read them are found.

Shape letters: N items of a state.
"""

from collections.abc import Iterable
from hashlib import blake2b

import numpy as np

from reprise.arrays import AnyArray

MAX_CHANGES = 100_000
"""Maximum number of items whose changes are known. With more, every state from before counts as outdated."""


def item_hashes(items: Iterable[str]) -> AnyArray:
    """Return hashes of item ids, ascending, without repetitions. They are the same in all processes."""
    digests = {
        int.from_bytes(blake2b(item.encode(), digest_size=8).digest(), "big", signed=True) for item in items
    }
    return np.array(sorted(digests), dtype=np.int64)


class ChangedVectors:
    """The changes of the vectors of one tenant's items, numbered in order. One thread changes it at a time."""

    def __init__(self) -> None:
        self.number = 0
        """Number of the last change; 0: none."""
        self._number_of: dict[int, int] = {}
        self._from = 0
        self._present: set[int] = set()

    def add(self, items: Iterable[str], present: Iterable[str]) -> None:
        """Note that items got another vector or lost theirs.

        Args:
            items: Ids of the items.
            present: Those of them that now have a vector which the model does not have.
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
        """Return whether one of the items changed after the change with this number."""
        if number == self.number or not len(hash_N):
            return False
        return number < self._from or any(self._number_of.get(one, 0) > number for one in hash_N.tolist())

    def any_present(self, hash_N: AnyArray) -> bool:
        """Return whether one of the items has a vector that the model does not have."""
        return bool(self._present) and not self._present.isdisjoint(hash_N.tolist())
