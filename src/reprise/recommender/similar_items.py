"""Similar items: those whose input vectors have the largest cosine.

Shape letters: I items, M items with a changed vector, D width.
"""

from threading import Lock

import numpy as np

from reprise.data.vocabulary import ItemId
from reprise.recommender.artefact.artefact import Artefact
from reprise.recommender.artefact.loading import open_similarity_index
from reprise.recommender.option_checks import at_most
from reprise.recommender.ranker import Ranker
from reprise.recommender.recommendations import Recommendations
from reprise.recommender.search.exact_index import Index
from reprise.recommender.search.merged_index import MergedIndex
from reprise.recommender.search.mmr import unit_vectors
from reprise.recommender.search.quantized_index import QuantizedIndex
from reprise.recommender.search.vector_changes import VectorChanges


class SimilarItems:
    """Search for similar items, which is opened at the first call. Safe to call from several threads."""

    def __init__(self, artefact: Artefact) -> None:
        self._artefact = artefact
        self._index: QuantizedIndex | None = None
        self._lock = Lock()

    def search(self, ranker: Ranker, item_id: ItemId, k: int) -> Recommendations:
        """Return the items with the largest cosine similarity of input vectors. See `Recommender.similar_items`.

        Raises:
            ConfigError: `k` is not a whole number of at least 1.
            DataError: the item is unknown, or has no vector.
        """
        catalogue, network = ranker.catalogue, ranker.network
        index = catalogue.index(item_id)
        k = at_most(k, catalogue.recommendable - 1)
        if not k:
            return Recommendations()
        others_I = np.ones(catalogue.size, dtype=np.bool_)
        others_I[index - 1] = False
        if catalogue.available_I is not None:
            others_I &= catalogue.available_I
        unit_1D = unit_vectors(network.input_of(np.array([index])))
        index_Bk, score_Bk = self._open(network.input_changes).search(unit_1D, k, others_I)
        items = ranker.recommendations(index_Bk[0], score_Bk[0], f"similar to {item_id}")
        return Recommendations(items)

    def _open(self, changes: VectorChanges | None) -> Index:
        with self._lock:
            if self._index is None:
                self._index = open_similarity_index(self._artefact)
        if changes is None:
            return self._index
        unit = VectorChanges(changes.size, changes.item_M, unit_vectors(changes.vector_MD))
        return MergedIndex(self._index, unit)
