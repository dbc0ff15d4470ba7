"""Vectors of a few items that replace rows of a large table of item vectors, or extend it.

Shape letters: I items of the table, M items with a changed vector, N looked-up items, D width.
"""

from dataclasses import dataclass

import numpy as np

from reprise.arrays import AnyArray, BoolArray, Float32Array, Int64Array


@dataclass(frozen=True)
class VectorChanges:
    """Changed vectors by item index. Immutable: `with_vectors` and `without` return new ones."""

    size: int
    """Largest item index that masks and scores cover. An index beyond the table need not have a vector."""
    item_M: Int64Array
    """Item indices, ascending."""
    vector_MD: Float32Array
    """Vectors of these items."""

    @classmethod
    def none(cls, vectors_ID: Float32Array) -> "VectorChanges":
        """Return an empty set of changes for a table of item vectors."""
        return cls(len(vectors_ID), np.empty(0, dtype=np.int64), vectors_ID[:0])

    def take(self, vectors_ID: Float32Array, item_N: AnyArray) -> Float32Array:
        """Return the current vectors of items, [..., D]. Each item must have a vector.

        Args:
            vectors_ID: The table; row j belongs to item index j + 1.
            item_N: Item indices, in any shape.
        """
        if not len(self.item_M):
            unchanged_ND: Float32Array = vectors_ID[item_N - 1]
            return unchanged_ND
        changed_N, place_N = self._find(item_N)
        vector_ND: Float32Array = vectors_ID[np.where(changed_N, 1, item_N) - 1]
        vector_ND[changed_N] = self.vector_MD[place_N[changed_N]]
        return vector_ND

    def has_vector(self, item_N: AnyArray, items: int) -> BoolArray:
        """Return whether each item has a vector, bool [...]: in a table of `items` rows, or among the changed vectors."""
        in_table_N: BoolArray = (item_N > 0) & (item_N <= items)
        return in_table_N | self._find(item_N)[0] if len(self.item_M) else in_table_N

    def with_vectors(self, item_N: Int64Array, vector_ND: Float32Array, size: int) -> "VectorChanges":
        """Return the changes with these vectors added; they replace earlier vectors of the same items.

        Args:
            item_N: Item indices, each at most once.
            vector_ND: Vectors of these items.
            size: Largest item index that masks and scores cover.
        """
        kept = self.without(item_N)
        order_N = np.argsort(item_N)
        place_N = np.searchsorted(kept.item_M, item_N[order_N])
        return VectorChanges(
            size,
            np.insert(kept.item_M, place_N, item_N[order_N]),
            np.insert(kept.vector_MD, place_N, vector_ND[order_N], axis=0),
        )

    def without(self, item_N: AnyArray) -> "VectorChanges":
        """Return the changes without those of these items."""
        removed_M = np.isin(self.item_M, item_N)
        if not removed_M.any():
            return self
        return VectorChanges(self.size, self.item_M[~removed_M], self.vector_MD[~removed_M])

    def replaced_I(self, items: int) -> Int64Array:
        """Return the items of the table whose vectors are replaced, ascending."""
        replaced_I: Int64Array = self.item_M[: np.searchsorted(self.item_M, items, side="right")]
        return replaced_I

    def _find(self, item_N: AnyArray) -> tuple[BoolArray, AnyArray]:
        """Return whether each item has a changed vector, and the row of this vector in `vector_MD`; shapes as `item_N`."""
        place_N = np.minimum(np.searchsorted(self.item_M, item_N), len(self.item_M) - 1)
        found_N: BoolArray = self.item_M[place_N] == item_N
        return found_N, place_N
