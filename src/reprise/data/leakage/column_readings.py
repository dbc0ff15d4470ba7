"""Readings of a column of the item table that may leak: dates, numbers, lengths of lists, and numbers in vectors and texts.

Shape letters: I items.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from reprise.arrays import Float64Array
from reprise.data.feature_dates import column_to_float, find_dates

MAX_POSITIONS = 64
"""Largest width of a vector whose numbers are read one by one; a count among more numbers is not searched for."""
MIN_NUMBERS = 0.9
"""Share of texts with a number from which the numbers are read, as in `1,234 sold`."""


class FeatureReading(NamedTuple):
    """One number for each item, read from a column."""

    what: str
    """What was read, for a message, such as "column 'price'"."""
    number_I: Float64Array
    """The numbers, or milliseconds since 1970 for dates; NaN for an item without one."""
    is_date: bool = False
    """Whether the numbers are times."""


def read_numbers(name: str, column: pa.ChunkedArray) -> Iterator[FeatureReading]:
    """Yield the numbers and dates in a column; none if it has neither."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    time_ms_I = find_dates(name, column)
    if time_ms_I is not None:
        yield FeatureReading(f"column {name!r}", time_ms_I, is_date=True)
    elif _is_number(column.type):
        yield FeatureReading(f"column {name!r}", column_to_float(column))
    elif _is_list(column.type):
        yield from _read_lists(name, column.combine_chunks())
    elif pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        yield from _read_texts(name, column)


def _read_lists(name: str, column: pa.Array) -> Iterator[FeatureReading]:
    """Yield the latest date of each list, the length of each list, and the numbers at each position of vectors."""
    known_I = column.is_valid().to_numpy(zero_copy_only=False)
    present = column.filter(column.is_valid())
    length_N = pc.list_value_length(present).to_numpy(zero_copy_only=False).astype(np.int64)
    flat = pa.chunked_array([pc.list_flatten(present)])
    if not len(flat):
        return

    def per_item(number_N: Float64Array) -> Float64Array:
        number_I = np.full(len(column), np.nan)
        number_I[known_I] = number_N
        return number_I

    time_ms = find_dates(name, flat)
    if time_ms is not None:
        latest_N = np.full(len(length_N), -np.inf)
        np.fmax.at(latest_N, np.repeat(np.arange(len(length_N)), length_N), time_ms)
        latest_N[np.isinf(latest_N)] = np.nan
        yield FeatureReading(f"column {name!r}", per_item(latest_N), is_date=True)
    if length_N.min() < length_N.max():
        yield FeatureReading(f"the length of the lists of column {name!r}", per_item(length_N.astype(float)))
    elif time_ms is None and _is_number(flat.type) and length_N[0] <= MAX_POSITIONS:
        number_NP = column_to_float(flat).reshape(len(length_N), -1)
        for position in range(number_NP.shape[1]):
            what = f"number {position + 1} of the vectors of column {name!r}"
            yield FeatureReading(what, per_item(number_NP[:, position]))


def _read_texts(name: str, column: pa.ChunkedArray) -> Iterator[FeatureReading]:
    """Yield the first number of each text, if nearly all texts have one, as in `1,234 sold`."""
    plain = pc.replace_substring_regex(column.cast(pa.large_string()), r"(\d),(\d\d\d)", r"\1\2")
    found = pc.struct_field(pc.extract_regex(plain, r"(?P<number>\d{1,15})"), "number")
    if len(column) and len(column) - found.null_count >= MIN_NUMBERS * max(
        1, len(column) - column.null_count
    ):
        yield FeatureReading(f"the number in column {name!r}", column_to_float(found.cast(pa.int64())))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))
