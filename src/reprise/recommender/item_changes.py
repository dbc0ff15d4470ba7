"""Changes of items while a model is in use: new values, new vectors for items without training events, and added items.

Shape letters: M items, D width of the input vectors, D' of the output vectors.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from reprise.arrays import AnyArray, Float32Array, Int64Array
from reprise.data.vocabulary import PAD, ItemId
from reprise.errors import DataError
from reprise.recommender.artefact.artefact import Artefact
from reprise.recommender.artefact.loading import open_index, open_network
from reprise.recommender.items.catalogue import Catalogue
from reprise.recommender.items.content_vectors import ContentVectors
from reprise.recommender.ranker import Ranker
from reprise.recommender.search.approximate_index import ApproximateIndex
from reprise.recommender.search.exact_index import ExactIndex
from reprise.recommender.search.merged_index import MergedIndex
from reprise.recommender.search.quantized_index import QuantizedIndex
from reprise.recommender.search.vector_changes import VectorChanges


class ItemEncoder(Protocol):
    """Encoder of items: from the values of their columns to their vectors."""

    def vectors(self, rows: Sequence[Mapping[str, Any]]) -> tuple[Float32Array, Float32Array]:
        """Return the input vectors and the output vectors of items, [M, D] and [M, D'].

        The input vector of an item without a value in any of the columns is zero.

        Raises:
            DataError: a value is of a wrong type.
        """
        ...


def open_ranker(artefact: Artefact) -> "tuple[Ranker, ItemChanger]":
    """Return the ranker of a saved model, and the changer that makes rankers with changed items from it."""
    network, index = open_network(artefact), open_index(artefact)
    reads_kinds = "kind" in network.runtime.reads or artefact.forecast is not None
    kinds = tuple(artefact.metadata["data"]["kinds"]) if reads_kinds else ()
    content = ContentVectors.from_artefact(artefact)
    columns = () if content is None else tuple(block.column for block in content.content.blocks)
    warm = artefact.metadata["sizes"]["items"]
    catalogue = Catalogue(artefact.items, warm, kinds, scored=artefact.scored, content=columns)
    ranker = Ranker(catalogue, network, index, artefact.popular, content=content)
    return ranker, ItemChanger(content, index, catalogue)


@dataclass(frozen=True)
class ItemChanger:
    """Changes the items of rankers. The changed rankers share everything else."""

    encoder: ItemEncoder | None
    """Encoder of items; None if the network reads ids only, so that no item gets a new vector."""
    index: ExactIndex | QuantizedIndex | ApproximateIndex
    """Search over the output vectors of the model."""
    catalogue: Catalogue
    """Items of the model without changes."""

    def with_items(
        self, ranker: Ranker, changes: Mapping[ItemId, Mapping[str, Any]], skip_undescribed: bool = False
    ) -> Ranker:
        """Return a ranker with changed values in the columns of items.

        An item without training events gets the vector of its new values, and unknown items are added.

        Args:
            ranker: The ranker to change.
            changes: For each item the columns to change, with their new values; None removes a value.
            skip_undescribed: Leave out an added item that has no value in any column that the network reads. Otherwise such
                an item is an error.

        Raises:
            DataError: an id is unknown, or a value does not fit its column.
        """
        before, catalogue = ranker.catalogue, ranker.catalogue.with_items(changes)
        read = [item_id for item_id, values in changes.items() if self._is_read(before, item_id, values)]
        if not read:
            return replace(ranker, catalogue=catalogue)
        assert self.encoder is not None
        rows = [catalogue.item(item_id) for item_id in read]
        input_MD, output_MD = self.encoder.vectors(rows)
        undescribed = {
            item_id
            for item_id, input_D in zip(read, input_MD, strict=True)
            if item_id in catalogue.added.slots and not input_D.any()
        }
        if undescribed and not skip_undescribed:
            raise DataError(
                f"item {next(one for one in read if one in undescribed)!r} is new, and has no value in a column that the "
                f"model reads ({', '.join(self.catalogue.content)}); pass a value of one of them"
            )
        index_M = catalogue.indices(read).astype(np.int64)
        original_M = np.array([self._is_original(row) for row in rows], dtype=np.bool_)
        described_M = np.array([item_id not in undescribed for item_id in read], dtype=np.bool_)
        new_M = described_M & ~original_M
        ranker = self._with_vectors(ranker, index_M[new_M], input_MD[new_M], output_MD[new_M], catalogue.size)
        ranker = self._without_vectors(replace(ranker, catalogue=catalogue), index_M[original_M])
        return self.without_items(ranker, undescribed)

    def without_items(self, ranker: Ranker, item_ids: Collection[ItemId]) -> Ranker:
        """Return a ranker without these added items.

        Raises:
            DataError: an item was not added.
        """
        if not item_ids:
            return ranker
        catalogue = ranker.catalogue
        for item_id in item_ids:
            if item_id not in catalogue.added.slots:
                raise DataError(f"item {item_id!r} is not an added item, so it cannot be removed")
        ranker = self._without_vectors(ranker, catalogue.indices(item_ids))
        return replace(ranker, catalogue=catalogue.without_items(item_ids))

    def _is_original(self, row: Mapping[str, Any]) -> bool:
        """Return whether an item of the model has the values of the item table in all columns that the network reads."""
        if row["item_id"] not in self.catalogue.items:
            return False
        original = self.catalogue.item(row["item_id"])
        return all(row.get(name) == original.get(name) for name in self.catalogue.content)

    def _is_read(self, catalogue: Catalogue, item_id: ItemId, values: Mapping[str, Any]) -> bool:
        """Return whether an item must be encoded after a change: it has no vector yet, or its content determines its vector."""
        if self.encoder is None:
            return False
        index = int(catalogue.indices([item_id])[0])
        return index == PAD or (
            index > catalogue.warm and not values.keys().isdisjoint(self.catalogue.content)
        )

    def _with_vectors(
        self,
        ranker: Ranker,
        index_M: Int64Array,
        input_MD: Float32Array,
        output_MD: Float32Array,
        size: int,
    ) -> Ranker:
        network = ranker.network
        inputs = network.input_changes or VectorChanges.none(network.input_ID)
        outputs = network.output_changes or VectorChanges.none(network.output_ID)
        return self._with_changes(
            ranker,
            inputs.with_vectors(index_M, input_MD, size),
            outputs.with_vectors(index_M, output_MD, size),
        )

    def _without_vectors(self, ranker: Ranker, index_M: AnyArray) -> Ranker:
        inputs, outputs = ranker.network.input_changes, ranker.network.output_changes
        if inputs is None or outputs is None:
            return ranker
        return self._with_changes(ranker, inputs.without(index_M), outputs.without(index_M))

    def _with_changes(self, ranker: Ranker, inputs: VectorChanges, outputs: VectorChanges) -> Ranker:
        network = replace(ranker.network, input_changes=inputs, output_changes=outputs)
        return replace(ranker, network=network, index=MergedIndex(self.index, outputs))
