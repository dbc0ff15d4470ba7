"""Conditions on columns of the item table: equal, one of several values, within a range, none of several values.

Shape letters: I items.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from reprise.argument_checks import shown
from reprise.arrays import BoolArray
from reprise.errors import DataError, did_you_mean
from reprise.recommender.items.catalogue import Catalogue
from reprise.recommender.items.item_columns import KIND_NAMES, NumericColumn, TypedColumn

LIST_TYPES = (list, tuple, set, frozenset, np.ndarray)
"""Types of conditions that list several values."""
ORDERED_KINDS = ("integer", "number", "time", "date", "nothing")
"""Kinds of columns that a range can be given for."""
OPERATORS = ("min", "max", "not")


def matching_items(catalogue: Catalogue, conditions: Mapping[str, Any]) -> BoolArray | None:
    """Return the mask [I] of the items that meet all conditions; None if there are no conditions.

    An item without a value in a column meets no condition on it. `Recommender.recommend` describes the conditions.

    Raises:
        DataError: a column is unknown, or a condition cannot be read or does not fit its column.
    """
    if not isinstance(conditions, Mapping):
        raise DataError(
            f'a filter maps columns of the item table to conditions, got {shown(conditions)}; pass {{"category": "lamps"}}'
        )
    matching_I: BoolArray | None = None
    for name, condition in conditions.items():
        try:
            in_table, added = _column(catalogue, name)
            mask_I = np.append(_mask(in_table, condition)[: catalogue.scored], _mask(added, condition))
        except DataError as error:
            raise DataError(f"filter: {error}") from None
        matching_I = mask_I if matching_I is None else matching_I & mask_I
    return matching_I


def _column(catalogue: Catalogue, name: str) -> tuple[TypedColumn, TypedColumn]:
    parts = catalogue.column_parts(name)
    if parts is None:
        raise DataError(f"the items have no column {name!r}{_known_columns(str(name), catalogue.columns)}")
    return parts


def _known_columns(name: str, columns: Iterable[str]) -> str:
    """Return a hint that names the most similar column, if one is similar, and all columns."""
    known = f"known: {', '.join(columns)}"
    hint = did_you_mean(name, columns)
    return f"{hint} ({known})" if hint.startswith("; did you mean") else f"; {known}"


def _mask(column: TypedColumn, condition: Any) -> BoolArray:
    if not isinstance(condition, Mapping):
        return _is_in(column, condition)
    if not condition:
        raise DataError(
            f"the condition on {column.name!r} is empty; set {', '.join(OPERATORS)}, or leave out the condition"
        )
    for operator in condition:
        if operator not in OPERATORS:
            raise DataError(
                f"unknown operator {operator!r} on {column.name!r}{did_you_mean(str(operator), OPERATORS)}"
            )
    mask_I = column.known_I
    if "not" in condition:
        mask_I &= ~_is_in(column, condition["not"])
    ends = {name: condition[name] for name in ("min", "max") if name in condition}
    return mask_I & _in_range(column, ends) if ends else mask_I


def _is_in(column: TypedColumn, condition: Any) -> BoolArray:
    values = list(condition) if isinstance(condition, LIST_TYPES) else [condition]
    for value in values:
        if value is None or isinstance(value, Mapping):
            raise DataError(
                f"{column.name!r} cannot be compared with {value!r}; pass a value or a list of values "
                "(an item without a value meets no condition)"
            )
    if column.kind == "nothing":
        return column.known_I
    return column.is_in(values)


def _in_range(column: TypedColumn, ends: Mapping[str, Any]) -> BoolArray:
    if not isinstance(column, NumericColumn) or column.kind not in ORDERED_KINDS:
        raise DataError(
            f"{column.name!r} holds {KIND_NAMES[column.kind]}, for which min and max are not defined; "
            "pass a value or a list of values"
        )
    if column.kind == "nothing":
        return column.known_I
    low = column.number(ends["min"]) if "min" in ends else -np.inf
    high = column.number(ends["max"]) if "max" in ends else np.inf
    if low > high:
        raise DataError(
            f"the range of {column.name!r} is empty: min {ends['min']!r} is above max {ends['max']!r}; swap them"
        )
    mask_I: BoolArray = (column.value_I >= low) & (column.value_I <= high)
    return mask_I
