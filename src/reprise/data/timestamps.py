"""Parsing and formatting of times and durations. This module does not load the table engine."""

import re
from datetime import UTC, date, datetime
from typing import Literal, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from reprise.errors import ConfigError, similar_name

TimeUnit = Literal["s", "ms", "us", "ns"]
"""Unit of times that are numbers since 1970."""
UNITS_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
EARLIEST_S, LATEST_S = 100_000_000, 10_000_000_000
"""Plausible times, 1973 to 2286. The bounds are a factor of 100 apart, so a number is plausible in at most one unit."""
DURATION_MS = {"ms": 1, "s": 1_000, "min": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
LONGEST_MS = LATEST_S * 1_000
"""Longest duration in milliseconds, about 300 years."""
SECONDS_PER_YEAR = 31_556_952
LEAP_SECOND = re.compile(r"([T ]\d\d:?\d\d:?)60((?:[.,]\d+)?(?:Z|[+-][\d:]+)?)$")
"""The end of an ISO 8601 time whose seconds are 60."""
HOUR_24 = re.compile(r"[T ]24")
ISO_FORM = re.compile(
    r"[\dW-]+(?:[T ]\d\d(?::?\d\d(?::?\d\d(?:[.,]\d+)?)?)?(?: ?(?:Z|[+-][\d:.]+))?)?", re.ASCII
)
"""Characters of an ISO 8601 time and their order. Python alone also accepts others, such as NUL, before an offset."""


def parse_duration(text: str) -> int:
    """Return the milliseconds of a duration such as `7d`, `30min`, `12h`, `1.5h`, `90s` or `2w`.

    Raises:
        ConfigError: The text is not a duration, or the duration is zero or longer than 300 years.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*", text) if isinstance(text, str) else None
    if match and match[2] in DURATION_MS and float(match[1]) > 0:
        duration_ms = float(match[1]) * DURATION_MS[match[2]]
        if duration_ms > LONGEST_MS:
            raise ConfigError(f"{text!r} is longer than any log; give a shorter duration, such as '7d'")
        return round(duration_ms)
    raise ConfigError(
        f"{text!r} is not a duration; write a number and one of {', '.join(DURATION_MS)}, such as '7d'"
    )


def format_duration(duration_ms: int) -> str:
    """Format a duration in its largest unit, rounded down, so that `parse_duration` can read it, such as `7d` or `12h`."""
    unit = next((unit for unit in ("d", "h", "min", "s") if DURATION_MS[unit] <= duration_ms), "ms")
    return f"{duration_ms // DURATION_MS[unit]}{unit}"


def parse_timestamp(timestamp: str | date) -> int:
    """Return the milliseconds since 1970 of a date or time; without a time zone it is taken as UTC.

    Raises:
        ConfigError: The text is not an ISO date or time.
    """
    try:
        parsed = datetime.fromisoformat(timestamp.isoformat() if isinstance(timestamp, date) else timestamp)
    except (TypeError, ValueError):
        raise ConfigError(
            f"{timestamp!r} is not a date; write it like '2014-09-01' or '2014-09-01T12:00'"
        ) from None
    return round((parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp() * 1000)


def parse_instant(text: str) -> datetime:
    """Return the time that an ISO 8601 text names, with a time zone if the text has an offset.

    As in RFC 3339, `t` and `z` may be lower-case, and a leap second is written as second 60. Unix time does not count leap
    seconds, so such a time is the second before it.

    Raises:
        ValueError: The text is not an ISO 8601 time; the message continues a sentence that begins with the text.
    """
    upper = text.upper()
    ordinary = LEAP_SECOND.sub(r"\g<1>59\g<2>", upper)
    try:
        if not ISO_FORM.fullmatch(upper):
            raise ValueError
        instant = datetime.fromisoformat(ordinary)
    except ValueError:
        raise ValueError("is not ISO 8601") from None
    if HOUR_24.search(upper):  # versions of Python disagree
        raise ValueError("has the hour 24, which is 00:00 of the next day")
    try:
        in_utc = instant if instant.tzinfo is None else instant.astimezone(UTC)
    except OverflowError:
        raise ValueError("is in UTC before the year 1 or after the year 9999") from None
    if ordinary != upper and (in_utc.hour, in_utc.minute) != (23, 59):
        raise ValueError("has a second 60, which occurs only at 23:59 UTC")
    return instant


def check_zone(tz: str | None) -> None:
    """Check that `tz` is None or the name of a time zone.

    Raises:
        ConfigError: The time zone is unknown.
    """
    try:
        ZoneInfo(tz or "UTC")
    # OSError: the name of a directory of zones
    except (ZoneInfoNotFoundError, ValueError, TypeError, OSError):
        hint = similar_name(tz, available_timezones()) or "; write it like 'UTC' or 'Europe/Berlin'"
        raise ConfigError(f"unknown time zone {tz!r}{hint}") from None


def check_unit(unit: str | None) -> None:
    """Check that `unit` is None or a unit of times.

    Raises:
        ConfigError: The unit is unknown.
    """
    if unit is not None and unit not in get_args(TimeUnit):
        raise ConfigError(
            f"time_unit={unit!r} is not a unit of times; choose one of {', '.join(get_args(TimeUnit))}"
        )


def format_time(time_ms: float) -> str:
    """Format a time in UTC to the minute, such as `2024-03-01 10:00`; only the year if no calendar has that date."""
    try:
        return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError, OSError):
        years = time_ms / 1000 / SECONDS_PER_YEAR
        return f"the year {1970 + int(years)}" if abs(years) < 1e9 else "a year of ten or more digits"


def format_iso(time_ms: int) -> str:
    """Format milliseconds since 1970 as ISO 8601 in UTC, to the second."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="seconds")
