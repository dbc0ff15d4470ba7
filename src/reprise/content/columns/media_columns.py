"""Images and sounds: files that are decoded, turned into vectors by an encoder, and compressed.

Shape letters: M rows, F features.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from reprise.arrays import AnyArray, Float32Array
from reprise.class_names import NAMES_CLASS, Trust
from reprise.config import spec
from reprise.content.column_spec import FitContext, Tensors, check_known
from reprise.content.columns.value_encoder import BATCH, Batch, EncoderName, ValueEncoder, fit_encoder
from reprise.content.encoders.media_files import (
    image_library,
    read_image,
    read_sound,
    resolve_path,
    sound_library,
)
from reprise.content.item_rows import ItemRows
from reprise.errors import ConfigError, DataError

MAX_UNREADABLE = 0.05
"""Largest share of files that may be unreadable."""
EXAMPLES = 3
"""Number of unreadable files that a message names."""


@spec
class Image:
    """A column of paths of image files. An encoder turns images into vectors, which are compressed by PCA."""

    column: str
    """Name of the column."""
    encoder: Annotated[str, NAMES_CLASS]
    """Class `module:Class` whose objects turn a list of RGB arrays [H, W, 3], uint8, into an array of vectors, such as
    `reprise.content:OnnxImageEncoder` or `reprise.content:TimmImageEncoder`."""
    root: str = "."
    """Directory of the files; the paths are relative to it and may not leave it."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Arguments of the encoder class by name."""
    size: Annotated[int, Field(ge=0)] = 128
    """Number of principal components to which wider vectors are compressed; 0: they are never compressed."""

    def __post_init__(self) -> None:
        check_encoder(self.encoder)

    def other_columns(self) -> tuple[str, ...]:
        """Return nothing: images depend on their own column only."""
        return ()

    def reader(self) -> Callable[[Path], Any]:
        """Return the function that decodes a file."""
        image_library()
        return read_image

    def fit(self, context: FitContext) -> "FittedMedia":
        """Encode the images of the warm items and fit the compression of the vectors."""
        return _fit(self, context)

    def restore(self, state: Mapping[str, Any], tensors: Tensors, trusted: Trust) -> "FittedMedia":
        """Create the fitted column from its parameters."""
        return _restore(self, state, tensors, trusted)


@spec
class Audio:
    """A column of paths of sound files. An encoder turns sounds into vectors, which are compressed by PCA."""

    column: str
    """Name of the column."""
    encoder: Annotated[str, NAMES_CLASS]
    """Class `module:Class` whose objects turn a list of `Sound` (samples and sample rate) into an array of vectors, such as
    `reprise.content:OnnxAudioEncoder` or `reprise.content:TorchaudioEncoder`."""
    root: str = "."
    """Directory of the files; the paths are relative to it and may not leave it."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Arguments of the encoder class by name."""
    size: Annotated[int, Field(ge=0)] = 128
    """Number of principal components to which wider vectors are compressed; 0: they are never compressed."""
    seconds: Annotated[float, Field(gt=0)] = 30.0
    """Seconds that are read from the start of each file."""

    def __post_init__(self) -> None:
        check_encoder(self.encoder)

    def other_columns(self) -> tuple[str, ...]:
        """Return nothing: sounds depend on their own column only."""
        return ()

    def reader(self) -> Callable[[Path], Any]:
        """Return the function that decodes a file."""
        sound_library()
        return partial(read_sound, seconds=self.seconds)

    def fit(self, context: FitContext) -> "FittedMedia":
        """Encode the sounds of the warm items and fit the compression of the vectors."""
        return _fit(self, context)

    def restore(self, state: Mapping[str, Any], tensors: Tensors, trusted: Trust) -> "FittedMedia":
        """Create the fitted column from its parameters."""
        return _restore(self, state, tensors, trusted)


def check_encoder(name: str) -> None:
    """Check that the name of an encoder is that of a class.

    Raises:
        ConfigError: It is something else.
    """
    if ":" not in name:
        raise ConfigError(
            f"encoder must be a class module:Class, got {name!r}; write for example reprise.content:OnnxImageEncoder"
        )


