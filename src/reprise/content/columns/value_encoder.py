"""Columns whose values an encoder, a class `module:Class`, turns into vectors.

Shape letters: M values or rows, W width of a vector, F features.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from reprise.arrays import AnyArray, Float32Array
from reprise.class_names import PACKAGE, Trust, resolve
from reprise.content.column_spec import Tensors
from reprise.content.columns.linear_compression import VectorCompression, fit_compression
from reprise.content.item_rows import ItemRows
from reprise.errors import ConfigError, DataError

BATCH = 32
"""Number of values with which an encoder is called."""
STORED = "option."
"""Start of the names of arrays that hold the content of files of the encoder."""
OWN_ENCODERS = f"{PACKAGE}.content.encoders."
"""Start of the modules of this package that hold encoders."""
Batch = tuple[list[int], list[Any]]
"""Rows, and the decoded value of each."""


class EncoderSpec(Protocol):
    """A column spec that names an encoder and decodes the values for it."""

    @property
    def column(self) -> str:
        """Name of the column."""

    @property
    def encoder(self) -> str:
        """Name of the encoder class, `module:Class`."""

    @property
    def options(self) -> dict[str, Any]:
        """Arguments of the encoder class by name."""

    @property
    def size(self) -> int:
        """Number of principal components to which wider vectors are compressed."""

    @property
    def kind(self) -> str:
        """What the values are: text, images or sounds."""

    def batches(self, rows: ItemRows) -> Iterable[Batch]:
        """Yield the rows that have a value, in batches, each with its decoded value."""


def create_encoder(name: str, options: Mapping[str, Any], trusted: Trust) -> Any:
    """Return the encoder `Class(**options)`.

    Raises:
        ConfigError: The class cannot be found, is not trusted, or does not accept the options.
    """
    cls = resolve(name, trusted=trusted)
    module = getattr(cls, "__module__", "")
    # a saved model that is not trusted could otherwise call any function of this package
    is_foreign = module.split(".")[0] == PACKAGE and not module.startswith(OWN_ENCODERS)
    if not isinstance(cls, type) or is_foreign or "__call__" not in dir(cls):
        raise ConfigError(
            f"{name} is not an encoder: write a class whose objects are callable with a list of values"
        )
    try:
        return cls(**options)
    except TypeError as error:
        raise ConfigError(f"the encoder {name} cannot be created: {error}") from None


@dataclass(frozen=True, eq=False)
class FittedEncodedColumn:
    """A fitted column whose features are the compressed vectors of an encoder. Meets `FittedColumn`."""

    spec: EncoderSpec
    """The spec."""
    encoder: Any
    """The encoder."""
    compression: VectorCompression
    """Principal components of its vectors."""

    @property
    def width(self) -> int:
        """Number of features, F."""
        return self.compression.width

    @property
    def explained(self) -> float:
        """Share of the variance that the principal components explain."""
        return self.compression.explained

    def encode(self, rows: ItemRows) -> Float32Array:
        """Return the compressed vectors of the values, [M, F]; 0 for a row without a value."""
        vector_MW = np.zeros((len(rows), self.compression.given), np.float32)
        for row_B, values in self.spec.batches(rows):
            vector_BW = call_encoder(self.encoder, self.spec.encoder, values)
            if vector_BW.shape[1] != self.compression.given:
                raise DataError(
                    f"the encoder {self.spec.encoder} returns vectors of {vector_BW.shape[1]} numbers, but was fitted with "
                    f"{self.compression.given}; use the encoder of the training"
                )
            vector_MW[row_B] = vector_BW
        return self.compression.compress(vector_MW)

    def state(self) -> dict[str, Any]:
        """Return the width of the vectors and the explained variance."""
        return self.compression.state()

    def tensors(self) -> dict[str, AnyArray]:
        """Return the principal components, and the files that the encoder asks to store."""
        stored: dict[str, bytes] = getattr(self.encoder, "stored_options", dict)()
        files = {f"{STORED}{name}": np.frombuffer(content, np.uint8) for name, content in stored.items()}
        return {**self.compression.tensors(), **files}

    def describe(self) -> str:
        """Return the kind of the values and the name of the encoder."""
        return f"{self.spec.kind}, vectors of {self.spec.encoder}"


def fit_encoded(spec: EncoderSpec, rows: ItemRows) -> FittedEncodedColumn:
    """Encode the values of the warm items and fit the principal components of the vectors.

    Raises:
        DataError: The encoder does not return vectors, or only zeros.
    """
    encoder = create_encoder(spec.encoder, spec.options, trusted=True)  # the caller has named the class
    vectors = [call_encoder(encoder, spec.encoder, values) for _, values in spec.batches(rows)]
    if not any(part.any() for part in vectors):
        raise DataError(f"the encoder {spec.encoder} returns only zeros for column {spec.column!r}")
    if len({part.shape[1] for part in vectors}) > 1:
        raise DataError(f"the encoder {spec.encoder} returns vectors of different widths")
    return FittedEncodedColumn(spec, encoder, fit_compression(vectors, spec.size))


def restore_encoded(
    spec: EncoderSpec, state: Mapping[str, Any], tensors: Tensors, trusted: Trust
) -> FittedEncodedColumn:
    """Create the fitted column from its parameters, and the encoder from its stored files if there are any."""
    files = {
        name.removeprefix(STORED): np.asarray(array, np.uint8).tobytes()
        for name, array in tensors.items()
        if name.startswith(STORED)
    }
    encoder = create_encoder(spec.encoder, {**spec.options, **files}, trusted)
    return FittedEncodedColumn(spec, encoder, VectorCompression.restore(state, tensors))


def text_batches(texts: Sequence[str]) -> Iterator[Batch]:
    """Yield the texts that are not blank in batches, with their rows."""
    row_N = [row for row, text in enumerate(texts) if text.strip()]
    for start in range(0, len(row_N), BATCH):
        row_B = row_N[start : start + BATCH]
        yield row_B, [texts[row] for row in row_B]


def call_encoder(encoder: Any, name: str, values: Sequence[Any]) -> Float32Array:
    """Return the vector that an encoder computes for each value, [M, W].

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
