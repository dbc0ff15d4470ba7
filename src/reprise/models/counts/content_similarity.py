"""Cosine similarity of items by their content, for the nearest neighbours of each item.

Shape letters: I items (the scored ones), F features, R rows. Matrices over items have I + 1 rows; row 0 belongs to `PAD`
and is empty.
"""

from typing import Any

import numpy as np
from scipy import sparse

from reprise.arrays import Float32Array
from reprise.content.fitting_content import fit_content
from reprise.data.dataset import SequenceDataset

SCORES_PER_CHUNK = 1 << 22
"""Maximum number of similarities that are computed together."""


def unit_features(dataset: SequenceDataset, columns: tuple[Any, ...]) -> Float32Array:
    """Return the content features of all items of a dataset in rows of length 1, [I + 1, F]; 0 for `PAD`.

    The row of an item without content is 0, too.

    Args:
        dataset: The items, the warm ones of which fit the features.
        columns: Names of columns of the item table, or column specs; none: all columns that describe an item.

    Raises:
        ConfigError: The item table has no such column.
        DataError: No column describes an item, or a column has values of another type.
    """
    feature_IF = fit_content(columns, dataset).encode(dataset.table)
    length_I1 = np.linalg.norm(feature_IF, axis=1, keepdims=True)
    unit_IF = np.divide(feature_IF, length_I1, out=np.zeros_like(feature_IF), where=length_I1 > 0)
    return np.pad(unit_IF, ((1, 0), (0, 0)))


def nearest_by_content(feature_IF: Float32Array, k: int) -> Any:
    """Return the k items of most similar content for each item as a sparse matrix of cosines, [I + 1, I + 1].

    Cosines of 0 and below are left out, and so is the item itself.

    Args:
        feature_IF: Rows of length 1 or 0, [I + 1, F].
        k: Number of neighbours of each item.
    """
    items = len(feature_IF)
    k = min(k, items)
    rows = max(1, SCORES_PER_CHUNK // items)
    parts = []
    for first in range(0, items, rows):
        cosine_RI = feature_IF[first : first + rows] @ feature_IF.T
        row_R = np.arange(len(cosine_RI))
        cosine_RI[row_R, first + row_R] = 0
        nearest_RK = np.argpartition(cosine_RI, items - k, axis=1)[:, items - k :]
        found_RK = np.take_along_axis(cosine_RI, nearest_RK, axis=1)
        kept_RK = found_RK > 0
        start = np.concatenate([[0], kept_RK.sum(1).cumsum()])
        parts.append(sparse.csr_array((found_RK[kept_RK], nearest_RK[kept_RK], start), shape=cosine_RI.shape))
    return sparse.vstack(parts, format="csr")
