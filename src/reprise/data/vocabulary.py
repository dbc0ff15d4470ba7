"""The mapping between the caller's item ids and the item indices of the models.

Shape letters: I items. Index 0 is `PAD`. Item indices run from 1 to I: warm items first, most frequent first.
"""

from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from reprise.arrays import AnyArray, Int32Array
from reprise.errors import DataError

PAD = 0
"""Index of padding and of unknown items."""
ItemId = str | int
"""An item id or user id of the caller."""


@dataclass(frozen=True)
class Vocabulary:
    """A one-to-one mapping of item ids to item indices.

    Items 1..`warm` occur in the training part and are ordered by frequency, most frequent first. The other items are
    cold: they occur only in later parts or in the item table. Items 1..`scored` are those that a model has a vector for.
    These are the warm ones, and for a model that reads the content of items the cold ones too.
    """

    ids: AnyArray
    """Item ids of the caller, [I], int64 or str objects; the id at position p has index p + 1."""
    warm: int
    """Number of items that occur in the training part."""
    scored: int = -1
    """Number of items that are read and scored; by default the warm ones."""

    def __post_init__(self) -> None:
        if not 0 <= self.warm <= len(self.ids):
            raise DataError(f"a vocabulary of {len(self.ids)} items cannot have {self.warm} warm items")
        if self.scored < 0:
            object.__setattr__(self, "scored", self.warm)
        if not self.warm <= self.scored <= len(self.ids):
            raise DataError(
                f"a vocabulary of {len(self.ids)} items with {self.warm} warm ones cannot have {self.scored} scored ones"
            )
        if len(self._index) != len(self.ids):
            raise DataError(f"{len(self.ids) - len(self._index)} item ids are repeated; ids must be unique")

    def __len__(self) -> int:
        return len(self.ids)

    def scoring(self, items: int) -> "Vocabulary":
        """Return the same vocabulary for a model that scores the first `items` items."""
        if items == self.scored:
            return self
        assert self.warm <= items <= len(self.ids)
        other = copy(self)  # with the index, which takes long to build
        object.__setattr__(other, "scored", items)
        return other

    def __contains__(self, item_id: object) -> bool:
        return item_id in self._index

    @cached_property
    def _index(self) -> dict[Any, int]:
        return {item_id: position + 1 for position, item_id in enumerate(self.ids.tolist())}

    @property
    def integer_ids(self) -> bool:
        """Whether the item ids are integers; otherwise they are strings."""
        return bool(np.issubdtype(self.ids.dtype, np.integer))

    def index(self, item_id: ItemId) -> int:
        """Return the index of an item id, or `PAD` if the id is unknown."""
        return self._index.get(item_id, PAD)

    def indices(self, item_ids: Iterable[ItemId]) -> Int32Array:
        """Return the indices of item ids, `PAD` for unknown ids."""
        return np.fromiter((self._index.get(item_id, PAD) for item_id in item_ids), dtype=np.int32)

    def item_ids(self, indices: Sequence[int] | AnyArray) -> list[ItemId]:
        """Return the item ids of indices in 1..I."""
        positions = np.asarray(indices, dtype=np.int64) - 1
        assert positions.size == 0 or (positions.min() >= 0 and positions.max() < len(self.ids))
        ids: list[ItemId] = self.ids[positions].tolist()
        return ids
