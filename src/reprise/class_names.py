"""Names of classes in saved files: `module:Class`, the lookup of such a name, and names from before 0.1.0."""

import importlib
import importlib.util
import sys
from typing import Any, Literal

from reprise.errors import ConfigError, did_you_mean

PACKAGE = "reprise"
EXPORTING = ("data", "models", "training", "evaluation")
"""Packages to search for a class that a file from before 0.1.0 names as an attribute of `reprise` itself."""
Trust = bool | Literal["imported"]
"""Whether modules outside this package may be named: all, none, or those that the program has imported already."""
NAMES_CLASS = "the field names a class as `module:Class`, or a value without a colon"
"""Mark of the fields of a spec that may name a class outside this package, in files that are trusted."""
RENAMED_CLASSES = {"Transitions": "Cooccurrence"}
"""Class names in files from before 0.1.0 that have changed, mapped to the current names."""


def class_name(value: object) -> str:
    """Return the name `module:Class` of a class, or of the class of an object.

    The module is the outermost package that exports the class, so that saved names stay valid when modules move.
    """
    cls = value if isinstance(value, type) else type(value)
    return f"{_exporting_module(cls)}:{cls.__qualname__}"


def _exporting_module(cls: type) -> str:
    packages = cls.__module__.split(".")[:2] if cls.__module__.startswith(f"{PACKAGE}.") else []
    for depth in range(1, len(packages) + 1):
        name = ".".join(packages[:depth])
        if cls.__qualname__ in getattr(importlib.import_module(name), "__all__", ()):
            return name
    return cls.__module__


def check_trusted(name: str, trusted: Trust) -> None:
    """Check that a name `module:Class` may be imported. Importing a module runs its code.

    Args:
        name: Name of the class.
        trusted: Whether modules outside this package may be imported; "imported": only those that are imported already.

    Raises:
        ConfigError: The module lies outside the package and is not trusted.
    """
    module_name = name.partition(":")[0]
    is_own = module_name.partition(".")[0] == PACKAGE
    if not (is_own or trusted is True or (trusted == "imported" and module_name in sys.modules)):
        raise ConfigError(
            f"{name!r} lies outside the package {PACKAGE}, and importing it would run its code; "
            "if you trust it, pass trusted=True (on the command line: --trusted)"
        )


def resolve(name: str, *, trusted: Trust = False) -> Any:
    """Import the object that a name `module:Class` refers to, for instance `reprise:Recurrent`.

    Modules outside this package are refused unless the caller trusts them, see `check_trusted`.

    Raises:
        ConfigError: The name is malformed or unknown, the module is not trusted, or importing it raises an error.
    """
    module_name, colon, attribute = str(name).partition(":")
    if not (colon and attribute and all(part.isidentifier() for part in module_name.split("."))):
        raise ConfigError(
            f"{name!r} is not the name of a class; write module:Class, as in {PACKAGE}:Recurrent"
        )
    check_trusted(name, trusted)
    try:
        module = _import(module_name, name)
    except ConfigError:
        moved = _find_moved(module_name, attribute)
        if moved is None:
            raise
        return moved
    found = getattr(module, attribute, None) or _find_moved(module_name, attribute)
    if found is None:
        public = [known for known in dir(module) if not known.startswith("_")]
        raise ConfigError(f"module {module_name!r} has no {attribute!r}{did_you_mean(attribute, public)}")
    return found


def _find_moved(module_name: str, attribute: str) -> Any:
    """Return a public class that a file from before 0.1.0 names by another module or class name, or None.

    The module path no longer matters: a class is looked up among the public names of the package it was in, and
    a name at the top level among those of all exporting packages.
    """
    root, *path = module_name.split(".")
    if root != PACKAGE:
        return None
    packages = [PACKAGE, *(f"{PACKAGE}.{name}" for name in (path[:1] or EXPORTING))]
    if importlib.util.find_spec(packages[-1]) is None:
        return None
    attribute = RENAMED_CLASSES.get(attribute, attribute)
    for package in map(importlib.import_module, packages):
        if attribute in getattr(package, "__all__", ()):
            return getattr(package, attribute)
    return None


def _import(module_name: str, name: str) -> Any:
    own = module_name.partition(".")[0] == PACKAGE
    try:
        return importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # a module of a user may raise anything
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing and module_name.startswith(missing):
            remedy = "" if own else "; install it, or set PYTHONPATH to its directory"
            raise ConfigError(f"cannot find the module of {name!r} (no {missing!r}){remedy}") from None
        if own:
            raise
        raise ConfigError(
            f"the module {module_name!r} cannot be imported: {type(error).__name__}: {error}"
        ) from error
