"""The numbers and dates in a column of a table, also in lists, vectors and texts, to search them for leaks.

Shape letters: R rows of the table.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from reprise.arrays import Float64Array
from reprise.data.feature_dates import column_to_float, find_dates
from reprise.data.io.arrow_columns import is_list, is_number

MAX_POSITIONS = 64
"""Largest width of vectors whose positions are searched one by one; wider vectors are not searched."""
MIN_NUMBERS = 0.9
"""Smallest share of the texts of a column that must have a number, as in `1,234 sold`, for the numbers to be read."""


class FeatureReading(NamedTuple):
    """A column read as one number or one date per row, such as its values or the lengths of its lists."""

    what: str
    """Name in messages, such as "column 'price'" or "the length of the lists of column 'tags'"."""
    number_R: Float64Array
    """Number of each row, [R], NaN if it has none; a date in milliseconds since 1970."""
    is_date: bool = False
    """Whether the numbers are dates."""


def read_numbers(name: str, column: pa.ChunkedArray) -> Iterator[FeatureReading]:
    """Yield each way to read a column as one number or one date per row; nothing for other columns."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    time_ms_R = find_dates(name, column)
    if time_ms_R is not None:
        yield FeatureReading(f"column {name!r}", time_ms_R, is_date=True)
    elif is_number(column.type):
        yield FeatureReading(f"column {name!r}", column_to_float(column))
    elif is_list(column.type):
        yield from _read_lists(name, column.combine_chunks())
    elif pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        yield from _read_texts(name, column)


def _read_lists(name: str, column: pa.Array) -> Iterator[FeatureReading]:
    """Yield the latest date of each list, the length of each list, and the numbers at each position of vectors."""
    known_R = column.is_valid().to_numpy(zero_copy_only=False)
    present = column.filter(column.is_valid())
    length_N = pc.list_value_length(present).to_numpy(zero_copy_only=False).astype(np.int64)
    flat = pa.chunked_array([pc.list_flatten(present)])
    if not len(flat):
        return

    def per_row(number_N: Float64Array) -> Float64Array:
        number_R = np.full(len(column), np.nan)
        number_R[known_R] = number_N
        return number_R

    time_ms = find_dates(name, flat)
    if time_ms is not None:
        latest_N = np.full(len(length_N), -np.inf)
        np.fmax.at(latest_N, np.repeat(np.arange(len(length_N)), length_N), time_ms)
        latest_N[np.isinf(latest_N)] = np.nan
        yield FeatureReading(f"column {name!r}", per_row(latest_N), is_date=True)
    if length_N.min() < length_N.max():
        yield FeatureReading(f"the length of the lists of column {name!r}", per_row(length_N.astype(float)))
    elif time_ms is None and is_number(flat.type) and length_N[0] <= MAX_POSITIONS:
        number_NP = column_to_float(flat).reshape(len(length_N), -1)
        for position in range(number_NP.shape[1]):
            what = f"number {position + 1} of the vectors of column {name!r}"
            yield FeatureReading(what, per_row(number_NP[:, position]))


def _read_texts(name: str, column: pa.ChunkedArray) -> Iterator[FeatureReading]:
    """Yield the first number of each text, if nearly all texts have one, as in `1,234 sold`."""
    plain = pc.replace_substring_regex(column.cast(pa.large_string()), r"(\d),(\d\d\d)", r"\1\2")
    found = pc.struct_field(pc.extract_regex(plain, r"(?P<number>\d{1,15})"), "number")
    if len(column) and len(column) - found.null_count >= MIN_NUMBERS * max(
        1, len(column) - column.null_count
    ):
        yield FeatureReading(f"the number in column {name!r}", column_to_float(found.cast(pa.int64())))
