"""Item-based nearest neighbours: items that occur in the same sessions.

Shape letters: N targets, W last items, I items (the warm ones), S sessions, P pairs. Matrices over items have I + 1
rows and columns; row 0 belongs to `PAD` and is empty.
"""

from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from scipy import sparse
from torch import Tensor

from reprise.config import short_name, spec
from reprise.data.dataset import Part, SequenceDataset
from reprise.data.vocabulary import PAD
from reprise.models.baselines.window_scorer import WindowScorer, fitted
from reprise.models.counts.item_similarity import nearest_items, session_items
from reprise.models.counts.session_matrix import find_sessions, popularity_tie_break, row_chunks


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
        spec = self._spec
        similarity_II = nearest_items(
            session_items(sessions, dataset.items.warm), spec.shrinkage, spec.neighbours
        )
        diagonal = sessions.repeat_weight if spec.repeat_weight is None else spec.repeat_weight
        diagonal_II = sparse.eye_array(dataset.items.warm + 1, dtype=np.float32, format="csr") * np.float32(
            diagonal
        )
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
