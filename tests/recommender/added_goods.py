"""A recommender that makes vectors from the columns of items, and the same items in one dense table."""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from reprise.recommender import Recommender
from reprise.recommender.artefact.artefact import Artefact
from reprise.recommender.artefact.loading import open_index
from reprise.recommender.item_changes import ItemChanger

COLUMNS = ("colour", "weight")
"""Columns that `ColumnVectors` reads."""
WARM = 17
"""Number of items of the table with training events."""


class ColumnVectors:
    """Vectors that depend on the colour and the weight of an item only: equal items have equal vectors."""

    columns = COLUMNS

    def __init__(self, artefact: Artefact) -> None:
        self.input_ID, self.output_ID = artefact.input_ID, artefact.output_ID
        self.encoded = 0

    def vectors(self, rows: Sequence[Mapping[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
        self.encoded += len(rows)
        found = [self._vector(row.get("colour"), row.get("weight")) for row in rows]
        return np.array([one[0] for one in found]), np.array([one[1] for one in found])

    def _vector(self, colour: str | None, weight: float | None) -> tuple[np.ndarray, np.ndarray]:
        if colour is None and weight is None:
            return np.zeros_like(self.input_ID[0]), np.zeros_like(self.output_ID[0])
        generator = np.random.default_rng([len(colour or ""), *(colour or "").encode(), int(weight or 0)])
        # as long as the others, so that the added items are neither always the best ones nor never
        return tuple(
            (
                generator.standard_normal(table_ID.shape[1])
                * np.linalg.norm(table_ID, axis=1).mean()
                / np.sqrt(table_ID.shape[1])
            ).astype(np.float32)
            for table_ID in (self.input_ID, self.output_ID)
        )  # type: ignore[return-value]


def reading_columns(shop: Recommender, warm: int = WARM) -> Recommender:
    """Return a recommender that reads `COLUMNS`, in which only the first items have training events."""
    other = copy(shop)
    catalogue = replace(shop.ranker.catalogue, warm=warm, scored=len(shop.artefact.items), content=COLUMNS)
    other._ranker = replace(shop.ranker, catalogue=catalogue)
    other._changer = ItemChanger(ColumnVectors(shop.artefact), open_index(shop.artefact), catalogue)
    return other


def in_one_table(shop: Recommender, items: Mapping[str, Mapping[str, Any]]) -> Recommender:
    """Return a recommender whose table has these items, new ones at its end, with the vectors of `ColumnVectors`."""
    artefact, ids = shop.artefact, shop.items.ids.tolist()
    new = [item_id for item_id in items if item_id not in ids]
    row_M = np.array([[*ids, *new].index(item_id) for item_id in items])
    vectors = ColumnVectors(artefact).vectors(list(items.values()))
    tensors = dict(artefact.tensors)
    for name, table_ID, vector_MD in zip(
        ("input", "output"), (artefact.input_ID, artefact.output_ID), vectors, strict=True
    ):
        table_ID = np.concatenate([table_ID, np.zeros((len(new), table_ID.shape[1]), np.float32)])
        table_ID[row_M] = vector_MD
        tensors[name] = table_ID
    if "transitions.start" in tensors:
        start = tensors["transitions.start"]
        tensors["transitions.start"] = np.append(start, np.full(len(new), start[-1]))
    names = [*artefact.items.column_names, *COLUMNS, "title", "available"]
    rows = [*artefact.items.to_pylist(), *({"item_id": item_id, "count": 0} for item_id in new)]
    for item_id, values in items.items():
        rows[[*ids, *new].index(item_id)] |= values
    table = pa.Table.from_pylist([{name: row.get(name) for name in names} for row in rows])
    sizes = {**artefact.metadata["sizes"], "scored": len(rows)}
    metadata = {**artefact.metadata, "sizes": sizes}
    return Recommender.of(replace(artefact, metadata=metadata, tensors=tensors, items=table))
