"""Columns of times: detection of their format, checks, and conversion to milliseconds since 1970 UTC.

The format of a column is determined from all of its rows, not from a sample.
"""

import time
from typing import Any, Literal, get_args

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.types as ir

from reprise.data.io.column_types import is_null_type, is_zoned_nanoseconds, type_words
from reprise.data.io.engine import QueryEngine
from reprise.data.io.number_times import TimeNumbers, number_unit, refuse_lost_digits
from reprise.data.timestamps import EARLIEST_S, LATEST_S, UNITS_PER_SECOND, TimeUnit, format_time
from reprise.errors import DataError

TimeFormat = Literal["s", "ms", "us", "ns", "timestamp", "text", "text-s", "text-ms", "text-us", "text-ns"]
"""Format of a column of times: numbers of a unit, timestamps, ISO text, or numbers written as text."""

DAY_MS = 86_400_000
OLDEST_LOG_MS = 788_918_400_000
"""The year 1995. Numbers of other units or epochs often become times before it."""
UTC_TYPE = dt.Timestamp(timezone="UTC")
TIME_AT_START = r"^\s*[+-]?\d"
"""Times begin with a digit or a sign. DuckDB would also accept words such as `infinity` and `epoch`."""
UTC_AT_END = r"(?i)\s*(UTC|GMT|Z)\s*$"
ZONE_AT_END = r"(?i):\d\d(\.\d+)?\s*(Z|UTC|GMT|[+-]\d\d(:?\d\d)?)\s*$"
LOWER_CASE_T = r"^(\s*\d{4}-\d\d-\d\d)t"
LEAP_SECOND = r"(\d:\d\d:)60((\.\d+)?\s*(Z|[+-][\d:]+)\s*)$"
WORD_AT_END = r"[A-Za-z]\s*$"
"""A letter at the end may be the name of another time zone, which DuckDB would ignore without an error."""

_epoch_ms = ibis.udf.scalar.builtin(lambda timestamp: 0, name="epoch_ms", signature=((UTC_TYPE,), dt.int64))
_in_zone = ibis.udf.scalar.builtin(
    lambda zone, timestamp: timestamp, name="timezone", signature=((dt.string, dt.timestamp), UTC_TYPE)
)


def to_ms(column: ir.Value, time_format: TimeFormat, tz: str | None) -> ir.IntegerValue:
    """Return the expression that converts a column of times to milliseconds since 1970 UTC; NULL for invalid text."""
    if time_format.startswith("text-"):
        return to_ms(column.try_cast(dt.float64), _as_format(time_format.removeprefix("text-")), tz)
    if time_format in UNITS_PER_SECOND:
        return _number_to_ms(column, time_format)
    if time_format == "text":
        zoned = column.re_search(ZONE_AT_END)
        return ibis.ifelse(
            zoned, _epoch_ms(_parse_zoned(column)), _naive_to_ms(column.try_cast(dt.timestamp), tz)
        )
    if _is_naive(column.type()):
        return _naive_to_ms(column.cast(dt.timestamp), tz)
    return _epoch_ms(column.cast(UTC_TYPE))


