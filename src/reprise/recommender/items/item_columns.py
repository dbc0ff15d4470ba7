"""Columns of the item table that can be asked and changed: numbers as float64, text as codes and a dictionary.

Nothing here is changed in place but a dictionary, which only grows: a changed column is a new one.
Shape letters: I items, a row of the table each.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from math import isfinite
from numbers import Integral, Real
from threading import Lock
from typing import Any

import numpy as np

from reprise.arrays import AnyArray, BoolArray
from reprise.data.io.arrow_columns import MAX_EXACT_INTEGER, Kind, Table, column_kind, encode_column, value_at
from reprise.errors import DataError

AVAILABLE, TITLE = "available", "title"
"""Columns that mean something to an answer: the first is of truths, the second of text."""
OWN = ("item_id", "count")
"""Columns that belong to the model and not to the caller."""

MICROSECOND = timedelta(microseconds=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FEW = 16
"""So many numbers are compared one by one; more are sorted first."""
HOLDS: dict[Kind, str] = {
    "text": "text", "integer": "integers", "number": "numbers", "boolean": "truths (true or false)", "time": "times",
    "date": "dates", "nothing": "nothing", "other": "lists or structures",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class NumericColumn:
    """A column of numbers, truths, times or dates."""

    name: str
    kind: Kind
    value_I: AnyArray
    """float64, NaN where there is no value."""

    @property
    def known_I(self) -> BoolArray:
        """Where there is a value."""
        return ~np.isnan(self.value_I)

    def among(self, values: Iterable[Any]) -> BoolArray:
        """Where the value is one of these."""
        wanted = sorted({self.number(value) for value in values})
        if len(wanted) <= FEW:
            found_I = np.zeros(len(self.value_I), dtype=np.bool_)
            for value in wanted:
                found_I |= self.value_I == value
            return found_I
        sorted_N = np.array(wanted)
        place_I = np.searchsorted(sorted_N, self.value_I).clip(max=len(sorted_N) - 1)
        equal_I: BoolArray = sorted_N[place_I] == self.value_I
        return equal_I

    def value(self, row: int) -> Any:
        """The value of one row in the form of JSON: times and dates in ISO 8601, None where there is none."""
        number = float(self.value_I[row])
        if np.isnan(number):
            return None
        if self.kind in ("time", "date"):
            moment = EPOCH + timedelta(microseconds=int(number))
            return moment.date().isoformat() if self.kind == "date" else moment.isoformat()
        return {"integer": int, "boolean": bool}.get(self.kind, float)(number)

    def number(self, value: Any) -> float:
        """A value of the caller as it is stored.

        Raises:
            DataError: it is of another type than the column.
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
                f"column {self.name!r} was given {value!r}, which is no number that can be compared"
            )
        return number

    def changed(self, values: Mapping[int, Any]) -> "NumericColumn":
        """The same with these values in these rows; None: no value. Integers become numbers where a fraction comes in."""
        given = [np.nan if value is None else self.number(value) for value in values.values()]
        whole = all(np.isnan(number) or number.is_integer() for number in given)
        if self.kind == "date" and any(number % 86_400_000_000 for number in given if not np.isnan(number)):
            raise DataError(f"column {self.name!r} holds dates, got a time of a day; pass the date alone")
        value_I = self.value_I.copy()
        value_I[list(values)] = given
        return replace(
            self, value_I=value_I, kind="number" if self.kind == "integer" and not whole else self.kind
        )


class Dictionary:
    """Words and their codes. It only grows, so that columns of several catalogues can share it."""

    def __init__(self, words: list[str]) -> None:
        self.words = words
        self._place: dict[str, int] | None = None
        self._lock = Lock()

    def find(self, word: str) -> int:
        """The code of a word, -1 where no row ever had it."""
        return self._places().get(word, -1)

    def add(self, word: str) -> int:
        """The code of a word, a new one if need be."""
        places = self._places()
        with self._lock:
            if word not in places:
                self.words.append(word)
                places[word] = len(self.words) - 1
            return places[word]

    def _places(self) -> dict[str, int]:
        if self._place is None:
            with self._lock:
                if self._place is None:  # another thread may have been quicker
                    self._place = {word: code for code, word in enumerate(self.words)}
        return self._place


