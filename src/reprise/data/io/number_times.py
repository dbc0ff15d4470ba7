"""Times that are numbers: their unit, and numbers that only look like times since 1970.

Two kinds of numbers would be read without an error and mean other times: compact dates such as 2023111512, and numbers
that have lost their last digits in 32-bit floats or as text such as 1.7E+09.
"""

import math
from typing import NamedTuple

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.types as ir

from reprise.data.io.engine import QueryEngine
from reprise.data.timestamps import EARLIEST_S, LATEST_S, UNITS_PER_SECOND, TimeUnit, format_time
from reprise.errors import DataError

UNIT_NAMES = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
COMPACT = {8: "yyyymmdd", 10: "yyyymmddHH", 12: "yyyymmddHHMM", 14: "yyyymmddHHMMSS", 17: "yyyymmddHHMMSSfff"}
"""Compact dates by their number of digits."""
COMPACT_SHARE = 0.9
"""Smallest share of rows that are valid compact dates if the column is one. Of numbers spread over the same range, less
than one in a hundred is a valid date with an hour."""
COMPACT_YEARS = (1970, 2100)
FIRST_S, LAST_S = -62_135_596_800, 253_402_300_799
"""First and last second that a calendar date can represent (years 1 to 9999), for units that the caller names."""
FLOAT32_BITS = 24
"""Number of significant bits of a 32-bit float."""
HOUR_S = 3600
ROUNDED_VALUES = 10
"""Smallest number of different times that cannot all be 32-bit floats by chance."""
LOST_S = 1.0
"""Largest resolution of times in seconds; text with fewer digits has lost order and gaps."""
EXPONENT = r"^\s*[+-]?\d+(?:\.(\d+))?[eE]([+-]?\d+)\s*$"


class TimeNumbers(NamedTuple):
    """A column of times that are numbers."""

    engine: QueryEngine
    """The engine that holds the log."""
    log: ir.Table
    """The log, with the column `row`."""
    number: ir.Value
    """The column as numbers."""
    name: str
    """The caller's name of the column, for messages."""

    def rows(self, **columns: ir.Value) -> ir.Table:
        """Return the column `row` and columns that are computed row by row."""
        return self.engine.row_wise(self.log.select("row", **columns))


def number_unit(times: TimeNumbers, unit: TimeUnit | None) -> str:
    """Return the unit of the numbers of a column: the given one, or the one in which all of them are plausible.

    Raises:
        DataError: The numbers are not times of the given unit, fit none or several, are compact dates, or have lost digits
            as 32-bit floats. Whether wider numbers were such floats or compact dates is not checked if the unit is given.
    """
    rows = times.rows(number=times.number)
    found = times.engine.row(rows.aggregate(low=rows.number.min(), high=rows.number.max()))
    low, high = float(found["low"]), float(found["high"])
    _refuse_short_floats(times, low, high)
    if unit is not None:
        _check_given_unit(times, unit, low, high)
        return unit
    fitting = next((unit for unit in UNITS_PER_SECOND if _fits(low, high, unit)), None)
    _refuse_compact_dates(times, high, fitting)
    if fitting is None:
        raise _no_unit(times, low, high)
    _refuse_rounded(times, low, high, fitting)
    return fitting


def _fits(low: float, high: float, unit: str) -> bool:
    per_second = UNITS_PER_SECOND[unit]
    return EARLIEST_S * per_second <= low and high < LATEST_S * per_second


def _refuse_short_floats(times: TimeNumbers, low: float, high: float) -> None:
    largest = max(abs(low), abs(high))
    kind = times.number.type()
    if not kind.is_floating() or kind.nbytes > 4 or largest < 2**FLOAT32_BITS:
        return
    step = _float32_step(largest)
    unit = next((unit for unit in UNITS_PER_SECOND if _fits(largest, largest, unit)), "s")
    raise DataError(
        f"column {times.name!r} is stored as float32, which keeps only every {step:,.0f}th number at {largest:.15g}: times are "
        f"rounded to {step / UNITS_PER_SECOND[unit]:,.4g} s, and order and gaps are lost; write the original times as "
        "int64 or float64"
    )


