"""Vectors of items from their content, computed in NumPy: for items that the model was not trained on.

Shape letters: M items, F features, D width of the input vectors, D' = D + 1 width of the output vectors.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from reprise.arrays import AnyArray, Float32Array
from reprise.recommender.search.mmr import unit_vectors

if TYPE_CHECKING:
    from reprise.content.fitted_content import FittedContent

MAX_KEPT_FEATURES = 4_096
"""Maximum number of items whose features are kept for explanations."""


class SavedContent(Protocol):
    """The parts of a saved model that describe how it reads the content of items; `Artefact` has them."""

    @property
    def metadata(self) -> dict[str, Any]:
        """Description of the model; the entry `content` describes the fitted content."""
        ...

    @property
    def content(self) -> dict[str, AnyArray]:
        """Arrays of the fitted content."""
        ...

    @property
    def content_map(self) -> dict[str, AnyArray]:
        """Arrays of the map from features to vectors: `projection`, `popularity` and `numbers`."""
        ...


class ItemVectors(NamedTuple):
    """The vectors of M items."""

    input_MD: Float32Array
    """Input vectors, which the network reads at an event with the item, [M, D]."""
    output_MD: Float32Array
    """Output vectors, which are compared with queries, [M, D']; the last column is the bias."""


class ScoreParts(NamedTuple):
    """The product of a query and the output vector of an item as a sum of contributions."""

    columns: dict[str, float]
    """Contribution of each column in which the item has a value, by name of the column."""
    learned: float
    """Contribution of the learned vector; 0 for an item without a learned vector."""
    bias: float
    """Contribution of the bias b; 0 for an item with a learned vector."""


@dataclass(frozen=True, eq=False)
class ContentVectors:
    """The map from the columns of an item to its vectors: f W, and g f W / |f W| with the bias b + f w.

    It gives the same vectors as the trained network (`ContentEmbeddings`) gives items without a learned vector.
    """

    content: "FittedContent"
    """Encoder of the columns."""
    projection_FD: Float32Array
    """W: the map from features to input vectors."""
    popularity_F: Float32Array
    """w: weights of the features in the bias."""
    scale: float
    """g: factor of the output vectors."""
    bias: float
    """b: constant part of the bias."""
    unit: bool
    """Whether output vectors are normalised before the factor."""
    scored: bool
    """Whether items without a learned vector are recommended."""

    @classmethod
    def from_artefact(cls, artefact: SavedContent) -> "ContentVectors | None":
        """Return the map of a saved model; None if it does not read the content of items.

        Raises:
            ArtefactError: the content cannot be restored.
        """
        data = artefact.metadata.get("content")
        if data is None:
            return None
        # imported here: it needs pydantic, and most models do without
        from reprise.content.fitted_content import FittedContent

        numbers = artefact.content_map
        scale, bias, unit, scored = numbers["numbers"].tolist()
        return cls(
            FittedContent.restore(data, artefact.content),
            numbers["projection"],
            numbers["popularity"],
            scale,
            bias,
            bool(unit),
            bool(scored),
        )

    def vectors(self, rows: Sequence[Mapping[str, Any]]) -> ItemVectors:
        """Return the vectors of items given by their columns.

        Raises:
            DataError: a value has a wrong type.
        """
        return self.vectors_of(self.content.encode_values(rows))

    def vectors_of(self, feature_MF: Float32Array) -> ItemVectors:
        """Return the vectors of items given by their features."""
        input_MD: Float32Array = feature_MF @ self.projection_FD
        vector_MD = unit_vectors(input_MD) if self.unit else input_MD
        scored_M = self.content.is_described(feature_MF) & self.scored
        bias_M = np.where(scored_M, self.bias + feature_MF @ self.popularity_F, self.content.NO_CONTENT)
        output_MD = np.column_stack([vector_MD * (self.scale * scored_M)[:, None], bias_M])
        return ItemVectors(input_MD, output_MD.astype(np.float32))

    @cached_property
    def vector_columns(self) -> frozenset[str]:
        """Names of the columns whose values are vectors."""
        # imported here for the same reason as in `from_artefact`
        from reprise.content.columns.vector_column import Vector

        return frozenset(
            column.spec.column for column in self.content.columns if isinstance(column.spec, Vector)
        )

    def explained_features(
        self, rows: Sequence[Mapping[str, Any]], input_MD: Float32Array
    ) -> list[Float32Array]:
        """Return the features of items as M arrays of shape [F]. Items of earlier calls are not encoded again.

        Args:
            rows: Id and columns of each item.
            input_MD: Input vectors of the items. An item with another vector than in an earlier call is encoded again.

        Raises:
            DataError: a value has a wrong type, or a file that a column names cannot be read.
        """
        keys = [(row["item_id"], input_D.tobytes()) for row, input_D in zip(rows, input_MD, strict=True)]
        kept = {key: self._kept_features.get(key) for key in keys}  # `get`: another thread may clear them
        found = {key: feature_F for key, feature_F in kept.items() if feature_F is not None}
        missing = {key: row for key, row in zip(keys, rows, strict=True) if key not in found}
        if missing:
            encoded = dict(zip(missing, self.content.encode_values([*missing.values()]), strict=True))
            found |= encoded
            if len(self._kept_features) + len(encoded) > MAX_KEPT_FEATURES:
                self._kept_features.clear()
            self._kept_features.update(encoded)
        return [found[key] for key in keys]

    @cached_property
    def _kept_features(self) -> dict[tuple[Any, bytes], Float32Array]:
        """Features by id and input vector of the item."""
        return {}

    def score_parts(
        self,
        query_D: AnyArray,
        feature_F: Float32Array,
        input_D: Float32Array,
        output_D: Float32Array,
    ) -> ScoreParts:
        """Divide the product of a query and the output vector of an item into contributions, which sum to it.

        The input vector is the sum of f W and the learned vector e. The output vector is the input vector times a factor, with
        the bias as its last number. So the product is linear in the features, up to the factor.

        Args:
            query_D: The query, [D'].
            feature_F: Features from which the vectors were made.
            input_D: Input vector of the item.
            output_D: Output vector of the item, [D'].
        """
        factor = float(output_D[:-1] @ input_D) / max(float(input_D @ input_D), 1e-12)
        part_F = factor * feature_F * (self.projection_FD @ query_D[:-1])
        learned = factor * float(input_D @ query_D[:-1]) - float(part_F.sum())
        bias = float(output_D[-1] * query_D[-1])
        if factor and output_D[-1]:  # b + f w; the bias of an item with a learned vector is 0
            part_F = part_F + feature_F * self.popularity_F * query_D[-1]
            bias = self.bias * float(query_D[-1])
        columns = {
            block.column: float(part_F[block.first : block.last].sum())
            for block in self.content.blocks
            if feature_F[block.first : block.last].any()
        }
        return ScoreParts(columns, learned, bias)
