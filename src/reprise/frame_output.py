"""Data frames of pandas or polars, which are imported on first use."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Literal

from reprise.argument_checks import choice
from reprise.errors import MissingLibraryError

FrameLibrary = Literal["pandas", "polars"]
"""Library of a data frame."""


def frame_of(columns: Mapping[str, Any], library: FrameLibrary = "pandas") -> Any:
    """Return a data frame with the given columns.

    Args:
        columns: Sequences or arrays of values by name of the column, all of the same length.
        library: Library of the frame.

    Raises:
        ConfigError: the library is another one.
        MissingLibraryError: the library is not installed.
    """
    choice("library", library, ("pandas", "polars"))
    try:
        module = import_module(library)
    except ModuleNotFoundError:
        raise MissingLibraryError(
            f"a {library} frame needs {library}, which is not installed: pip install {library}"
        ) from None
    return module.DataFrame(dict(columns))
