"""Public names of a package, imported on first use, with a clear error if the libraries for training are missing."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import lazy_loader

from reprise.errors import MissingLibraryError

TRAINING_LIBRARIES = ("torch", "lightning_fabric", "onnx", "onnxscript", "jinja2", "markupsafe")
"""Modules that only the extra `train` installs. A saved model runs without them."""


def lazy_names(package: str, file: str) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Return `__getattr__`, `__dir__` and `__all__` for a package whose public names are listed in its `__init__.pyi`.

    Args:
        package: `__name__` of the package.
        file: `__file__` of the package.
    """
    load, names, public = lazy_loader.attach_stub(package, file)

    def load_name(name: str) -> Any:
        with missing_libraries():
            return load(name)

    return load_name, names, public


@contextmanager
def missing_libraries() -> Iterator[None]:
    """Replace the error of an import in the block by a `MissingLibraryError` if a library for training is missing.

    Raises:
        MissingLibraryError: one of `TRAINING_LIBRARIES` is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        if library not in TRAINING_LIBRARIES:
            raise
        raise MissingLibraryError(
            f"the library {library!r} is not installed; training, evaluation, reports and export need it: "
            'pip install "reprise[train]"'
        ) from error
