"""Checks of arguments: each returns the value in its normal type, or raises an error that names the argument and the value."""

import math
import operator
import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, SupportsFloat, TypeVar

from reprise.errors import ConfigError, similar_name

MAX_WHOLE = 2**31 - 1
"""Default upper limit of whole numbers: the largest signed 32-bit integer."""
T = TypeVar("T")


def whole(name: str, value: Any, low: int = 1, high: float = MAX_WHOLE, remedy: str = "") -> int:
    """Return a whole number between two limits, NumPy's included; True and False are not numbers.

    Args:
        name: Name of the argument.
        value: Its value.
        low: Smallest accepted number.
        high: Largest accepted number; infinity: there is no limit.
        remedy: What to pass instead, for the message.

    Raises:
        ConfigError: The value is something else.
    """
    try:
        number = operator.index(value) if not _is_flag(value) else None
    except TypeError:
        number = None
    end = f"; {remedy}" if remedy else ""
    if number is None:
        raise ConfigError(f"{name} must be a whole number, got {shown(value)}{end}")
    if not low <= number <= high:
        limit = f"at least {low}" if number < low else f"at most {high:,}"
        raise ConfigError(f"{name} must be {limit}, got {shown(number)}{end}")
    return number


def number(name: str, value: Any) -> float:
    """Return a finite number.

    Raises:
        ConfigError: The value is something else.
    """
    if _is_flag(value) or isinstance(value, str | bytes) or not isinstance(value, SupportsFloat):
        raise ConfigError(f"{name} must be a number, got {shown(value)}")
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        raise ConfigError(f"{name} must be a number, got {shown(value)}") from None
    if not math.isfinite(found):
        raise ConfigError(f"{name} must be a finite number, got {found}")
    return found


def flag(name: str, value: Any) -> bool:
    """Return True or False.

    Raises:
        ConfigError: The value is something else.
    """
    if not _is_flag(value):
        raise ConfigError(f"{name} must be True or False, got {shown(value)}")
    return bool(value)


def choice(name: str, value: Any, choices: Collection[str]) -> str:
    """Return a text that is one of several; `choices` has two or more.

    Raises:
        ConfigError: The value is something else.
    """
    if not isinstance(value, str) or value not in choices:
        *others, last = map(repr, choices)
        hint = similar_name(value, choices) if isinstance(value, str) else ""
        raise ConfigError(f"{name} must be {', '.join(others)} or {last}, got {shown(value)}{hint}")
    return value


def listed(name: str, value: Iterable[T], content: str) -> list[T]:
    """Return the elements of a list, an array or another iterable. Text and mappings are not lists.

    Args:
        name: Name of the argument.
        value: Its value.
        content: What the list contains, for the message, such as "Report objects".

    Raises:
        ConfigError: The value is something else.
    """
    is_list = isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping)
    if not is_list or getattr(value, "ndim", 1) == 0:
        raise ConfigError(f"{name} must be a list of {content}, got {shown(value)}")
    return list(value)


def instance(name: str, value: Any, cls: type[T], remedy: str) -> T:
    """Return an object of a class.

    Args:
        name: Name of the argument.
        value: Its value.
        cls: The class.
        remedy: How to get such an object, for the message.

    Raises:
        ConfigError: The value is something else.
    """
    if not isinstance(value, cls):
        raise ConfigError(f"{name} must be a {cls.__name__}, got {shown(value)}; {remedy}")
    return value


def mapping(name: str, value: Any, remedy: str) -> Mapping[str, Any]:
    """Return a mapping, such as a dictionary.

    Args:
        name: Name of the argument.
        value: Its value.
        remedy: What to pass instead, for the message.

    Raises:
        ConfigError: The value is something else.
    """
    if not isinstance(value, Mapping):
        raise ConfigError(f"{name} must be a mapping, got {shown(value)}; {remedy}")
    return value


def file_path(name: str, value: Any) -> Path:
    """Return a path of the file system.

    Raises:
        ConfigError: The value is not a path, is empty, or has a character that a path cannot have.
    """
    if not isinstance(value, str | os.PathLike) or not isinstance(text := os.fspath(value), str):
        raise ConfigError(f"{name} must be a path, got {shown(value)}")
    try:
        encoded = os.fsencode(text)
    except UnicodeEncodeError:
        encoded = b""
    if not encoded or b"\0" in encoded:
        raise ConfigError(f"{name} must be the path of a file or directory, got {text!r}")
    return Path(text)


def shown(value: Any) -> str:
    """Return the text of a value for a message; a long text is cut and followed by the type."""
    try:
        text = repr(value)
    except Exception:  # the class of a caller may have a fault
        text = f"an object of type {type(value).__name__}"
    text = " ".join(text.split())
    return text if len(text) <= 80 else f"{text[:60]}... of type {type(value).__name__}"


def _is_flag(value: Any) -> bool:
    # the names are those of NumPy's type, which is not imported here
    return isinstance(value, bool) or type(value).__name__ in ("bool", "bool_")
