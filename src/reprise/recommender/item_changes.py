"""Changes of items while a model is in use: new values, new vectors of items without training events, and added items.

Shape letters: M items, D width of the input vectors, D' of the output vectors.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from reprise.arrays import Float32Array, Int64Array
from reprise.data.vocabulary import PAD, ItemId
from reprise.errors import DataError
from reprise.recommender.items.catalogue import Catalogue
from reprise.recommender.ranker import Ranker
from reprise.recommender.search.exact_index import ExactIndex
from reprise.recommender.search.merged_index import MergedIndex
from reprise.recommender.search.quantized_index import QuantizedIndex
from reprise.recommender.search.vector_changes import VectorChanges


class ItemEncoder(Protocol):
    """The vectors of items from the values of their columns."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that the vectors are made from."""
        ...

    def vectors(self, rows: Sequence[Mapping[str, Any]]) -> tuple[Float32Array, Float32Array]:
        """Return the input vectors and the output vectors of items, [M, D] and [M, D'].

        The input vector of an item without a value in any of the columns is zero.

        Raises:
            DataError: a value is of a wrong type.
        """
        ...


@dataclass(frozen=True)
class ItemChanger:
    """Makes rankers with changed items, which share everything else."""

    encoder: ItemEncoder | None
    """Vectors of items from their columns; None: the network reads ids only, so no item gets a new vector."""
    index: ExactIndex | QuantizedIndex
    """Search over the output vectors of the model."""

    def with_items(
        self, ranker: Ranker, changes: Mapping[ItemId, Mapping[str, Any]], skip_undescribed: bool = False
    ) -> Ranker:
        """Return a ranker with changed values in the columns of items.

        An item without training events gets the vector of its new values, and unknown items are added.

        Args:
            ranker: The ranker to change.
            changes: For each item the columns to change, with their new values; None removes a value.
            skip_undescribed: Whether an added item without a value in any column that the network reads is left out, instead
                of an error.

        Raises:
            DataError: an id is unknown, or a value does not fit its column.
        """
        before, catalogue = ranker.catalogue, ranker.catalogue.with_items(changes)
        read = [item_id for item_id, values in changes.items() if self._is_read(before, item_id, values)]
        if not read:
            return replace(ranker, catalogue=catalogue)
        assert self.encoder is not None
        input_MD, output_MD = self.encoder.vectors([catalogue.item(item_id) for item_id in read])
        undescribed = {
            item_id
            for item_id, input_D in zip(read, input_MD, strict=True)
            if item_id in catalogue.added.slots and not input_D.any()
        }
        if undescribed and not skip_undescribed:
            raise DataError(
                f"item {next(one for one in read if one in undescribed)!r} is new, and has no value in a column that the "
                f"model reads ({', '.join(self.encoder.columns)}); pass a value of one of them"
            )
        index_M = catalogue.indices(read).astype(np.int64)
        described_M = np.array([item_id not in undescribed for item_id in read], dtype=np.bool_)
        ranker = self._with_vectors(
            ranker, index_M[described_M], input_MD[described_M], output_MD[described_M], catalogue.size
        )
        return self.without_items(replace(ranker, catalogue=catalogue), undescribed)

    def without_items(self, ranker: Ranker, item_ids: Collection[ItemId]) -> Ranker:
        """Return a ranker without some of the added items.

        Raises:
            DataError: an item was not added.
        """
        if not item_ids:
            return ranker
        catalogue, network = ranker.catalogue, ranker.network
        for item_id in item_ids:
            if item_id not in catalogue.added.slots:
                raise DataError(f"item {item_id!r} is not an added item, so it cannot be removed")
        index_M = catalogue.indices(item_ids)
        parts = (network.input_changes, network.output_changes)
        inputs, outputs = (None if part is None else part.without(index_M) for part in parts)
        ranker = replace(ranker, catalogue=catalogue.without_items(item_ids))
        return self._with_changes(ranker, inputs, outputs)

    def _is_read(self, catalogue: Catalogue, item_id: ItemId, values: Mapping[str, Any]) -> bool:
        """Return whether changed values give an item of a catalogue another vector, or a vector to an unknown item."""
        if self.encoder is None:
            return False
        index = int(catalogue.indices([item_id])[0])
        return index == PAD or (index > catalogue.warm and not values.keys().isdisjoint(self.encoder.columns))

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

    def _with_changes(
        self, ranker: Ranker, inputs: VectorChanges | None, outputs: VectorChanges | None
    ) -> Ranker:
        network = replace(ranker.network, input_changes=inputs, output_changes=outputs)
        index = self.index if outputs is None else MergedIndex(self.index, outputs)
        return replace(ranker, network=network, index=index)
