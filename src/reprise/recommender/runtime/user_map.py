"""Attributes of users without torch: from values to the vector that the query reads.

Shape letters: B users, F features, D width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from reprise.arrays import AnyArray, Float32Array
from reprise.errors import ArtefactError

if TYPE_CHECKING:
    from reprise.content.fitted_content import FittedContent

USER = "user"
"""Name of the array of a state with the vectors of the users, [B, D]; the step leaves it as it is."""
WEIGHT = "weight"
FITTED = "fitted."
"""Names of the saved arrays: the map, and a prefix of those of the fitted content."""


@dataclass(frozen=True)
class UserMap:
    """How a network reads the attributes of users."""

    content: "FittedContent"
    """How attributes are encoded."""
    weight_FD: Float32Array
    """Map from features to vectors."""

    @classmethod
    def restore(
        cls, facts: Mapping[str, Any] | None, tensors: Mapping[str, AnyArray], initial: Mapping[str, AnyArray]
    ) -> "UserMap | None":
        """Return the map of a saved model, or None if its network reads no attributes.

        Raises:
            ArtefactError: The arrays do not fit the description or the state.
        """
        if facts is None:
            return None
        # imported here: it needs pydantic, and most models do without
        from reprise.content.fitted_content import FittedContent

        fitted = {
            name.removeprefix(FITTED): array for name, array in tensors.items() if name.startswith(FITTED)
        }
        content = FittedContent.restore(facts, fitted)
        weight = tensors.get(WEIGHT)
        state = initial.get(USER)
        if weight is None or state is None or weight.shape != (content.width, state.shape[-1]):
            raise ArtefactError(
                "the map of the attributes of users does not fit the model; export the model again"
            )
        return cls(content, weight)

    def vectors(self, attributes_B: Sequence[Mapping[str, Any]]) -> Float32Array:
        """Return the vectors of users with these attributes, [B, D].

        Raises:
            DataError: A value has a wrong type.
        """
        if not any(attributes_B):
            return np.zeros((len(attributes_B), self.weight_FD.shape[1]), dtype=np.float32)
        vector_BD: Float32Array = self.content.encode_values(attributes_B) @ self.weight_FD
        return vector_BD
