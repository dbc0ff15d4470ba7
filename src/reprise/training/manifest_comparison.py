"""Comparison of manifests: what differs between a run or a search in a directory and a new one."""

from collections.abc import Iterator, Mapping
from typing import Any

from reprise.class_names import class_name, resolve
from reprise.config import CLASS, put_values, values_before
from reprise.errors import ConfigError


def with_current_names(data: Any) -> Any:
    """Return the dictionary of a spec from a file with the current names of its classes and fields.

    Fields that are missing stay missing, so that a run from before a field existed differs from a new run, unless the
    spec has a value for it (`values_before`). Classes from outside this package are not imported, since a comparison needs
    no code from a file; they keep their names.
    """
    if isinstance(data, list):
        return [with_current_names(item) for item in data]
    if not isinstance(data, Mapping):
        return data
    fields = {name: with_current_names(value) for name, value in data.items()}
    if CLASS not in fields:
        return fields
    try:
        cls = resolve(fields[CLASS])
    except ConfigError:
        return fields
    del fields[CLASS]
    return put_values({CLASS: class_name(cls)}, {**values_before(cls), **fields})


def differences(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Describe each value that differs between two manifests, as `dotted.name (old, now new)`.

    At the top level, keys that only `before` has are ignored: a manifest in a file holds more, such as the location of the
    dataset.
    """
    for key in {**(before if prefix else {}), **now}:
        old, value = before.get(key), now.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            yield from differences(old, value, f"{prefix}{key}.")
        elif old != value:
            yield f"{prefix}{key} ({old!r}, now {value!r})"
