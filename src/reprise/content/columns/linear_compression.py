"""Linear compression: truncated SVD of sparse rows, and PCA of dense vectors, also of more rows than fit in memory.

Shape letters: M rows, V terms, W width of a vector, K components.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from reprise.arrays import AnyArray, Float32Array
from reprise.content.column_spec import Tensors, check_tensor
from reprise.content.columns.hat_functions import scale_rows

MAX_SVD_ROWS = 200_000
"""Largest number of rows whose truncated SVD is computed; of more rows, evenly spaced ones are taken."""
PCA_ROWS = 50_000
"""Number of rows up to which the PCA reads all vectors together; more are read in blocks (incremental PCA)."""
BATCH_ROWS = 4_096
"""Number of rows of a step of the incremental PCA."""


def fit_svd(matrix_MV: Any, size: int) -> tuple[Float32Array | None, float]:
    """Fit a truncated SVD of sparse rows (randomised, Halko et al. 2011).

    Returns:
        The components, [V, K], and the explained share of the variance; (None, 1) if the rows need no compression.
    """
    if min(matrix_MV.shape) <= size:
        return None, 1.0
    from sklearn.decomposition import TruncatedSVD

    step = -(-matrix_MV.shape[0] // MAX_SVD_ROWS)
    svd = TruncatedSVD(size, random_state=0).fit(matrix_MV[::step])
    component_VK = np.ascontiguousarray(svd.components_.T, np.float32)
    return component_VK, float(svd.explained_variance_ratio_.sum())


@dataclass(frozen=True, eq=False)
class VectorCompression:
    """Principal components of vectors of length 1."""

    given: int
    """Width of the vectors, W."""
    mean_W: Float32Array | None = None
    """Mean of the vectors; None without compression."""
    component_WK: Float32Array | None = None
    """Principal components; None without compression."""
    explained: float = 1.0
    """Share of the variance that the components explain."""

    @property
    def width(self) -> int:
        """Number of components, K, or W without compression."""
        return self.given if self.component_WK is None else self.component_WK.shape[1]

    def compress(self, vector_MW: Float32Array) -> Float32Array:
        """Return the vectors, scaled to length 1, by their principal components, [M, K]; a zero vector stays 0."""
        scaled_MW = scale_rows(vector_MW)
        if self.component_WK is None or self.mean_W is None:
            return scaled_MW
        known_M1 = vector_MW.any(axis=1, keepdims=True)
        return np.asarray(((scaled_MW - self.mean_W) * known_M1) @ self.component_WK, np.float32)

    def state(self) -> dict[str, Any]:
        """Return the parameters that are not arrays, as JSON values."""
        return {"given": self.given, "explained": self.explained}

    def tensors(self) -> dict[str, AnyArray]:
        """Return the parameters that are arrays."""
        if self.component_WK is None or self.mean_W is None:
            return {}
        return {"mean": self.mean_W, "components": self.component_WK}

    @classmethod
    def restore(cls, state: Any, tensors: Tensors) -> "VectorCompression":
        """Create the compression from its parameters.

        Raises:
            DataError: The arrays do not fit together.
        """
        given, explained = int(state["given"]), float(state["explained"])
        if "components" not in tensors:
            return cls(given)
        mean_W = check_tensor("mean", tensors["mean"], (given,))
        return cls(given, mean_W, check_tensor("components", tensors["components"], (given, None)), explained)


def fit_compression(blocks: Iterable[Float32Array], size: int) -> VectorCompression:
    """Fit the principal components of vectors given in blocks of rows, [., W]; rows of zeros are left out.

    Vectors of at most `size` numbers, or of at most `size` rows, are not compressed; neither are any if `size` is 0.
    """
    waiting: list[Float32Array] = []
    rows = given = 0
    incremental: Any = None
    for block in blocks:
        given = block.shape[1]
        if not size or given <= size:
            break
        waiting.append(scale_rows(block[block.any(axis=1)]))
        rows += len(waiting[-1])
        if rows > PCA_ROWS:
            incremental = incremental or _incremental(size)
            waiting = _read_batches(incremental, waiting, max(BATCH_ROWS, size))
    if not size or given <= size or rows <= size:
        return VectorCompression(given)
    if incremental is not None:
        if sum(map(len, waiting)) >= size:
            incremental.partial_fit(np.concatenate(waiting))
        return _compression(given, incremental)
    from sklearn.decomposition import PCA

    return _compression(
        given, PCA(size, svd_solver="randomized", random_state=0).fit(np.concatenate(waiting))
    )


def _incremental(size: int) -> Any:
    from sklearn.decomposition import IncrementalPCA

    return IncrementalPCA(size)


def _read_batches(incremental: Any, waiting: list[Float32Array], batch: int) -> list[Float32Array]:
    """Fit whole batches of the rows that wait; return the rest."""
    row_MW = np.concatenate(waiting)
    while len(row_MW) >= batch:
        incremental.partial_fit(row_MW[:batch])
        row_MW = row_MW[batch:]
    return [row_MW]


def _compression(given: int, pca: Any) -> VectorCompression:
    component_WK = np.ascontiguousarray(pca.components_.T, np.float32)
    explained = float(pca.explained_variance_ratio_.sum())
    return VectorCompression(given, pca.mean_.astype(np.float32), component_WK, explained)
