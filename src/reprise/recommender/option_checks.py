"""Checks of the options of a request: counts, flags and numbers."""

from math import isfinite
from numbers import Integral, Real

import numpy as np

from reprise.errors import ConfigError


def at_most(k: object, items: int) -> int:
    """Return the number of items to answer with: `k`, or all of them if there are fewer.

    Raises:
        ConfigError: `k` is not a whole number of at least 1.
    """
    return min(check_count("k", k), items)


def check_count(name: str, value: object, hint: str = "", smallest: int = 1) -> int:
    """Return a whole number; raise `ConfigError` if it is not one, or is below `smallest`."""
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise ConfigError(f"{name} must be a whole number, got {value!r}{hint}")
    if int(value) < smallest:
        raise ConfigError(f"{name} must be at least {smallest}, got {value!r}{hint}")
    return int(value)


def check_flag(name: str, value: object) -> bool:
    """Return a flag as a bool; raise `ConfigError` if it is not True or False."""
    if not isinstance(value, bool | np.bool_):
        raise ConfigError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def is_number(value: object) -> bool:
    """Return whether a value is a finite number; True and False are not."""
    return isinstance(value, Real) and not isinstance(value, bool) and isfinite(value)
