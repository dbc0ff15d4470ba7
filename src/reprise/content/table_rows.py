"""Rows of items in an Arrow table: the columns as texts, numbers, times, categories and vectors.

Shape letters: M rows, N words of all rows, W width of a vector.
"""

from collections.abc import Iterator
from datetime import UTC
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from reprise.arrays import Float32Array, Float64Array
from reprise.content.item_rows import ItemRows, WordForm, WordLists, word_of
from reprise.data.feature_dates import column_to_float, number_unit, parse_iso_column, timestamps_to_ms
from reprise.data.io.arrow_columns import is_list, is_number, is_text
from reprise.data.timestamps import parse_instant
from reprise.errors import DataError

ID = "item_id"
"""Column of item ids."""


class TableRows(ItemRows):
    """Rows of an Arrow table, for example of the item table."""

    def __init__(self, table: pa.Table, first: int = 0) -> None:
        self.table = table
        self.first = first
        """Position of the first row in the whole table, for messages."""

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def blocks(self, rows: int) -> Iterator["TableRows"]:
        """Return the rows in blocks of at most `rows`; at least one block."""
        for start in range(0, max(1, len(self)), rows):
            yield TableRows(self.table.slice(start, rows), self.first + start)

    def column(self, name: str) -> pa.ChunkedArray | None:
        """Return a column without a dictionary; None if the table lacks it or all its values are null."""
        if name not in self.table.column_names:
            return None
        column = self.table.column(name)
        if column.null_count == len(column):
            return None
        return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column

    def texts(self, column: str) -> list[str]:
        values = self.column(column)
        if values is None:
            return [""] * len(self)
        if is_list(values.type) and is_text(values.type.value_type):
            lists = values.to_pylist()
            return [" ".join(text for text in texts if text) if texts else "" for texts in lists]
        if not is_text(values.type):
            raise _wrong_type(column, values.type, "text", "declare it as Number, Category or Vector")
        return ["" if text is None else text for text in values.to_pylist()]

    def numbers(self, column: str) -> Float64Array:
        values = self.column(column)
        if values is None:
            return np.full(len(self), np.nan)
        if pa.types.is_boolean(values.type):
            values = values.cast(pa.int8())
        if not is_number(values.type):
            raise _wrong_type(column, values.type, "numbers", "declare it as Text or Category, or convert it")
        number_M = column_to_float(values).copy()
        number_M[np.isinf(number_M)] = np.nan
        return number_M

    def time_unit(self, column: str) -> int:
        """Return how many units of the times of a column make a second; 0 if they are dates or text.

        Raises:
            DataError: The column holds numbers that are not plausible times.
        """
        values = self.column(column)
        if values is None or not is_number(values.type):
            return 0
        per_second = number_unit(column_to_float(values))
        if per_second is None:
            raise DataError(
                f"column {column!r} of the item table holds numbers that are not times since 1970 in one unit; "
                "declare it as Number, or convert it to dates"
            )
        return per_second

    def times_ms(self, column: str, per_second: int) -> Float64Array:
        values = self.column(column)
        if values is None:
            return np.full(len(self), np.nan)
        if pa.types.is_timestamp(values.type) or pa.types.is_date(values.type):
            return timestamps_to_ms(values)
        if is_number(values.type):
            return column_to_float(values) * 1000 / (per_second or self.time_unit(column))
        if not is_text(values.type):
            raise _wrong_type(column, values.type, "dates", "declare it as another kind of column")
        time_ms_M = parse_iso_column(values)
        if time_ms_M is None:
            return _times_of_texts(column, values.to_pylist())
        return time_ms_M

    def words(self, column: str, form: WordForm, separator: str) -> WordLists:
        values = self.column(column)
        if values is None:
            return WordLists(np.zeros(0, np.int64), np.zeros(0, np.int64), [])
        values = values.combine_chunks()
        if form == "split" and is_text(values.type):
            values = pc.split_pattern(values, separator)
        row_N = np.arange(len(values))
        if is_list(values.type):
            length_M = pc.fill_null(pc.list_value_length(values), 0).to_numpy(zero_copy_only=False)
            row_N = np.repeat(row_N, length_M)
            values = pc.list_flatten(values)
        if pa.types.is_nested(values.type):
            raise _wrong_type(column, values.type, "categories", "leave it out")
        encoded = values.dictionary_encode()
        words = [word_of(value) for value in encoded.dictionary.to_pylist()]
        code_N = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        known_N = code_N >= 0
        return distinct_words(row_N[known_N], code_N[known_N], words)

    def word_form(self, column: str, separator: str) -> WordForm:
        """Return how a column holds categories."""
        values = self.column(column)
        if values is not None and is_list(values.type):
            return "list"
        return "split" if separator else "one"

    def vectors(self, column: str, width: int) -> Float32Array:
        values = self.column(column)
        if values is None:
            return np.zeros((len(self), width), np.float32)
        if not (is_list(values.type) and is_number(values.type.value_type)):
            raise _wrong_type(column, values.type, "vectors", "pass lists of numbers")
        values = values.combine_chunks()
        known_M = values.is_valid().to_numpy(zero_copy_only=False)
        # a fixed-size list has placeholders for missing rows, which would shift the others
        present = values.filter(pa.array(known_M))
        length_N = pc.list_value_length(present).to_numpy(zero_copy_only=False)
        width = width or int(length_N[0])
        rows_N = np.flatnonzero(known_M)
        for row, length in zip(rows_N[length_N != width], length_N[length_N != width], strict=True):
            raise DataError(
                f"column {column!r} has a vector of {length} numbers for {self.row_name(int(row))}, expected {width}; "
                "pass vectors of one width"
            )
        flat = column_to_float(pa.chunked_array([pc.list_flatten(present)]))
        found_NW = flat.reshape(len(rows_N), width).astype(np.float32)
        wrong_N = ~np.isfinite(found_NW).all(axis=1)
        if wrong_N.any():
            row = int(rows_N[wrong_N][0])
            raise DataError(
                f"column {column!r} has a vector with NaN, null or an infinite number for {self.row_name(row)} "
                f"(rows with such a vector: {int(wrong_N.sum())}); replace the numbers, or make the whole vector null"
            )
        vector_MW = np.zeros((len(self), width), np.float32)
        vector_MW[rows_N] = found_NW
        return vector_MW

    def row_name(self, row: int) -> str:
        """Return the name of a row for a message."""
        if ID not in self.table.column_names:
            return f"row {self.first + row + 1}"
        return f"item {self.table.column(ID)[row].as_py()!r} (row {self.first + row + 1})"