@dataclass(frozen=True, eq=False)
class TextColumn:
    """A column of text."""

    name: str
    code_I: AnyArray
    """Places among the words, int32; -1 where there is no value."""
    dictionary: Dictionary

    kind: Kind = "text"

    @property
    def known_I(self) -> BoolArray:
        """Where there is a value."""
        known_I: BoolArray = self.code_I >= 0
        return known_I

    def among(self, values: Iterable[Any]) -> BoolArray:
        """Where the value is one of these."""
        codes = {self.dictionary.find(self._text(value)) for value in values} - {-1}
        if len(codes) <= FEW:
            found_I = np.zeros(len(self.code_I), dtype=np.bool_)
            for code in codes:
                found_I |= self.code_I == code
            return found_I
        # one place more, to which the code -1 of no value leads
        wanted_N = np.zeros(len(self.dictionary.words) + 1, dtype=np.bool_)
        wanted_N[list(codes)] = True
        chosen_I: BoolArray = wanted_N[self.code_I]
        return chosen_I

    def value(self, row: int) -> Any:
        """The text of one row, None where there is none."""
        code = int(self.code_I[row])
        return None if code < 0 else self.dictionary.words[code]

    def changed(self, values: Mapping[int, Any]) -> "TextColumn":
        """The same with these values in these rows; None: no value."""
        given = [None if value is None else self._text(value) for value in values.values()]
        column = self._compact() if len(self.dictionary.words) > 2 * len(self.code_I) else self
        code_I = column.code_I.copy()
        code_I[list(values)] = [-1 if word is None else column.dictionary.add(word) for word in given]
        return replace(column, code_I=code_I)

    def _compact(self) -> "TextColumn":
        """The same without words that no row has any more: memory does not grow with the number of changes."""
        used, back_I = np.unique(self.code_I, return_inverse=True)
        absent = int(used[0] < 0)
        words = [self.dictionary.words[code] for code in used[absent:].tolist()]
        return replace(self, code_I=(back_I - absent).astype(np.int32), dictionary=Dictionary(words))

    def _text(self, value: Any) -> str:
        if not isinstance(value, str):
            raise wrong_type(self.name, "text", value)
        return value


Coded = NumericColumn | TextColumn


def read_column(table: Table, name: str) -> Coded:
    """A column of the table, coded.

    Raises:
        DataError: it holds what cannot be compared.
    """
    kind = column_kind(table, name)
    if kind == "other":
        raise DataError(
            f"column {name!r} of the item table holds {HOLDS[kind]}, which cannot be compared or changed"
        )
    if kind == "text" or (name == TITLE and kind != "nothing"):
        value_I, words = encode_column(table, name, "text")
        column: Coded = TextColumn(name, value_I, Dictionary(words))
    else:
        column = NumericColumn(name, kind, encode_column(table, name, kind).value_I)
    return (_truths(column) or column) if name == AVAILABLE else column


def stored_value(table: Table, name: str, row: int) -> Any:
    """One value of the table in the form of JSON, without coding the column if it can be helped."""
    kind = column_kind(table, name)
    if kind in ("number", "time", "date"):
        return NumericColumn(name, kind, encode_column(table.slice(row, 1), name, kind).value_I).value(0)
    return _plain(value_at(table, name, row))


def new_column(name: str, rows: int, value: Any) -> Coded:
    """A column without values, of the type of this one.

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
        f"column {name!r} was given {value!r}; a value is text, a number, true, false, a time, or None for none"
    )


def wrong_type(name: str, kind: Kind, value: Any) -> DataError:
    """The error about a value of another type than the column."""
    hint = f"pass {str(value)!r}" if kind == "text" and isinstance(value, Real) else "pass one of that type"
    return DataError(f"column {name!r} holds {HOLDS[kind]}, got {value!r}; {hint}")


def _truths(column: Coded) -> NumericColumn | None:
    """A column of 0 and 1, or of `true` and `false` as text, as one of truths; None where it holds anything else."""
    if isinstance(column, NumericColumn):
        same = column.kind in ("integer", "number", "boolean") and bool(
            np.isin(column.value_I[column.known_I], (0, 1)).all()
        )
        return replace(column, kind="boolean") if same else None
    truth = {"false": 0.0, "true": 1.0}
    found = [truth.get(word.lower(), np.nan) for word in column.dictionary.words]
    return (
        None
        if np.isnan(found).any()
        else NumericColumn(column.name, "boolean", np.array([*found, np.nan])[column.code_I])
    )


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


def _plain(value: Any) -> Any:
    """A value of Arrow as JSON has it."""
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, float):
        return value if isfinite(value) else None
    return value if value is None or isinstance(value, str | int) else str(value)
