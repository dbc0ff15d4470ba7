"""Cosine similarity of items over sessions, for the nearest neighbours of each item.

Shape letters: S sessions, I items (the warm ones), P pairs, R rows. Matrices over items have I + 1 rows and columns; row
0 belongs to `PAD` and is empty.
"""

from typing import Any

import numpy as np
from scipy import sparse

from reprise.arrays import AnyArray
from reprise.models.counts.session_matrix import Sessions, row_chunks, top_k_per_row


def session_items(sessions: Sessions, items: int) -> Any:
    """Return the items of each session as a sparse matrix of ones, [S, I + 1]."""
    ones_P = np.ones(len(sessions.item_P), dtype=np.float32)
    shape = len(sessions.last_ms_S), items + 1
    return sparse.csr_array((ones_P, sessions.item_P, sessions.start), shape=shape)


def nearest_items(has_SI: Any, shrinkage: float, k: int) -> Any:
    """Return the k most similar other items of each item as a sparse matrix [I + 1, I + 1].

    `has_SI` is sparse, with a 1 for each item of each session.
    """
    sessions_I = np.asarray(has_SI.sum(0)) + shrinkage
    scale_I = 1 / np.sqrt(np.maximum(sessions_I, 1e-9))
    has_IS = has_SI.T.tocsr()
    # upper bound of the entries per row: the items of its sessions, and all items
    cost_I = np.minimum(has_IS @ np.diff(has_SI.indptr), has_SI.shape[1]).astype(np.int64)
    return sparse.vstack(
        [_nearest_of(has_IS[rows] @ has_SI, rows.start, scale_I, k) for rows in row_chunks(cost_I)],
        format="csr",
    )


def _nearest_of(count_RI: Any, first: int, scale_I: AnyArray, k: int) -> Any:
    """Return the k nearest items for the rows `count_RI` of the co-occurrence counts; the first row is item `first`."""
    row_P = np.repeat(np.arange(count_RI.shape[0]), np.diff(count_RI.indptr))
    similarity_P = count_RI.data * scale_I[first + row_P] * scale_I[count_RI.indices]
    similarity_P[count_RI.indices == first + row_P] = 0
    kept_P = top_k_per_row(count_RI.indptr, similarity_P, k) & (similarity_P > 0)
    start = np.searchsorted(row_P[kept_P], np.arange(count_RI.shape[0] + 1))
    columns = similarity_P[kept_P].astype(np.float32), count_RI.indices[kept_P], start
    return sparse.csr_array(columns, shape=count_RI.shape)
