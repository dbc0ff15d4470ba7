"""Encoders named `module:Class`, whose objects turn a list of values into an array of vectors.

Shape letters: M values, W width of a vector.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from reprise.arrays import AnyArray, Float32Array
from reprise.class_names import PACKAGE, Trust, resolve
from reprise.content.column_spec import Tensors
from reprise.content.columns.linear_compression import VectorCompression, fit_compression
from reprise.errors import ConfigError, DataError

BATCH = 32
"""Number of values that an encoder gets together."""
STORED = "option."
"""Start of the names of arrays that hold the content of files of the encoder."""
OWN_ENCODERS = f"{PACKAGE}.content.encoders."
"""Start of the modules of this package that hold encoders."""
Batch = tuple[list[int], list[Any]]
"""Rows, and the decoded value of each."""


class EncoderName(NamedTuple):
    """The class of an encoder and the arguments that create it."""

    name: str
    """Name of the class, `module:Class`."""
    options: Mapping[str, Any]
    """Arguments by name."""

    def create(self, trusted: Trust) -> Any:
        """Return the object `Class(**options)`.

        Raises:
            ConfigError: The class cannot be found, is not trusted, or does not accept the options.
        """
        cls = resolve(self.name, trusted=trusted)
        module = getattr(cls, "__module__", "")
        # a saved model that is not trusted could otherwise call any function of this package
        is_foreign = module.split(".")[0] == PACKAGE and not module.startswith(OWN_ENCODERS)
        if not isinstance(cls, type) or is_foreign or "__call__" not in dir(cls):
            raise ConfigError(
                f"{self.name} is not an encoder: write a class whose objects are callable with a list of values"
            )
        try:
            return cls(**self.options)
        except TypeError as error:
            raise ConfigError(f"the encoder {self.name} cannot be created: {error}") from None


@dataclass(frozen=True, eq=False)
class ValueEncoder:
    """An encoder and the compression of its vectors."""

    name: str
    """Name of the encoder class."""
    encoder: Any
    """The encoder."""
    compression: VectorCompression
    """Principal components of its vectors."""

    def encode(self, batches: Iterable[Batch], rows: int) -> Float32Array:
        """Return the compressed vectors of values, [M, F]; 0 for rows that are in no batch."""
        vector_MW = np.zeros((rows, self.compression.given), np.float32)
        for row_B, values in batches:
            vector_BW = call_encoder(self.encoder, self.name, values)
            if vector_BW.shape[1] != self.compression.given:
                raise DataError(
                    f"the encoder {self.name} returns vectors of {vector_BW.shape[1]} numbers, but was fitted with "
                    f"{self.compression.given}; use the encoder of the training"
                )
            vector_MW[row_B] = vector_BW
        return self.compression.compress(vector_MW)

    def state(self) -> dict[str, Any]:
        """Return the parameters that are not arrays, as JSON values."""
        return self.compression.state()

    def tensors(self) -> dict[str, AnyArray]:
        """Return the parameters that are arrays, and the files that the encoder asks to store."""
        stored: dict[str, bytes] = getattr(self.encoder, "stored_options", dict)()
        files = {f"{STORED}{name}": np.frombuffer(content, np.uint8) for name, content in stored.items()}
        return {**self.compression.tensors(), **files}

    @classmethod
    def restore(cls, encoder: EncoderName, state: Any, tensors: Tensors, trusted: Trust) -> "ValueEncoder":
        """Create the encoder, from stored files if there are any, and the compression of its vectors."""
        files = {
            name.removeprefix(STORED): np.asarray(array, np.uint8).tobytes()
            for name, array in tensors.items()
            if name.startswith(STORED)
        }
        created = EncoderName(encoder.name, {**encoder.options, **files}).create(trusted)
        return cls(encoder.name, created, VectorCompression.restore(state, tensors))


def text_batches(texts: Sequence[str]) -> Iterable[Batch]:
    """Yield the texts that are not blank in batches, with their rows."""
    row_N = [row for row, text in enumerate(texts) if text.strip()]
    for start in range(0, len(row_N), BATCH):
        row_B = row_N[start : start + BATCH]
        yield row_B, [texts[row] for row in row_B]


def fit_encoder(column: str, encoder: EncoderName, batches: Iterable[Batch], size: int) -> ValueEncoder:
    """Encode the values of the warm items of a column and fit the compression of the vectors.

    Raises:
        DataError: The encoder does not return vectors, or only zeros.
    """
    created = encoder.create(trusted=True)  # the caller has named the class
    vectors = [call_encoder(created, encoder.name, values) for _, values in batches]
    if not any(part.any() for part in vectors):
        raise DataError(f"the encoder {encoder.name} returns only zeros for column {column!r}")
    if len({part.shape[1] for part in vectors}) > 1:
        raise DataError(f"the encoder {encoder.name} returns vectors of different widths")
    return ValueEncoder(encoder.name, created, fit_compression(vectors, size))


def call_encoder(encoder: Any, name: str, values: Sequence[Any]) -> Float32Array:
    """Return the vectors of values, [M, W].

    Raises:
        DataError: The encoder returns something else than one finite vector per value.
    """
    found = np.asarray(encoder(values))
    if found.ndim != 2 or found.dtype.kind not in "fiu" or len(found) != len(values):
        raise DataError(
            f"the encoder {name} must return an array of numbers with one row per value, got {found.dtype} "
            f"{list(found.shape)} for {len(values)} values"
        )
    vector_MW = found.astype(np.float32)
    wrong_M = ~np.isfinite(vector_MW).all(axis=1)
    if wrong_M.any():
        value = values[int(np.flatnonzero(wrong_M)[0])]
        shown = f" for {value!r}" if isinstance(value, str) else ""
        raise DataError(f"the encoder {name} returns NaN or infinite numbers{shown}")
    return vector_MW