def distinct_words(row_N: Any, code_N: Any, words: list[str]) -> WordLists:
    """Return word lists without empty words, with each word of a row once, in ascending order."""
    number: dict[str, int] = {}
    final_V = np.array([number.setdefault(word, len(number)) if word else -1 for word in words], np.int64)
    code_N = final_V[code_N] if len(words) else code_N
    kept_N = code_N >= 0
    pair = np.unique(np.asarray(row_N, np.int64)[kept_N] * max(1, len(number)) + code_N[kept_N])
    row, code = np.divmod(pair, max(1, len(number)))
    return WordLists(row, code, list(number))


def _wrong_type(column: str, kind: pa.DataType, expected: str, remedy: str) -> DataError:
    return DataError(
        f"column {column!r} of the item table holds values of type {kind}, not {expected}; {remedy}"
    )


def _times_of_texts(column: str, texts: list[str | None]) -> Float64Array:
    """Parse ISO texts one by one, NaN for blank ones.

    Raises:
        DataError: A text is not an ISO date; the message names it.
    """
    time_ms_M = np.full(len(texts), np.nan)
    for row, text in enumerate(texts):
        if text is not None and text.strip():
            time_ms_M[row] = iso_to_ms(column, text.strip())
    return time_ms_M


def iso_to_ms(column: str, text: str) -> float:
    """Return the milliseconds since 1970 of an ISO 8601 text; without a time zone it is UTC.

    Raises:
        DataError: The text is not an ISO date or time.
    """
    try:
        instant = parse_instant(text)
    except ValueError as error:
        raise DataError(
            f"column {column!r} holds dates, and {text!r} {error}; write 2024-03-01 or 2024-03-01T10:00:00+00:00"
        ) from None
    return (instant if instant.tzinfo else instant.replace(tzinfo=UTC)).timestamp() * 1000
