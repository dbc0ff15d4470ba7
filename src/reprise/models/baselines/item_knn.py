"""Item-based nearest neighbours: items that occur in the same sessions.

Shape letters: N targets, W last items, I items (the warm ones), S sessions, P pairs. Matrices over items have I + 1
rows and columns; row 0 belongs to `PAD` and is empty.
"""

from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from scipy import sparse
from torch import Tensor

from reprise.arrays import AnyArray
from reprise.config import short_name, spec
from reprise.data.dataset import Part, SequenceDataset
from reprise.data.vocabulary import PAD
from reprise.models.baselines.session_matrix import (
    find_sessions,
    popularity_tie_break,
    row_chunks,
    top_k_per_row,
)
from reprise.models.baselines.window_scorer import WindowScorer, fitted


@spec(renamed={"own": "repeat_weight"})
class ItemKNN:
    """Item-based kNN: the score of an item is its weighted similarity to the last W items.

    s_j = sum over the last W items i_w of r^w cos(i_w, j), with w events between i_w and the target. cos(i, j) = c_ij
    / sqrt((c_i + a)(c_j + a)). c_ij is the number of sessions that contain both items, c_i that of sessions with item
    i. The `shrinkage` a lowers the similarity of items with few sessions in common. cos(i, i) is `repeat_weight`.
    Sarwar et al., "Item-based collaborative filtering recommendation algorithms" (2001); `window=1` is the item-KNN of
    Hidasi et al. (2016).
    """

    window: Annotated[int, Field(ge=1)] = 10
    """Number of last items that are used, W."""
    neighbours: Annotated[int, Field(ge=1)] = 200
    """Number of nearest items kept per item."""
    shrinkage: Annotated[float, Field(ge=0)] = 20.0
    """a, in sessions."""
    decay: Annotated[float, Field(gt=0, le=1)] = 0.6
    """r: the weight of an item relative to the item after it."""
    repeat_weight: Annotated[float, Field(ge=0)] | None = None
    """cos(i, i), which scores the items of the window themselves; 0 in the papers.
    Default: estimated from the share of events that repeat an item of their session."""
    length: Annotated[int, Field(ge=2)] = 50
    """Maximum number of events per session; longer sequences are split."""

    def __str__(self) -> str:
        return short_name(self)

    def fit(self, dataset: SequenceDataset) -> "FittedItemKNN":
        """Find the nearest items in the events before the test part.

        Memory grows with the log and with items times neighbours.

        Raises:
            DataError: The training part is empty.
        """
        return fitted(FittedItemKNN(self), dataset)


class FittedItemKNN(WindowScorer):
    """A fitted `ItemKNN` scorer."""

    def __init__(self, spec: ItemKNN) -> None:
        super().__init__(str(spec), spec.window)
        self._spec = spec
        self._weight_W = (spec.decay ** np.arange(spec.window)[::-1]).astype(np.float32)

    def count_events(self, dataset: SequenceDataset, before: Part) -> None:
        """Find the nearest items in the events before a part."""
        self._tie_I = popularity_tie_break(dataset, before)
        sessions = find_sessions(dataset, before, self._spec.length)
        shape = len(sessions.last_ms_S), dataset.items.warm + 1
        ones_P = np.ones(len(sessions.item_P), dtype=np.float32)
        has_SI = sparse.csr_array((ones_P, sessions.item_P, sessions.start), shape=shape)
        similarity_II = nearest_items(has_SI, self._spec.shrinkage, self._spec.neighbours)
        spec = self._spec
        diagonal = sessions.repeat_weight if spec.repeat_weight is None else spec.repeat_weight
        diagonal_II = sparse.eye_array(shape[1], dtype=np.float32, format="csr") * np.float32(diagonal)
        self._similarity_II = similarity_II + diagonal_II

    def score_windows(self, recent_NW: Tensor) -> Tensor:
        """Return the weighted sum of similarities to the last items, s_NI, float32."""
        s_NI = self._tie_I.repeat(len(recent_NW), 1)
        cost_N = np.full(len(recent_NW), self.window * self._spec.neighbours + s_NI.shape[1])
        for rows in row_chunks(cost_N):
            item_NW = recent_NW[rows].numpy()
            row_P, place_P = np.nonzero(item_NW != PAD)
            start = np.searchsorted(row_P, np.arange(len(item_NW) + 1))
            columns = self._weight_W[place_P], item_NW[row_P, place_P], start
            query_NI = sparse.csr_array(columns, shape=(len(item_NW), len(self._tie_I) + 1))
            s_NI[rows] += torch.from_numpy((query_NI @ self._similarity_II).toarray()[:, 1:])
        return s_NI


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