def _fit(media: Image | Audio, context: FitContext) -> "FittedMedia":
    paths = context.rows.texts(media.column)
    check_known(media.column, sum(bool(path.strip()) for path in paths))
    files = MediaFiles(media, media.reader())
    encoder = EncoderName(media.encoder, media.options)
    encoded = fit_encoder(media.column, encoder, files.batches(paths), media.size)
    return FittedMedia(media, encoded, media.reader())


def _restore(media: Image | Audio, state: Any, tensors: Tensors, trusted: Trust) -> "FittedMedia":
    encoder = EncoderName(media.encoder, media.options)
    return FittedMedia(media, ValueEncoder.restore(encoder, state, tensors, trusted), media.reader())


@dataclass
class MediaFiles:
    """The files of some rows, and those that cannot be read."""

    media: Image | Audio
    """The spec of the column."""
    read: Callable[[Path], Any]
    """Function that decodes a file."""
    unreadable: list[str] = field(default_factory=list)
    """Paths that cannot be read, each with the reason."""

    def batches(self, paths: Sequence[str]) -> Iterator[Batch]:
        """Yield the decoded files in batches, with their rows. Rows without a path or a readable file are left out.

        Raises:
            DataError: More than 5 % of the files cannot be read; the message names the first ones.
        """
        row_N = [row for row, path in enumerate(paths) if path.strip()]
        row_B: list[int] = []
        decoded: list[Any] = []
        for row in row_N:
            try:
                decoded.append(self.read(resolve_path(Path(self.media.root), paths[row].strip())))
                row_B.append(row)
            except (OSError, ValueError) as error:
                reason = getattr(error, "strerror", None) or error
                self.unreadable.append(f"{paths[row]} ({reason})")
            if len(row_B) == BATCH:
                yield row_B, decoded
                row_B, decoded = [], []
        self._report(len(row_N))
        if row_B:
            yield row_B, decoded

    def _report(self, files: int) -> None:
        """Warn about unreadable files, or raise a DataError if there are too many."""
        count = len(self.unreadable)
        if not count:
            return
        more = f" and {count - EXAMPLES} more" if count > EXAMPLES else ""
        sentence = (
            f"column {self.media.column!r}: {count} of {files} files in {self.media.root!r} cannot be read: "
            f"{', '.join(self.unreadable[:EXAMPLES])}{more}"
        )
        if count > MAX_UNREADABLE * files:
            raise DataError(
                f"{sentence}; more than {MAX_UNREADABLE:.0%} is an error: check root, or leave the paths of these items empty"
            )
        warnings.warn(f"{sentence}; these items count as items without a file", stacklevel=2)


@dataclass(frozen=True, eq=False)
class FittedMedia:
    """A fitted column of images or sounds. Meets `FittedColumn`."""

    spec: Image | Audio
    """The spec."""
    encoded: ValueEncoder
    """The encoder and the compression of its vectors."""
    read: Callable[[Path], Any]
    """Function that decodes a file."""

    @property
    def width(self) -> int:
        """Number of features."""
        return self.encoded.compression.width

    @property
    def explained(self) -> float:
        """Share of the variance that the principal components explain."""
        return self.encoded.compression.explained

    def encode(self, rows: ItemRows) -> Float32Array:
        """Return the compressed vectors of the files, [M, F]; 0 for a file that cannot be read."""
        files = MediaFiles(self.spec, self.read)
        return self.encoded.encode(files.batches(rows.texts(self.spec.column)), len(rows))

    def state(self) -> dict[str, Any]:
        """Return the width of the vectors and the explained variance."""
        return self.encoded.state()

    def tensors(self) -> dict[str, AnyArray]:
        """Return the compression, and the files of the encoder."""
        return self.encoded.tensors()

    def describe(self) -> str:
        """Return the name of the encoder."""
        kind = "images" if isinstance(self.spec, Image) else "sounds"
        return f"{kind}, vectors of {self.spec.encoder}"
