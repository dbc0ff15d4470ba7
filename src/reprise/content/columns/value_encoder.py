"""Encoders named `module:Class`, whose objects turn a list of values into an array of vectors.

Shape letters: M values, W width of a vector.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from reprise.arrays import AnyArray, Float32Array
from reprise.class_names import Trust, resolve
from reprise.content.column_spec import Tensors
from reprise.content.columns.linear_compression import VectorCompression, fit_compression
from reprise.errors import ConfigError, DataError

BATCH = 256
"""Number of values that an encoder gets together."""


def make_encoder(name: str, options: Mapping[str, Any], trusted: Trust) -> Any:
    """Return the object `Class(**options)` of a name `module:Class`.

    Raises:
        ConfigError: The class cannot be found, is not trusted, or does not accept the options.
    """
    cls = resolve(name, trusted=trusted)
    try:
        encoder = cls(**options)
    except TypeError as error:
        raise ConfigError(f"the encoder {name} cannot be created with {dict(options)}: {error}") from None
    if not callable(encoder):
        raise ConfigError(f"{name} is not an encoder: its objects must be callable with a list of values")
    return encoder


def encode_values(encoder: Any, name: str, values: Sequence[str]) -> Float32Array:
    """Return the vectors of values, [M, W].

    Raises:
        DataError: The encoder returns something else than one finite vector per value.
    """
    vectors = [np.asarray(encoder(values[at : at + BATCH])) for at in range(0, len(values), BATCH)]
    fits = all(part.ndim == 2 and part.dtype.kind in "fiu" for part in vectors)
    if not fits or sum(map(len, vectors)) != len(values) or len({part.shape[1] for part in vectors}) > 1:
        shapes = ", ".join(f"{part.dtype}{list(part.shape)}" for part in vectors[:3])
        raise DataError(
            f"the encoder {name} must return an array of numbers with one row per value, got {shapes}"
        )
    vector_MW = np.concatenate(vectors).astype(np.float32)
    if not np.isfinite(vector_MW).all():
        row = int(np.flatnonzero(~np.isfinite(vector_MW).all(axis=1))[0])
        raise DataError(f"the encoder {name} returns NaN or infinite numbers for {values[row]!r}")
    return vector_MW


@dataclass(frozen=True, eq=False)
class EncodedValues:
    """An encoder and the compression of its vectors."""

    name: str
    """Name of the encoder class."""
    encoder: Any
    """The encoder."""
    compression: VectorCompression
    """Principal components of its vectors."""

    def encode(self, values: Sequence[str]) -> Float32Array:
        """Return the compressed vectors of values; 0 for a blank value."""
        known = [row for row, value in enumerate(values) if value.strip()]
        vector_MW = np.zeros((len(values), self.compression.given), np.float32)
        if known:
            found = encode_values(self.encoder, self.name, [values[row] for row in known])
            if found.shape[1] != self.compression.given:
                raise DataError(
                    f"the encoder {self.name} returns vectors of {found.shape[1]} numbers, but was fitted with "
                    f"{self.compression.given}; use the encoder of the training"
                )
            vector_MW[known] = found
        return self.compression.compress(vector_MW)

    def state(self) -> dict[str, Any]:
        """Return the parameters that are not arrays, as JSON values."""
        return self.compression.state()

    def tensors(self) -> dict[str, AnyArray]:
        """Return the parameters that are arrays."""
        return self.compression.tensors()

    @classmethod
    def restore(
        cls, name: str, options: Mapping[str, Any], state: Any, tensors: Tensors, trusted: Trust
    ) -> "EncodedValues":
        """Create the encoder and the compression of its vectors."""
        return cls(name, make_encoder(name, options, trusted), VectorCompression.restore(state, tensors))


def fit_encoded(
    column: str, name: str, options: Mapping[str, Any], values: Sequence[str], size: int
) -> EncodedValues:
    """Encode the values of the warm items of a column and fit the compression of the vectors."""
    encoder = make_encoder(name, options, trusted=True)  # the caller has named the class
    vector_MW = encode_values(encoder, name, values)
    if not vector_MW.any():
        raise DataError(f"the encoder {name} returns only zeros for column {column!r}")
    return EncodedValues(name, encoder, fit_compression([vector_MW], size))
