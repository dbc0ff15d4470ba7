"""The caller's item ids and the indices of the models, both ways.

Shape letters: I items. Index 0 is `PAD`; item indices run from 1 to I, warm items first, commonest first.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from reprise.arrays import AnyArray
from reprise.errors import DataError

PAD = 0
ItemId = str | int


@dataclass(frozen=True)
class Vocabulary:
    """A one-to-one map of item ids to indices.

    Items 1..`warm` occur in the training part, ordered by how often (commonest first); the rest are cold:
    they were seen later, or only in the item table, and no network has a vector for them.
    """

    ids: AnyArray
    """The caller's ids, [I], int64 or str objects; the id at position p has index p + 1."""
    warm: int
    """How many of them occur in training."""

    def __post_init__(self) -> None:
        if not 0 <= self.warm <= len(self.ids):
            raise DataError(f"a vocabulary of {len(self.ids)} items cannot have {self.warm} warm ones")
        if len(self._index) != len(self.ids):
            raise DataError(f"{len(self.ids) - len(self._index)} item ids occur twice; ids must be unique")

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, item_id: object) -> bool:
        return item_id in self._index

    @cached_property
    def _index(self) -> dict[Any, int]:
        return {item_id: position + 1 for position, item_id in enumerate(self.ids.tolist())}

    @property
    def integer_ids(self) -> bool:
        """Whether the caller's ids are integers (otherwise they are strings)."""
        return bool(np.issubdtype(self.ids.dtype, np.integer))

    def index(self, item_id: ItemId) -> int:
        """The index of an id, or `PAD` when the id is unknown."""
        return self._index.get(item_id, PAD)

    def indices(self, item_ids: Iterable[ItemId]) -> np.ndarray[Any, np.dtype[np.int32]]:
        """The indices of many ids, unknown ones as `PAD`."""
        return np.fromiter((self._index.get(item_id, PAD) for item_id in item_ids), dtype=np.int32)

    def item_ids(self, indices: Sequence[int] | AnyArray) -> list[ItemId]:
        """The caller's ids for indices in 1..I."""
        positions = np.asarray(indices, dtype=np.int64) - 1
        assert positions.size == 0 or (positions.min() >= 0 and positions.max() < len(self.ids))
        ids: list[ItemId] = self.ids[positions].tolist()
        return ids
