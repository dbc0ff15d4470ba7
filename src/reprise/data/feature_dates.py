"""Dates in the item table: columns of dates as milliseconds since 1970, and the end of training.

Shape letters: I items.
"""

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from reprise.arrays import Float64Array
from reprise.data.dataset import SequenceDataset
from reprise.data.timestamps import EARLIEST_S, LATEST_S, UNITS_PER_SECOND

DATE_WORDS = {
    "at", "added", "available", "created", "date", "datetime", "day", "from", "launched", "modified", "published", "released",
    "seen", "since", "sold", "time", "timestamp", "updated",
}  # fmt: skip
"""Words in the name of a numeric column that indicate dates."""
FUTURE_WORDS = {"until", "expires", "expiry", "expiration", "ends", "end", "due", "to", "deadline"}
"""Words in the name of a column of dates that are known in advance."""


def name_words(name: str) -> set[str]:
    """Split a column name such as `lastSeen` or `last_seen` into lower-case words."""
    return set(re.findall(r"[a-z]+", re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()))


def column_to_float(column: pa.ChunkedArray) -> Float64Array:
    """Convert a column to float64, NaN for missing values."""
    # not safe, because Arrow refuses integers beyond 2^53; a rounded number is as good for features and checks
    return np.asarray(column.cast(pa.float64(), safe=False).to_numpy(), dtype=np.float64)


def find_dates(name: str, column: pa.ChunkedArray) -> Float64Array | None:
    """Convert a column of dates to milliseconds since 1970, [I], NaN for missing values; None if it has no dates."""
    kind = column.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return timestamps_to_ms(column)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return parse_iso_column(column)
    # Numbers are dates only if both the name and the size indicate it: a column `updated_at` with plausible seconds is
    # one, a column `price` with the same numbers or a column `year_from` with years is not.
    if (pa.types.is_integer(kind) or pa.types.is_floating(kind)) and name_words(name) & (
        DATE_WORDS | FUTURE_WORDS
    ):
        number_I = column_to_float(column)
        per_second = number_unit(number_I)
        return number_I * 1000 / per_second if per_second else None
    return None


def number_unit(number_I: Float64Array) -> int | None:
    """Return how many units of these times make a second, from their size; None if they are not plausible times."""
    known_I = number_I[np.isfinite(number_I)]
    for per_second in UNITS_PER_SECOND.values() if len(known_I) else ():
        if EARLIEST_S * per_second <= known_I.min() and known_I.max() < LATEST_S * per_second:
            return per_second
    return None


def timestamps_to_ms(column: pa.ChunkedArray) -> Float64Array:
    """Convert timestamps or dates to milliseconds since 1970; without a time zone they are UTC."""
    zone = getattr(column.type, "tz", None)
    return column_to_float(column.cast(pa.timestamp("ms", zone), safe=False).cast(pa.int64()))


def parse_iso_column(column: pa.ChunkedArray) -> Float64Array | None:
    """Parse a text column of ISO dates or times; None if it contains other text."""
    first = pc.drop_null(column).slice(0, 1).to_pylist()
    if not first or not re.match(r"\d{4}-\d{2}-\d{2}", first[0]):
        return None
    blank = pc.equal(pc.utf8_trim_whitespace(column), "")
    text = pc.if_else(blank, pa.scalar(None, column.type), column)
    for kind in (
        pa.timestamp("ms"),
        pa.timestamp("ms", "UTC"),
        pa.timestamp("us"),
        pa.timestamp("us", "UTC"),
    ):
        try:
            return timestamps_to_ms(text.cast(kind))
        except pa.ArrowInvalid:
            continue
    return None


def training_end_ms(dataset: SequenceDataset) -> int:
    """Return the end of training in milliseconds: the split time, or just after the last training event."""
    if dataset.split.get("kind") == "time":
        return int(dataset.split["train_end_ms"])
    trained = np.asarray(dataset.train_end)[np.asarray(dataset.train_end) > dataset.offset[:-1]]
    return int(dataset.time_ms[trained - 1].max()) + 1 if len(trained) else 0
