"""Names of classes in saved files: `module:Class`, the lookup of such a name, and names from before 0.1.0."""

import importlib
import importlib.util
from typing import Any

from reprise.errors import ConfigError, did_you_mean

PACKAGE = "reprise"
EXPORTING = ("data", "models", "training", "evaluation")
"""Packages to search for a class that a file from before 0.1.0 names as an attribute of `reprise` itself."""
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


def resolve(name: str, *, trusted: bool = False) -> Any:
    """Import the object that a name `module:Class` refers to, for instance `reprise:Recurrent`.

    Importing a module runs its code, so modules outside this package are refused unless the caller trusts them.

    Raises:
        ConfigError: The name is malformed or unknown, or it lies outside the package and not trusted.
    """
    module_name, colon, attribute = str(name).partition(":")
    if not (colon and attribute and all(part.isidentifier() for part in module_name.split("."))):
        raise ConfigError(
            f"{name!r} is not the name of a class; write module:Class, as in {PACKAGE}:Recurrent"
        )
    if not trusted and module_name.partition(".")[0] != PACKAGE:
        raise ConfigError(
            f"{name!r} lies outside the package {PACKAGE}, and importing it would run its code; "
            "if you trust it, pass trusted=True (on the command line: --trusted)"
        )
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
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        # a module that exists but cannot import one of its own dependencies keeps its own, more precise error
        if not error.name or not module_name.startswith(error.name):
            raise
        own = module_name.partition(".")[0] == PACKAGE
        remedy = "" if own else "; install it, or set PYTHONPATH to its directory"
        raise ConfigError(f"cannot find the module of {name!r} (no {error.name!r}){remedy}") from None
