"""The rows of some items, read column by column in a form that does not depend on where they come from.

Shape letters: M rows, N words of all rows, W width of a vector.
"""

from datetime import date, datetime
from decimal import Decimal
from math import isfinite
from numbers import Integral, Real
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

from reprise.arrays import Float32Array, Float64Array, Int64Array

WordForm = Literal["one", "list", "split"]
"""How a column holds categories: one value a row, a list of values, or text with a separator."""


class WordLists(NamedTuple):
    """The categories of each row."""

    row_N: Int64Array
    """Row of each word, ascending."""
    code_N: Int64Array
    """Position of each word in `words`."""
    words: list[str]
    """Distinct words."""


class ItemRows(Protocol):
    """Rows of items. A column that does not exist has no values."""

    def __len__(self) -> int:
        """Return the number of rows, M."""

    def texts(self, column: str) -> list[str]:
        """Return the text of each row, "" if it has none."""

    def numbers(self, column: str) -> Float64Array:
        """Return the number of each row, [M], NaN if it has none."""

    def times_ms(self, column: str, per_second: int) -> Float64Array:
        """Return the time of each row in milliseconds since 1970, [M], NaN if it has none.

        `per_second` is the unit of times that are numbers; 0 if times are dates or text.
        """

    def words(self, column: str, form: WordForm, separator: str) -> WordLists:
        """Return the categories of each row."""

    def vectors(self, column: str, width: int) -> Float32Array:
        """Return the vector of each row, [M, W], 0 if it has none; `width` is W, or 0 for the width of the first."""


def word_of(value: Any) -> str:
    """Return a value as a category; "" if it is missing. A whole number is written without a fraction."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, Integral):
        return str(int(value))
    if isinstance(value, Real | Decimal):
        number = float(value)
        if not isfinite(number):
            return ""
        return str(int(number)) if number.is_integer() else repr(number)
    return value.isoformat() if isinstance(value, datetime | date) else str(value).strip()
