"""Columns of the item table that filters can test and callers can change: numbers as float64, text as dictionary codes.

Columns are immutable: a changed column is a new one. Dictionaries only grow.
Shape letters: I items, one row of the table each; N tested values.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from math import isfinite
from numbers import Integral, Real
from threading import Lock
from typing import Any

import numpy as np

from reprise.argument_checks import shown
from reprise.arrays import AnyArray, BoolArray
from reprise.data.io.arrow_columns import MAX_EXACT_INTEGER, Kind, Table, column_kind, encode_column, value_at
from reprise.errors import DataError

AVAILABLE, TITLE = "available", "title"
"""Columns with a meaning for recommendations: a boolean that excludes items, and the text of a title."""
MODEL_COLUMNS = ("item_id", "count")
"""Columns that belong to the model and cannot be changed."""

MICROSECOND = timedelta(microseconds=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MAX_COMPARISONS = 16
"""Number of values up to which a column is compared with each value; with more values, a lookup is faster."""
KIND_NAMES: dict[Kind, str] = {
    "text": "text", "integer": "integers", "number": "numbers", "boolean": "booleans (true or false)", "time": "times",
    "date": "dates", "nothing": "nothing", "other": "lists or structures",
}  # fmt: skip


class UnexpectedListError(DataError):
    """A list is given for a column that takes no lists. Whether a column takes lists depends on the model."""


@dataclass(frozen=True, eq=False)
class NumericColumn:
    """A column of numbers, booleans, times or dates."""

    name: str
    """Name of the column."""
    kind: Kind
    """Type of the values."""
    value_I: AnyArray
    """Values as float64, times and dates in microseconds since 1970; NaN for an item without a value."""

    @property
    def known_I(self) -> BoolArray:
        """Mask of the items with a value."""
        return ~np.isnan(self.value_I)

    def is_in(self, values: Iterable[Any]) -> BoolArray:
        """Return the mask of the items whose value is one of these."""
        numbers = sorted({self.number(value) for value in values})
        if len(numbers) <= MAX_COMPARISONS:
            mask_I = np.zeros(len(self.value_I), dtype=np.bool_)
            for number in numbers:
                mask_I |= self.value_I == number
            return mask_I
        sorted_N = np.array(numbers)
        position_I = np.searchsorted(sorted_N, self.value_I).clip(max=len(sorted_N) - 1)
        equal_I: BoolArray = sorted_N[position_I] == self.value_I
        return equal_I

    def value(self, row: int) -> Any:
        """Return the value of one row as a JSON value, times and dates in ISO 8601; None if there is no value."""
        number = float(self.value_I[row])
        if np.isnan(number):
            return None
        if self.kind in ("time", "date"):
            time = EPOCH + timedelta(microseconds=int(number))
            return time.date().isoformat() if self.kind == "date" else time.isoformat()
        return {"integer": int, "boolean": bool}.get(self.kind, float)(number)

    def number(self, value: Any) -> float:
        """Return a value as the column stores it.

        Raises:
            DataError: the value is of another type than the column.
        """
        if self.kind in ("time", "date"):
            return _microseconds(self.name, value)
        boolean = isinstance(value, bool | np.bool_)
        if boolean != (self.kind == "boolean") or not (boolean or isinstance(value, Real)):
            raise wrong_type(self.name, self.kind, value)
        number = (
            float(value)
            if boolean or abs(value) <= MAX_EXACT_INTEGER or not isinstance(value, Integral)
            else np.inf
        )
        if not isfinite(number):
            raise DataError(
                f"column {self.name!r} cannot be compared with {value!r}; pass a finite number, integers up to 2^53"
            )
        return number

    def with_values(self, values: Mapping[int, Any]) -> "NumericColumn":
        """Return the column with these values by row; None removes a value. A fraction turns integers into numbers."""
        given = [np.nan if value is None else self.number(value) for value in values.values()]
        whole = all(np.isnan(number) or number.is_integer() for number in given)
        if self.kind == "date" and any(number % 86_400_000_000 for number in given if not np.isnan(number)):
            raise DataError(f"column {self.name!r} holds dates, got a date with a time; pass the date alone")
        value_I = self.value_I.copy()
        value_I[list(values)] = given
        return replace(
            self, value_I=value_I, kind="number" if self.kind == "integer" and not whole else self.kind
        )


class Dictionary:
    """Text values and their codes. It only grows, so columns of several catalogues can share it between threads."""

    def __init__(self, texts: list[str]) -> None:
        self.texts = texts
        """Text of each code."""
        self._code: dict[str, int] | None = None
        self._lock = Lock()

    def find(self, text: str) -> int:
        """Return the code of a text, or -1 if it is not in the dictionary."""
        return self._codes().get(text, -1)

    def add(self, text: str) -> int:
        """Return the code of a text, after adding it if it is new."""
        codes = self._codes()
        with self._lock:
            if text not in codes:
                self.texts.append(text)
                codes[text] = len(self.texts) - 1
            return codes[text]

    def _codes(self) -> dict[str, int]:
        if self._code is None:
            with self._lock:
                if self._code is None:  # another thread may have made it while this one waited
                    self._code = {text: code for code, text in enumerate(self.texts)}
        return self._code


@dataclass(frozen=True, eq=False)
class TextColumn:
    """A column of text."""

    name: str
    """Name of the column."""
    code_I: AnyArray
    """Codes of the dictionary, int32; -1 for an item without a value."""
    dictionary: Dictionary
    """Texts of the codes; may contain texts that no item has."""

    kind: Kind = "text"
    """Type of the values."""

    @property
    def known_I(self) -> BoolArray:
        """Mask of the items with a value."""
        known_I: BoolArray = self.code_I >= 0
        return known_I

    def is_in(self, values: Iterable[Any]) -> BoolArray:
        """Return the mask of the items whose value is one of these."""
        codes = {self.dictionary.find(self._text(value)) for value in values} - {-1}
        if len(codes) <= MAX_COMPARISONS:
            mask_I = np.zeros(len(self.code_I), dtype=np.bool_)
            for code in codes:
                mask_I |= self.code_I == code
            return mask_I
        # one more entry at the end, False, for the code -1 of an item without a value
        is_tested_N = np.zeros(len(self.dictionary.texts) + 1, dtype=np.bool_)
        is_tested_N[list(codes)] = True
        tested_I: BoolArray = is_tested_N[self.code_I]
        return tested_I

    def value(self, row: int) -> Any:
        """Return the text of one row, or None if there is no value."""
        code = int(self.code_I[row])
        return None if code < 0 else self.dictionary.texts[code]

    def with_values(self, values: Mapping[int, Any]) -> "TextColumn":
        """Return the column with these values by row; None removes a value."""
        texts = [None if value is None else self._text(value) for value in values.values()]
        column = self._compact() if len(self.dictionary.texts) > 2 * len(self.code_I) else self
        code_I = column.code_I.copy()
        code_I[list(values)] = [-1 if text is None else column.dictionary.add(text) for text in texts]
        return replace(column, code_I=code_I)

    def _compact(self) -> "TextColumn":
        """Return the column without unused texts, so that memory does not grow with the number of changes."""
        used, back_I = np.unique(self.code_I, return_inverse=True)
        absent = int((used < 0).any())
        texts = [self.dictionary.texts[code] for code in used[absent:].tolist()]
        return replace(self, code_I=(back_I - absent).astype(np.int32), dictionary=Dictionary(texts))

    def _text(self, value: Any) -> str:
        if not isinstance(value, str):
            raise wrong_type(self.name, "text", value)
        return value


TypedColumn = NumericColumn | TextColumn


def read_column(table: Table, name: str) -> TypedColumn:
    """Return a column of the item table as arrays.

    Raises:
        DataError: the column holds values that cannot be compared.
    """
    kind = column_kind(table, name)
    if kind == "other":
        raise DataError(
            f"column {name!r} of the item table holds {KIND_NAMES[kind]}, which cannot be compared or changed; "
            "use another column"
        )
    if kind == "text" or (name == TITLE and kind != "nothing"):
        code_I, texts = encode_column(table, name, "text")
        column: TypedColumn = TextColumn(name, code_I, Dictionary(texts))
    else:
        column = NumericColumn(name, kind, encode_column(table, name, kind).value_I)
    return (_as_boolean(column) or column) if name == AVAILABLE else column


def stored_value(table: Table, name: str, row: int) -> Any:
    """Return one value of the table as a JSON value, without loading the whole column."""
    kind = column_kind(table, name)
    if kind in ("number", "time", "date"):
        return NumericColumn(name, kind, encode_column(table.slice(row, 1), name, kind).value_I).value(0)
    return _json_value(value_at(table, name, row))


def new_column(name: str, rows: int, value: Any) -> TypedColumn:
    """Return a column without values, whose type is that of `value`.

    Raises:
        DataError: no column can hold the value.
    """
    if name == AVAILABLE and not isinstance(value, bool | np.bool_):
        raise wrong_type(name, "boolean", value)
    if name == TITLE or isinstance(value, str):
        return TextColumn(name, np.full(rows, -1, dtype=np.int32), Dictionary([]))
    kinds: list[tuple[type, Kind]] = [
        (bool, "boolean"), (np.bool_, "boolean"), (Integral, "integer"), (Real, "number"), (datetime, "time"), (date, "date"),
    ]  # fmt: skip
    for kind, column in kinds:
        if isinstance(value, kind):
            return NumericColumn(name, column, np.full(rows, np.nan))
    raise DataError(
        f"column {name!r} cannot hold {value!r}; pass text, a number, true, false, a time, or None for no value"
    )


def checked_list(name: str, value: Any) -> list[Any] | None:
    """Return a list of texts or of finite numbers as a Python list, for a column that holds lists; None stays None.

    Raises:
        DataError: the value is neither a list of texts, nor a list of finite numbers, nor None.
    """
    if value is None:
        return None
    parts = list(value) if isinstance(value, list | tuple | np.ndarray) else [None]
    texts = all(isinstance(part, str) for part in parts)
    numbers = all(isinstance(part, Real) and not isinstance(part, bool) and isfinite(part) for part in parts)
    if not (texts or numbers):
        raise DataError(
            f"column {name!r} holds lists, got {shown(value)}; pass a list of texts or a list of finite numbers"
        )
    return parts


def wrong_type(name: str, kind: Kind, value: Any) -> DataError:
    """Return the error for a value of another type than the column."""
    hint = (
        f"pass {str(value)!r}" if kind == "text" and isinstance(value, Real) else "pass a value of that type"
    )
    return DataError(f"column {name!r} holds {KIND_NAMES[kind]}, got {value!r}; {hint}")


def _as_boolean(column: TypedColumn) -> NumericColumn | None:
    """Return a column of 0 and 1, or of the texts `true` and `false`, as booleans; None if it holds anything else."""
    if isinstance(column, NumericColumn):
        only_0_and_1 = column.kind in ("integer", "number", "boolean") and bool(
            np.isin(column.value_I[column.known_I], (0, 1)).all()
        )
        return replace(column, kind="boolean") if only_0_and_1 else None
    number_of = {"false": 0.0, "true": 1.0}
    numbers = [number_of.get(text.lower(), np.nan) for text in column.dictionary.texts]
    if np.isnan(numbers).any():
        return None
    # the NaN at the end is the value of the code -1
    return NumericColumn(column.name, "boolean", np.array([*numbers, np.nan])[column.code_I])


def _microseconds(name: str, value: Any) -> float:
    if isinstance(value, str):
        value = _parsed(name, value)
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise DataError(
                f"column {name!r} holds times, and {value} has no time zone; write its offset, as in {value}+00:00"
            )
        return float((value - EPOCH) // MICROSECOND)
    if isinstance(value, date):
        return float((value - EPOCH.date()) // MICROSECOND)
    raise DataError(
        f"column {name!r} holds times, got {value!r}; pass an ISO 8601 string, a datetime or a date"
    )


def _parsed(name: str, text: str) -> date:
    for form in (date, datetime):
        try:
            return form.fromisoformat(text)
        except ValueError:
            continue
    raise DataError(
        f"column {name!r} holds times, and {text!r} is not ISO 8601; write 2024-03-01 or 2024-03-01T10:00:00+00:00"
    )


def _json_value(value: Any) -> Any:
    """Return a value of an Arrow table as a JSON value."""
    if isinstance(value, Mapping):
        return {str(name): _json_value(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_json_value(part) for part in value]
    if isinstance(value, float):
        return value if isfinite(value) else None
    return value if value is None or isinstance(value, str | int) else str(value)
