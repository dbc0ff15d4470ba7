"""Messages for invalid fields of a spec, from pydantic's errors: the field, the rule and the value."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from reprise.errors import did_you_mean, similar_name

_RULES: dict[str, str] = {
    "greater_than_equal": "at least {ge:g}",
    "greater_than": "above {gt:g}",
    "less_than_equal": "at most {le:g}",
    "less_than": "below {lt:g}",
    "finite_number": "a finite number",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_parsing": "a number",
    "float_type": "a number",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "string_type": "text",
    "literal_error": "{expected}",
    "tuple_type": "a list",
    "list_type": "a list",
    "dataclass_type": "of class {class_name}",
    "is_instance_of": "of class {class}",
}
_MISSING = ("missing", "missing_argument", "missing_keyword_only_argument")
_UNKNOWN = ("unexpected_keyword_argument", "extra_forbidden")


def explain(
    error: ValidationError, class_name: str, names: Sequence[str], path: str, renamed: Mapping[str, str]
) -> str:
    """Return one line for each fault that pydantic found: the field, the rule and the rejected value.

    Args:
        error: What pydantic raised.
        class_name: Name of the spec.
        names: Names of its fields, in order.
        path: Dotted path of the spec within the outer one, or "".
        renamed: Former field names and the current ones.
    """
    return "\n".join(
        _line(dict(fault), class_name, names, path, renamed) for fault in error.errors(include_url=False)
    )


def join_path(path: str, *keys: object) -> str:
    """Return a dotted path such as `training.epochs`; `path` may be empty. Positions in lists are counted from 1."""
    for key in keys:
        path = f"{path}, entry {key + 1}" if isinstance(key, int) else f"{path}.{key}" if path else str(key)
    return path


def _line(
    fault: dict[str, Any], class_name: str, names: Sequence[str], path: str, renamed: Mapping[str, str]
) -> str:
    kind, context = fault["type"], fault.get("ctx", {})
    first, *rest = fault["loc"] or ("",)
    first = names[first] if isinstance(first, int) and first < len(names) else first
    place = join_path(path, first, *rest) if first != "" else path
    if kind in _UNKNOWN:
        if not rest and first in renamed:
            return f"{place!r} is now called {join_path(path, renamed[first])!r}"
        known = [join_path(path, name) for name in names]
        return f"unknown field {place!r}" + ("" if rest else did_you_mean(place, known))
    if kind in _MISSING:
        return f"{place} is missing"
    if kind == "unexpected_positional_argument":
        return f"{class_name} takes {len(names)} fields at most, got {fault['input']!r} as well"
    if kind == "value_error":
        return f"{place}: {context['error']}" if place else str(context["error"])
    must_be = _RULES.get(kind)
    rule = (
        f"must be {must_be.format(**context)}"
        if must_be
        else fault["msg"].replace("Input should", "should", 1)
    )
    return f"{place} {rule}, got {fault['input']!r}{_nearest(fault['input'], context)}"


def _nearest(given: object, context: dict[str, Any]) -> str:
    """Return a suggestion for a misspelt choice, or "" if no choice is similar."""
    choices = re.findall(r"'([^']*)'", str(context.get("expected", "")))
    return similar_name(given, choices) if isinstance(given, str) else ""