def _parse_zoned(text: ir.Value) -> ir.Value:
    """Convert texts with a zone to times; null if a text is not a time.

    A lower-case `t` and leap seconds, which RFC 3339 allows, mean the same as in `parse_instant`.
    """
    upper = text.re_replace(UTC_AT_END, "Z")
    time = upper.re_replace(LOWER_CASE_T, r"\1T")
    in_leap_second = time.re_replace(LEAP_SECOND, r"\159\2").try_cast(UTC_TYPE)
    is_last_minute = (_epoch_ms(in_leap_second) // 60_000) % 1_440 == 1_439
    rare = ibis.ifelse(
        time.re_search(LEAP_SECOND),
        ibis.ifelse(is_last_minute, in_leap_second, None),
        time.try_cast(UTC_TYPE),
    )
    return ibis.coalesce(
        upper.try_cast(UTC_TYPE), rare
    )  # the rare forms are tried only if the first one fails


def _as_format(name: str) -> TimeFormat:
    assert name in get_args(TimeFormat), name
    return name  # type: ignore[return-value]


def _number_to_ms(column: ir.Value, unit: str) -> ir.IntegerValue:
    factor = UNITS_PER_SECOND[unit] / 1000
    if column.type().is_integer():
        whole = column.cast(dt.int64)
        return whole * int(1 / factor) if factor < 1 else whole // int(factor)
    return (column.cast(dt.float64) / factor).round().cast(dt.int64)


def _naive_to_ms(timestamp: ir.Value, tz: str | None) -> ir.IntegerValue:
    return _epoch_ms(_in_zone(tz or "UTC", timestamp))


def _is_naive(kind: dt.DataType) -> bool:
    return kind.is_date() or (kind.is_timestamp() and kind.timezone is None)


def detect_format(
    engine: QueryEngine, log: ir.Table, name: str, tz: str | None, unit: TimeUnit | None = None
) -> TimeFormat:
    """Determine the format of the column `timestamp` of a log from all of its rows.

    Args:
        engine: The engine that holds the log.
        log: A table with the columns `timestamp` and `row`.
        name: The caller's name of the column, for messages.
        tz: Time zone of times that have none.
        unit: Unit of numbers, if the caller knows it. Then any date of the years 1 to 9999 is accepted.

    Raises:
        DataError: Values are missing, implausible, imprecise or of mixed formats, look like compact dates, or have no
            time zone while `tz` is None.
    """
    kind = log.timestamp.type()
    _refuse_missing(engine, log, name)
    if kind.is_string():
        time_format = _text_format(engine, log, name, tz, unit)
    elif kind.is_numeric() and not kind.is_boolean():
        time_format = _as_format(number_unit(TimeNumbers(engine, log, log.timestamp, name), unit))
    elif kind.is_timestamp() or kind.is_date() or is_zoned_nanoseconds(kind):
        if _is_naive(kind) and tz is None:
            raise _naive_error(name, _first(engine, log, log.row >= 0))
        time_format = _as_format("timestamp")
    else:
        raise DataError(
            f"column {name!r} contains {type_words(kind)}, but times are numbers since 1970, ISO text or timestamps; name "
            "another column (time=NAME, --time-column NAME), or convert it"
        )
    if unit is None or time_format.removeprefix("text-") not in UNITS_PER_SECOND:
        _check_range(engine, log, to_ms(log.timestamp, time_format, tz), name)
    return time_format


def _first(engine: QueryEngine, log: ir.Table, condition: ir.BooleanValue) -> dict[str, Any]:
    """Return `row` and `value` (as text) of the first row, in input order, for which a condition holds."""
    found = engine.row_wise(log.filter(condition).select("row", value=log.timestamp.cast(dt.string)))
    return engine.row(found.order_by("row").limit(1))


def _refuse_missing(engine: QueryEngine, log: ir.Table, name: str) -> None:
    column = log.timestamp
    if is_null_type(column.type()):
        raise DataError(
            f"column {name!r} has no value in any row, but each event needs a time; name another column"
        )
    bad, fault = column.isnull(), "empty"
    if column.type().is_floating():
        bad, fault = bad | column.isnan() | column.isinf(), "empty, NaN or infinite"
    rows = engine.row_wise(log.select("row", bad=bad))
    missing = engine.row(rows.aggregate(count=rows.bad.sum(), first=rows.row.min(where=rows.bad)))
    if missing["count"]:
        cause = "write times as int64 or float64, because 16-bit floats end at 65504"
        remedy = cause if column.type().is_float32() else "drop these rows"
        raise DataError(
            f"column {name!r} is {fault} in {missing['count']} rows, first in row {missing['first'] + 1}; {remedy}"
        )


def _text_format(
    engine: QueryEngine, log: ir.Table, name: str, tz: str | None, unit: TimeUnit | None
) -> TimeFormat:
    text = log.timestamp
    number = text.try_cast(dt.float64)
    parsed, zoned = text.try_cast(dt.timestamp), text.re_search(ZONE_AT_END)
    is_number = number.notnull() & ~number.isnan() & ~number.isinf()
    unambiguous = text.re_search(TIME_AT_START) & ~text.re_search(WORD_AT_END)
    naive, aware = parsed.notnull() & ~zoned & unambiguous, zoned & _parse_zoned(text).notnull()
    forms = engine.row_wise(log.select("row", number=is_number, naive=naive, aware=aware))
    counts = {form: forms[form].sum() for form in ("number", "naive", "aware")}
    found = engine.row(forms.aggregate(rows=forms.count(), **counts))
    if found["number"] == found["rows"]:
        numbers = TimeNumbers(engine, log, number, name)
        found_unit = number_unit(numbers, unit)
        refuse_lost_digits(numbers, found_unit)
        return _as_format(f"text-{found_unit}")
    times = found["naive"] + found["aware"]
    if times < found["rows"]:
        # the format of the majority decides which rows are reported as wrong
        first = _first(engine, log, ~is_number if found["number"] > times else ~(naive | aware))
        raise DataError(
            f"row {first['row'] + 1} of column {name!r} is not a time: {first['value']!r}; write ISO times such as "
            "'2024-03-01T10:00:00Z' or seconds since 1970"
        )
    if found["naive"] and found["aware"]:
        with_zone, without = _first(engine, log, aware), _first(engine, log, naive)
        raise DataError(
            f"column {name!r} mixes times with a time zone (row {with_zone['row'] + 1}: {with_zone['value']!r}) and "
            f"without (row {without['row'] + 1}: {without['value']!r}); store UTC in every row"
        )
    if found["naive"] and tz is None:
        raise _naive_error(name, _first(engine, log, naive))
    return _as_format("text")


def _naive_error(name: str, first: dict[str, object]) -> DataError:
    value = str(first["value"]).replace("T", " ")[:16]
    return DataError(
        f"column {name!r} has no time zone (first value {value}); store UTC, or pass the zone of these times, such as "
        'tz="Europe/Berlin" (--tz Europe/Berlin)'
    )


def time_notes(first_ms: int, last_ms: int) -> list[str]:
    """Return a note if times are before the first logs of shops and sites, or later than now; they may mean other times.

    Args:
        first_ms: First time of a log, in milliseconds since 1970 UTC.
        last_ms: Its last time.
    """
    now_ms = time.time() * 1000
    run = f"the events run from {format_time(first_ms)} to {format_time(last_ms)}"
    if last_ms > now_ms + DAY_MS:
        return [f"{run}, but the clock says {format_time(now_ms)}; check what the numbers of the times mean"]
    if first_ms < OLDEST_LOG_MS:
        return [f"{run}; check whether these are times since 1970"]
    return []


def _check_range(engine: QueryEngine, log: ir.Table, time_ms: ir.IntegerValue, name: str) -> None:
    times = engine.row_wise(log.select("row", ms=time_ms))
    outside = (times.ms < EARLIEST_S * 1000) | (times.ms >= LATEST_S * 1000)
    found = engine.row(
        times.aggregate(
            low=times.ms.min(), high=times.ms.max(), count=outside.sum(), first=times.row.min(where=outside)
        )
    )
    if not found["count"]:
        return
    value = engine.row(times.filter(times.row == found["first"]))["ms"]
    raise DataError(
        f"column {name!r} runs from {format_time(found['low'])} to {format_time(found['high'])}: {found['count']} rows are "
        f"outside 1973 to 2286, first row {found['first'] + 1} ({format_time(value)}); drop rows without a real time, or "
        "check whether seconds were stored as milliseconds or the reverse"
    )
