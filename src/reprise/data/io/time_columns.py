"""Times and durations: what a column of times holds, milliseconds since 1970 UTC from it, and `7d`."""

from typing import Literal, get_args

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.types as ir

from reprise.data.io.duckdb_engine import Engine
from reprise.data.timestamps import EARLIEST_S, LATEST_S, UNITS_PER_SECOND, format_time
from reprise.errors import DataError

Form = Literal["s", "ms", "us", "ns", "timestamp", "text", "text-s", "text-ms", "text-us", "text-ns"]
"""What a column of times holds: numbers of a unit, timestamps, ISO text, or numbers written as text."""

UTC_TYPE = dt.Timestamp(timezone="UTC")
TIME_AT_START = r"^\s*[+-]?\d"
"""Other words, such as `infinity` and `epoch`, are times to the engine."""
UTC_AT_END = r"(?i)\s*(UTC|GMT|Z)\s*$"
ZONE_AT_END = r"(?i):\d\d(\.\d+)?\s*(Z|UTC|GMT|[+-]\d\d(:?\d\d)?)\s*$"
WORD_AT_END = r"[A-Za-z]\s*$"
"""Of another zone by name, which the engine would pass over in a time that it takes for one without."""

_epoch_ms = ibis.udf.scalar.builtin(lambda moment: 0, name="epoch_ms", signature=((UTC_TYPE,), dt.int64))
_in_zone = ibis.udf.scalar.builtin(
    lambda zone, moment: moment, name="timezone", signature=((dt.string, dt.timestamp), UTC_TYPE)
)


def to_ms(column: ir.Value, form: Form, tz: str | None) -> ir.IntegerValue:
    """The expression of a column of times as milliseconds since 1970 UTC; NULL where the text is no time."""
    if form.startswith("text-"):
        return to_ms(column.try_cast(dt.float64), _form(form.removeprefix("text-")), tz)
    if form in UNITS_PER_SECOND:
        return _number_to_ms(column, form)
    if form == "text":
        zoned = column.re_search(ZONE_AT_END)
        return ibis.ifelse(
            zoned, _epoch_ms(_zoned_moment(column)), _naive_to_ms(column.try_cast(dt.timestamp), tz)
        )
    if _is_naive(column.type()):
        return _naive_to_ms(column.cast(dt.timestamp), tz)
    return _epoch_ms(column.cast(UTC_TYPE))


def _zoned_moment(text: ir.Value) -> ir.Value:
    return text.re_replace(UTC_AT_END, "Z").try_cast(UTC_TYPE)


def _form(name: str) -> Form:
    assert name in get_args(Form), name
    return name  # type: ignore[return-value]


def _number_to_ms(column: ir.Value, unit: str) -> ir.IntegerValue:
    factor = UNITS_PER_SECOND[unit] / 1000
    if column.type().is_integer():
        whole = column.cast(dt.int64)
        return whole * int(1 / factor) if factor < 1 else whole // int(factor)
    return (column.cast(dt.float64) / factor).round().cast(dt.int64)


def _naive_to_ms(moment: ir.Value, tz: str | None) -> ir.IntegerValue:
    return _epoch_ms(_in_zone(tz or "UTC", moment))


def _is_naive(kind: dt.DataType) -> bool:
    return kind.is_date() or (kind.is_timestamp() and kind.timezone is None)


def _is_zoned_nanoseconds(kind: dt.DataType) -> bool:
    """What pandas writes; duckdb 2 has a type for it that ibis does not know by name."""
    return kind.is_unknown() and "TIMESTAMPTZ_NS" in str(kind)


def find_form(engine: Engine, log: ir.Table, name: str, tz: str | None) -> Form:
    """What the column `timestamp` of a log holds, after a look at all of it.

    Args:
        engine: Runs the look.
        log: Has the columns `timestamp` and `row`.
        name: What the caller calls the column, for messages.
        tz: The zone of times without one.

    Raises:
        DataError: Missing, impossible or mixed values; times without a zone and no `tz`.
    """
    kind = log.timestamp.type()
    _refuse_missing(engine, log, name)
    if kind.is_string():
        form = _text_form(engine, log, name, tz)
    elif kind.is_numeric() and not kind.is_boolean():
        form = _unit(engine, log, log.timestamp, name)
    elif kind.is_timestamp() or kind.is_date() or _is_zoned_nanoseconds(kind):
        if _is_naive(kind) and tz is None:
            raise _naive_error(name, engine.row(_first(log, log.row >= 0)))
        form = _form("timestamp")
    else:
        raise DataError(f"column {name!r} is of type {kind}; times are numbers, ISO text or timestamps")
    _check_range(engine, log, to_ms(log.timestamp, form, tz), name)
    return form