def _check_given_unit(times: TimeNumbers, unit: str, low: float, high: float) -> None:
    per_second = UNITS_PER_SECOND[unit]
    for value in (low, high):
        if not FIRST_S <= value / per_second <= LAST_S:
            row = _first_row(times, times.number == value)
            raise DataError(
                f"row {row + 1} of column {times.name!r} is {value:.15g}: as {UNIT_NAMES[unit]} (time_unit={unit!r}) that is "
                f"{format_time(value * 1000 / per_second)}; give the unit of all rows (--time-unit)"
            )


def _float32_step(number: float) -> float:
    """Return the distance between neighbouring 32-bit floats of this size."""
    return float(2.0 ** (math.floor(math.log2(number)) + 1 - FLOAT32_BITS))


def _refuse_rounded(times: TimeNumbers, low: float, high: float, unit: str) -> None:
    """Check that numbers of a wide type have not been 32-bit floats before, which many programs convert without a warning."""
    number, per_second = times.number.cast(dt.float64), UNITS_PER_SECOND[unit]
    if low < 2**FLOAT32_BITS:
        return
    rounded = times.rows(same=number == number.cast(dt.float32))
    if not times.engine.row(rounded.aggregate(all=rounded.same.all()))["all"]:
        return
    # times of whole days or hours may all be such numbers by chance
    rows = times.rows(number=number, uneven=(number - low) % (HOUR_S * per_second) != 0)
    found = times.engine.row(rows.aggregate(values=rows.number.nunique(), uneven=rows.uneven.any()))
    if found["values"] < ROUNDED_VALUES or not found["uneven"]:
        return
    step = _float32_step(high)
    raise DataError(
        f"all values of column {times.name!r} are multiples of {_float32_step(low):,.0f}, as if they had been 32-bit floats: "
        f"times are rounded to {step / per_second:,.4g} s, and order and gaps are lost; write the original times, or pass "
        f"time_unit={unit!r} (--time-unit {unit}) if these are exact"
    )


def _refuse_compact_dates(times: TimeNumbers, high: float, fitting: str | None) -> None:
    digits = len(f"{abs(high):.0f}")
    if digits not in COMPACT or high < 0:
        return
    is_integer = times.number.type().is_integer()
    whole = (times.number if is_integer else times.number.round()).cast(dt.int64)
    valid = ibis.and_(times.number == whole, *_date_conditions(whole, digits))
    rows = times.rows(valid=valid.fill_null(False), value=whole)
    found = times.engine.row(
        rows.aggregate(rows=rows.count(), valid=rows.valid.sum(), first=rows.row.min(where=rows.valid))
    )
    if (found["valid"] or 0) < COMPACT_SHARE * found["rows"]:
        return
    value = times.engine.row(rows.filter(rows.row == found["first"]).select("value"))["value"]
    text = str(value)
    fields = [text[4:6], text[6:8], *([f"{text[8:10]}:{text[10:12] or '00'}"] if digits > 8 else [])]
    meant = " ".join(["-".join([text[:4], *fields[:2]]), *fields[2:]])
    start = (
        f"column {times.name!r} looks like compact dates ({COMPACT[digits]}): {value} in row {found['first'] + 1} would be "
        f"{meant}"
    )
    if fitting is None:
        raise DataError(f"{start}; write ISO times such as '2024-03-01T10:00:00Z' instead")
    read = format_time(value * 1000 / UNITS_PER_SECOND[fitting])
    raise DataError(
        f"{start}, but as {UNIT_NAMES[fitting]} since 1970 it is {read}; write ISO times such as '2024-03-01T10:00:00Z', "
        f"or pass time_unit={fitting!r} (--time-unit {fitting}) if these are {UNIT_NAMES[fitting]} since 1970"
    )


