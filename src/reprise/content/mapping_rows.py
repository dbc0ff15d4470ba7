"""Rows of items given as mappings at run time, such as the JSON of a request, with a check of the type of each value.

Shape letters: M rows, W width of a vector.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from math import isnan
from numbers import Real
from typing import Any

import numpy as np

from reprise.argument_checks import shown
from reprise.arrays import Float32Array, Float64Array
from reprise.content.item_rows import ItemRows, WordForm, WordLists, word_of
from reprise.content.table_rows import ID, distinct_words, iso_to_ms
from reprise.errors import DataError

SCALAR = (str, Real, Decimal, np.bool_, datetime, date)
"""Types of a value that is a category."""
LISTS = (list, tuple, set, frozenset, np.ndarray)
"""Types of a value that is a list."""


class MappingRows(ItemRows):
    """Rows that are mappings from column to value. Keys that no column reads are ignored."""

    def __init__(self, rows: Sequence[Mapping[str, Any]]) -> None:
        for position, row in enumerate(rows, start=1):
            if not isinstance(row, Mapping):
                raise DataError(
                    f"item {position} must be a mapping from column to value, got {shown(row)}; pass {{'title': ...}}"
                )
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def texts(self, column: str) -> list[str]:
        def text(value: Any) -> str:
            if isinstance(value, list | tuple) and all(isinstance(part, str) for part in value):
                return " ".join(part for part in value if part)
            if not isinstance(value, str):
                raise _Wrong("text", "pass a text")
            return value

        found = dict(self._values(column, text))
        return [found.get(row, "") for row in range(len(self))]

    def numbers(self, column: str) -> Float64Array:
        def number(value: Any) -> float:
            if not isinstance(value, Real | Decimal | np.bool_):
                raise _Wrong("numbers", "pass a number")
            try:
                return float(value)
            except OverflowError:
                return np.nan  # a larger integer than float64 can hold

        number_M = self._floats(column, number)
        number_M[np.isinf(number_M)] = np.nan
        return number_M

    def times_ms(self, column: str, per_second: int) -> Float64Array:
        def time_ms(value: Any) -> float:
            if isinstance(value, str):
                return iso_to_ms(column, value.strip()) if value.strip() else np.nan
            if isinstance(value, datetime):
                return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp() * 1000
            if isinstance(value, date):
                return datetime(value.year, value.month, value.day, tzinfo=UTC).timestamp() * 1000
            if per_second and isinstance(value, Real) and not isinstance(value, bool):
                return float(value) * 1000 / per_second
            raise _Wrong("dates", "pass an ISO 8601 text, a datetime or a date")

        return self._floats(column, time_ms)

    def words(self, column: str, form: WordForm, separator: str) -> WordLists:
        def words(value: Any) -> list[Any]:
            if isinstance(value, LISTS) and form != "one":
                parts = list(value)
                if all(part is None or isinstance(part, SCALAR) for part in parts):
                    return parts
            elif isinstance(value, str) and form == "split":
                return value.split(separator)
            elif isinstance(value, SCALAR) and form != "list":
                return [value]
            if form == "list":
                raise _Wrong("lists of categories", "pass a list of texts or numbers")
            raise _Wrong("categories", "pass a text or a number" + " or a list of them" * (form == "split"))

        row_N: list[int] = []
        found: list[str] = []
        for row, parts in self._values(column, words):
            row_N += [row] * len(parts)
            found += map(word_of, parts)
        return distinct_words(np.array(row_N, np.int64), np.arange(len(found)), found)

    def vectors(self, column: str, width: int) -> Float32Array:
        def vector(value: Any) -> Float32Array:
            try:
                vector_W = np.asarray(value, dtype=np.float64)
            except (TypeError, ValueError):
                vector_W = np.zeros((0, 0))
            text = isinstance(value, list | tuple) and any(isinstance(part, str) for part in value)
            if vector_W.ndim != 1 or text:
                raise _Wrong("vectors", f"pass a list of {width} numbers")
            if len(vector_W) != width:
                raise _Wrong(f"vectors of {width} numbers", f"this one has {len(vector_W)}")
            with np.errstate(over="ignore"):
                short_W = vector_W.astype(np.float32)
            if not np.isfinite(short_W).all():
                raise _Wrong("vectors of finite numbers", "replace the numbers that are NaN or infinite")
            return short_W

        vector_MW = np.zeros((len(self), width), np.float32)
        for row, vector_W in self._values(column, vector):
            vector_MW[row] = vector_W
        return vector_MW

    def _floats(self, column: str, convert: Callable[[Any], float]) -> Float64Array:
        number_M = np.full(len(self), np.nan)
        for row, number in self._values(column, convert):
            number_M[row] = number
        return number_M

    def _values(self, column: str, convert: Callable[[Any], Any]) -> Iterator[tuple[int, Any]]:
        """Yield the row and the converted value of each row with a value; None and NaN are missing values."""
        for row, mapping in enumerate(self.rows):
            value = mapping.get(column)
            if value is None or (isinstance(value, float | np.floating) and isnan(value)):
                continue
            try:
                yield row, convert(value)
            except _Wrong as wrong:
                of_item = f" of item {mapping[ID]!r}" if ID in mapping else f" of item {row + 1}"
                raise DataError(
                    f"column {column!r}{of_item} must hold {wrong.expected}, got {shown(value)}; {wrong.remedy}"
                ) from None


class _Wrong(Exception):  # noqa: N818 - does not leave this module
    """A value of a wrong type: what the column holds, and the remedy."""

    def __init__(self, expected: str, remedy: str) -> None:
        super().__init__(expected)
        self.expected, self.remedy = expected, remedy