def _first(log: ir.Table, which: ir.BooleanValue) -> ir.Table:
    """The first row, in input order, for which something holds."""
    moment = log.timestamp.cast(dt.string)
    return log.filter(which).order_by("row").limit(1).select("row", value=moment)


def _refuse_missing(engine: Engine, log: ir.Table, name: str) -> None:
    column = log.timestamp
    bad, what = column.isnull(), "empty"
    if column.type().is_floating():
        bad, what = bad | column.isnan() | column.isinf(), "empty, NaN or infinite"
    missing = engine.row(log.aggregate(count=bad.sum(), first=log.row.min(where=bad)))
    if missing["count"]:
        raise DataError(
            f"column {name!r} is {what} in {missing['count']} rows, first in row {missing['first'] + 1}; drop these rows"
        )


def _unit(engine: Engine, log: ir.Table, number: ir.Value, name: str) -> Form:
    found = engine.row(log.aggregate(low=number.min(), high=number.max()))
    low, high = float(found["low"]), float(found["high"])
    for unit, per_second in UNITS_PER_SECOND.items():
        if EARLIEST_S * per_second <= low and high < LATEST_S * per_second:
            return _form(unit)
    raise DataError(
        f"column {name!r} runs from {low:.15g} to {high:.15g}: as seconds that is {format_time(low * 1000)} to "
        f"{format_time(high * 1000)}, as milliseconds {format_time(low)} to {format_time(high)}; "
        "store seconds or milliseconds since 1970, the same unit in every row"
    )


def _text_form(engine: Engine, log: ir.Table, name: str, tz: str | None) -> Form:
    text = log.timestamp
    number = text.try_cast(dt.float64)
    moment, zoned = text.try_cast(dt.timestamp), text.re_search(ZONE_AT_END)
    is_number = number.notnull() & ~number.isnan() & ~number.isinf()
    plain = text.re_search(TIME_AT_START) & ~text.re_search(WORD_AT_END)
    naive, aware = moment.notnull() & ~zoned & plain, zoned & _zoned_moment(text).notnull()
    found = engine.row(
        log.aggregate(rows=log.count(), number=is_number.sum(), naive=naive.sum(), aware=aware.sum())
    )
    if found["number"] == found["rows"]:
        return _form(f"text-{_unit(engine, log, number, name)}")
    times = found["naive"] + found["aware"]
    if times < found["rows"]:
        # what the other rows are not is what is wrong
        first = engine.row(_first(log, ~is_number if found["number"] > times else ~(naive | aware)))
        raise DataError(
            f"row {first['row'] + 1} of column {name!r} is no time: {first['value']!r}; write ISO times such as "
            "'2024-03-01T10:00:00Z' or seconds since 1970"
        )
    if found["naive"] and found["aware"]:
        with_zone, without = engine.row(_first(log, aware)), engine.row(_first(log, naive))
        raise DataError(
            f"column {name!r} mixes times with a time zone (row {with_zone['row'] + 1}: {with_zone['value']!r}) and "
            f"without (row {without['row'] + 1}: {without['value']!r}); store UTC in every row"
        )
    if found["naive"] and tz is None:
        raise _naive_error(name, engine.row(_first(log, naive)))
    return _form("text")


def _naive_error(name: str, first: dict[str, object]) -> DataError:
    value = str(first["value"]).replace("T", " ")[:16]
    return DataError(
        f'column {name!r} has no time zone (first value {value}); pass tz="Europe/Berlin" or store UTC.'
    )


def _check_range(engine: Engine, log: ir.Table, time_ms: ir.IntegerValue, name: str) -> None:
    found = engine.row(log.aggregate(low=time_ms.min(), high=time_ms.max()))
    if found["low"] >= EARLIEST_S * 1000 and found["high"] < LATEST_S * 1000:
        return
    raise DataError(
        f"column {name!r} runs from {format_time(found['low'])} to {format_time(found['high'])}; "
        "were seconds taken for milliseconds, or milliseconds for seconds, when it was made?"
    )
