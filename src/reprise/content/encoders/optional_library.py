"""Libraries that only some columns need: imported when an encoder is made, with a message that says how to install them."""

import importlib
from types import ModuleType

from reprise.errors import ConfigError


def import_library(name: str, purpose: str, install: str) -> ModuleType:
    """Import a library that is not a dependency of every installation.

    Args:
        name: Name of the module.
        purpose: What needs it, for the message.
        install: Argument of `pip install` that installs it.

    Raises:
        ConfigError: The library is missing, or cannot be loaded.
    """
    try:
        return importlib.import_module(name)
    except Exception as error:  # a library whose parts do not fit raises other errors than ImportError
        reason = "" if isinstance(error, ModuleNotFoundError) else f" ({type(error).__name__}: {error})"
        raise ConfigError(
            f"{purpose} needs the library {name!r}, which cannot be imported{reason}; run: pip install '{install}'"
        ) from None