def _date_conditions(whole: ir.Value, digits: int) -> list[ir.Value]:
    """Return the conditions under which an integer of `digits` digits is a valid compact date."""

    def field(start: int, length: int) -> ir.Value:
        return (whole // 10 ** (digits - start - length)) % 10**length

    year, month, day = field(0, 4), field(4, 2), field(6, 2)
    conditions = [
        whole >= 10 ** (digits - 1),
        whole < 10**digits,
        year >= COMPACT_YEARS[0],
        year < COMPACT_YEARS[1],
        month >= 1,
        month <= 12,
        day >= 1,
        day <= 31,
    ]
    limits = {8: 24, 10: 60, 12: 61}
    return conditions + [field(start, 2) < limit for start, limit in limits.items() if start < digits]


def _no_unit(times: TimeNumbers, low: float, high: float) -> DataError:
    """Return the error for numbers that are plausible in no unit, or in different units."""
    in_unit = {
        unit: (times.number >= float(EARLIEST_S * per_second)) & (times.number < float(LATEST_S * per_second))
        for unit, per_second in UNITS_PER_SECOND.items()
    }
    rows = times.rows(**in_unit, other=~ibis.or_(*in_unit.values()))
    first = times.engine.row(
        rows.aggregate(
            **{name: rows.row.min(where=rows[name]) for name in (*in_unit, "other")}, others=rows.other.sum()
        )
    )
    units = [unit for unit in UNITS_PER_SECOND if first[unit] is not None]
    start = f"column {times.name!r}"
    if units and first["others"]:
        value = _value_in(times, first["other"])
        return DataError(
            f"{start} has {first['others']} rows that are not times since 1970, first {value} in row {first['other'] + 1}, "
            f"while row {first[units[0]] + 1} is {_value_in(times, first[units[0]])} ({UNIT_NAMES[units[0]]}); drop these rows"
        )
    if len(units) > 1:
        rows = [
            f"{UNIT_NAMES[unit]} (row {first[unit] + 1}: {_value_in(times, first[unit])})" for unit in units
        ]
        return DataError(
            f"{start} mixes {' and '.join(rows)}; store seconds or milliseconds since 1970, the same unit in every row"
        )
    return DataError(
        f"{start} runs from {low:.15g} to {high:.15g}: as seconds that is {format_time(low * 1000)} to "
        f"{format_time(high * 1000)}, as milliseconds {format_time(low)} to {format_time(high)}; store seconds or "
        "milliseconds since 1970, or pass time_unit='s' (--time-unit s, ms, us or ns) if they are"
    )


def _value_in(times: TimeNumbers, row: int) -> str:
    rows = times.rows(value=times.number)
    found = times.engine.row(rows.filter(rows.row == row).select("value"))
    return f"{float(found['value']):.15g}"


def _first_row(times: TimeNumbers, condition: ir.Value) -> int:
    rows = times.rows(wanted=condition)
    return int(times.engine.row(rows.aggregate(row=rows.row.min(where=rows.wanted)))["row"])


def refuse_lost_digits(times: TimeNumbers, unit: str) -> None:
    """Check that numbers written as text with an exponent, such as 1.70005E+09, have kept their last digits.

    Raises:
        DataError: No row has digits for seconds.
    """
    text = times.log.timestamp
    decimals = text.re_extract(EXPONENT, 1).length()
    lost = text.re_extract(EXPONENT, 2).try_cast(dt.int64) - decimals
    rows = times.rows(written=text.re_search(EXPONENT), lost=lost, text=text)
    found = times.engine.row(
        rows.aggregate(
            rows=rows.count(), written=rows.written.sum(), lost=rows.lost.min(), first=rows["text"].min()
        )
    )
    step_s = 10.0 ** (found["lost"] or 0) / UNITS_PER_SECOND[unit]
    if found["written"] < found["rows"] or step_s <= LOST_S:
        return
    raise DataError(
        f"column {times.name!r} has lost its last digits: {found['first']!r} is exact to {step_s:,.0f} s only, so order and "
        "gaps are lost; write the times with all their digits (a spreadsheet shows numbers this way)"
    )
