"""Conditions on the columns of items: equal, one of, a range, none of.

Shape letters: I warm items.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from reprise.arrays import BoolArray
from reprise.errors import DataError, did_you_mean
from reprise.recommender.items.catalogue import Catalogue
from reprise.recommender.items.item_columns import HOLDS, Coded, NumericColumn

SEVERAL = (list, tuple, set, frozenset, np.ndarray)
RANGED = ("integer", "number", "time", "date", "nothing")
OPERATORS = ("min", "max", "not")


def passing(catalogue: Catalogue, conditions: Mapping[str, Any]) -> BoolArray | None:
    """Which items fulfil all conditions, [I]; None where there is no condition.

    An item without a value fulfils no condition on it. See `Recommender.recommend` for what a condition may be.

    Raises:
        DataError: a column is unknown, or a condition cannot be read or does not fit its column.
    """
    if not isinstance(conditions, Mapping):
        raise DataError(
            f'filter maps columns of the item table to conditions, got {conditions!r}; pass {{"category": "lamps"}}'
        )
    passed_I: BoolArray | None = None
    for name, condition in conditions.items():
        try:
            found_I = _mask(_column(catalogue, name), condition)[: catalogue.warm]
        except DataError as error:
            raise DataError(f"filter: {error}") from None
        passed_I = found_I if passed_I is None else passed_I & found_I
    return passed_I


def _column(catalogue: Catalogue, name: str) -> Coded:
    column = catalogue.column(name)
    if column is None:
        raise DataError(f"the items have no column {name!r}{_known(str(name), catalogue.columns)}")
    return column


def _known(name: str, columns: Iterable[str]) -> str:
    """The nearest column and all of them."""
    every = f"known: {', '.join(columns)}"
    near = did_you_mean(name, columns)
    return f"{near} ({every})" if near.startswith("; did you mean") else f"; {every}"


def _mask(column: Coded, condition: Any) -> BoolArray:
    if not isinstance(condition, Mapping):
        return _among(column, condition)
    if not condition:
        raise DataError(
            f"the condition on {column.name!r} is empty; give it {', '.join(OPERATORS)}, or leave it out"
        )
    for operator in condition:
        if operator not in OPERATORS:
            raise DataError(
                f"unknown operator {operator!r} on {column.name!r}{did_you_mean(str(operator), OPERATORS)}"
            )
    passed_I = column.known_I
    if "not" in condition:
        passed_I &= ~_among(column, condition["not"])
    ends = {name: condition[name] for name in ("min", "max") if name in condition}
    return passed_I & _between(column, ends) if ends else passed_I


def _among(column: Coded, condition: Any) -> BoolArray:
    values = list(condition) if isinstance(condition, SEVERAL) else [condition]
    for value in values:
        if value is None or isinstance(value, Mapping):
            raise DataError(
                f"{column.name!r} cannot be compared with {value!r}; pass a value or a list of values "
                "(an item without a value fulfils no condition)"
            )
    if column.kind == "nothing":
        return column.known_I
    return column.among(values)


def _between(column: Coded, ends: Mapping[str, Any]) -> BoolArray:
    if not isinstance(column, NumericColumn) or column.kind not in RANGED:
        raise DataError(
            f"{column.name!r} holds {HOLDS[column.kind]}, which has no range; pass a value or a list of values"
        )
    if column.kind == "nothing":
        return column.known_I
    least = column.number(ends["min"]) if "min" in ends else -np.inf
    most = column.number(ends["max"]) if "max" in ends else np.inf
    if least > most:
        raise DataError(
            f"the range of {column.name!r} is empty: min {ends['min']!r} is above max {ends['max']!r}; "
            "exchange them"
        )
    found_I: BoolArray = (column.value_I >= least) & (column.value_I <= most)
    return found_I
