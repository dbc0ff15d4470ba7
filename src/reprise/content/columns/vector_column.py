"""Given vectors, such as embeddings of images, sounds or texts that the caller has computed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from reprise.arrays import AnyArray, Float32Array
from reprise.class_names import Trust
from reprise.config import spec
from reprise.content.column_spec import FitContext, Tensors, check_known
from reprise.content.columns.linear_compression import VectorCompression, fit_compression
from reprise.content.item_rows import ItemRows

BLOCK_ROWS = 16_384
"""Number of rows that are converted together."""


@spec
class Vector:
    """A column of vectors: a list of numbers in each row, all of one width."""

    column: str
    """Name of the column."""
    size: Annotated[int, Field(ge=0)] = 128
    """Number of principal components to which wider vectors are compressed; 0: they are never compressed."""

    def other_columns(self) -> tuple[str, ...]:
        """Return nothing: vectors depend on their own column only."""
        return ()

    def fit(self, context: FitContext) -> "FittedVector":
        """Fit the principal components."""
        width = known = 0
        for block in context.rows.blocks(BLOCK_ROWS):
            vector_MW = block.vectors(self.column, width)
            width = vector_MW.shape[1]
            known += int(np.count_nonzero(vector_MW.any(axis=1)))
        check_known(self.column, known)
        blocks = (block.vectors(self.column, width) for block in context.rows.blocks(BLOCK_ROWS))
        return FittedVector(self, fit_compression(blocks, self.size))

    def restore(self, state: Mapping[str, Any], tensors: Tensors, trusted: Trust) -> "FittedVector":
        """Create the fitted column from its parameters."""
        return FittedVector(self, VectorCompression.restore(state, tensors))


@dataclass(frozen=True, eq=False)
class FittedVector:
    """A fitted column of vectors. Meets `FittedColumn`."""

    spec: Vector
    """The spec."""
    compression: VectorCompression
    """Principal components."""

    @property
    def width(self) -> int:
        """Number of features."""
        return self.compression.width

    @property
    def explained(self) -> float:
        """Share of the variance that the principal components explain."""
        return self.compression.explained

    def encode(self, rows: ItemRows) -> Float32Array:
        """Return the vectors by their principal components, [M, F]."""
        return self.compression.compress(rows.vectors(self.spec.column, self.compression.given))

    def state(self) -> dict[str, Any]:
        """Return the width of the vectors and the explained variance."""
        return self.compression.state()

    def tensors(self) -> dict[str, AnyArray]:
        """Return the principal components."""
        return self.compression.tensors()

    def describe(self) -> str:
        """Return the width of the vectors."""
        return f"vectors of {self.compression.given} numbers"
