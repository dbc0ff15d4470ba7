"""Images and sounds: files that are decoded, turned into vectors by an encoder, and compressed."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from reprise.class_names import NAMES_CLASS, Trust
from reprise.config import spec
from reprise.content.column_spec import FitContext, Tensors, check_known
from reprise.content.columns.value_encoder import (
    BATCH,
    Batch,
    FittedEncodedColumn,
    fit_encoded,
    restore_encoded,
)
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
class Media(ABC):
    """Base class of the specs of columns of files; a subclass decodes a file."""

    column: str
    """Name of the column."""
    encoder: Annotated[str, NAMES_CLASS]
    """Class `module:Class` whose objects turn a list of decoded files into an array of vectors, such as
    `reprise.content:OnnxImageEncoder` or `reprise.content:OnnxAudioEncoder`."""
    root: str = "."
    """Directory of the files; the paths are relative to it and may not leave it."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Arguments of the encoder class by name."""
    size: Annotated[int, Field(ge=0)] = 128
    """Number of principal components to which wider vectors are compressed; 0: they are never compressed."""

    def __post_init__(self) -> None:
        if ":" not in self.encoder:
            raise ConfigError(
                f"encoder must be a class module:Class, got {self.encoder!r}; write for example "
                "reprise.content:OnnxImageEncoder"
            )

    @property
    @abstractmethod
    def kind(self) -> str:
        """What the values are, for a listing."""

    @abstractmethod
    def reader(self) -> Callable[[Path], Any]:
        """Return the function that decodes a file.

        Raises:
            ConfigError: The library that decodes the files is not installed.
        """

    def other_columns(self) -> tuple[str, ...]:
        """Return nothing: files depend on their own column only."""
        return ()

    def fit(self, context: FitContext) -> FittedEncodedColumn:
        """Encode the files of the warm items and fit the principal components of the vectors."""
        check_known(self.column, sum(bool(path.strip()) for path in context.rows.texts(self.column)))
        return fit_encoded(self, context.rows)

    def restore(self, state: Mapping[str, Any], tensors: Tensors, trusted: Trust) -> FittedEncodedColumn:
        """Create the fitted column from its parameters."""
        self.reader()  # a missing library is an error now, not at the first item
        return restore_encoded(self, state, tensors, trusted)

    def batches(self, rows: ItemRows) -> Iterator[Batch]:
        """Yield the rows with a readable file, in batches, each with its decoded file.

        Raises:
            DataError: More than 5 % of the files cannot be read; the message names the first ones.
        """
        read, root = self.reader(), Path(self.root)
        paths = {row: path.strip() for row, path in enumerate(rows.texts(self.column)) if path.strip()}
        unreadable: list[str] = []
        row_B: list[int] = []
        decoded: list[Any] = []
        for row, path in paths.items():
            try:
                decoded.append(read(resolve_path(root, path)))
                row_B.append(row)
            except (OSError, ValueError) as error:
                reason = getattr(error, "strerror", None) or error
                unreadable.append(f"{path} ({reason})")
            if len(row_B) == BATCH:
                yield row_B, decoded
                row_B, decoded = [], []
        self._report(unreadable, len(paths))
        if row_B:
            yield row_B, decoded

    def _report(self, unreadable: list[str], files: int) -> None:
        """Warn about unreadable files, or raise a DataError if there are too many."""
        count = len(unreadable)
        if not count:
            return
        more = f" and {count - EXAMPLES} more" if count > EXAMPLES else ""
        sentence = (
            f"column {self.column!r}: {count} of {files} files in {self.root!r} cannot be read: "
            f"{', '.join(unreadable[:EXAMPLES])}{more}"
        )
        if count > MAX_UNREADABLE * files:
            raise DataError(
                f"{sentence}; more than {MAX_UNREADABLE:.0%} is an error: check root, or leave the paths of these items empty"
            )
        warnings.warn(f"{sentence}; these items count as items without a file", stacklevel=2)


@spec
class Image(Media):
    """A column of paths of image files. An encoder turns images into vectors, which are compressed by PCA.

    The encoder gets a list of RGB arrays [H, W, 3], uint8.
    """

    @property
    def kind(self) -> str:
        """What the values are, for a listing."""
        return "images"

    def reader(self) -> Callable[[Path], Any]:
        """Return the function that decodes an image file."""
        image_library()
        return read_image


@spec
class Audio(Media):
    """A column of paths of sound files. An encoder turns sounds into vectors, which are compressed by PCA.

    The encoder gets a list of `Sound` (samples and sample rate).
    """

    seconds: Annotated[float, Field(gt=0)] = 30.0
    """Length that is read from the start of each file, in seconds."""

    @property
    def kind(self) -> str:
        """What the values are, for a listing."""
        return "sounds"

    def reader(self) -> Callable[[Path], Any]:
        """Return the function that decodes a sound file."""
        sound_library()
        return partial(read_sound, seconds=self.seconds)
