"""Times and durations as text, in both directions, without loading the table engine."""

import re
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from reprise.errors import ConfigError, did_you_mean

UNITS_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
EARLIEST_S, LATEST_S = 100_000_000, 10_000_000_000
"""Plausible times, 1973 to 2286. The bounds are a factor of 100 apart, so a number is plausible in at most one unit."""
DURATION_MS = {"ms": 1, "s": 1_000, "min": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
LONGEST_MS = LATEST_S * 1_000
"""Longest duration, about 300 years: no log is longer."""


def parse_duration(text: str) -> int:
    """Milliseconds of a duration such as `7d`, `30min`, `12h`, `1.5h`, `90s` or `2w`.

    Raises:
        ConfigError: It is none, or not positive.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*", text) if isinstance(text, str) else None
    if match and match[2] in DURATION_MS and float(match[1]) > 0:
        duration_ms = float(match[1]) * DURATION_MS[match[2]]
        if duration_ms > LONGEST_MS:
            raise ConfigError(f"{text!r} is longer than any log; give less, such as '7d'")
        return round(duration_ms)
    raise ConfigError(
        f"{text!r} is no duration; write a number and one of {', '.join(DURATION_MS)}, such as '7d'"
    )


def parse_timestamp(moment: str | date) -> int:
    """Milliseconds since 1970 of a date or a time; without a zone it is taken as UTC.

    Raises:
        ConfigError: It is no ISO date or time.
    """
    try:
        parsed = datetime.fromisoformat(moment.isoformat() if isinstance(moment, date) else moment)
    except (TypeError, ValueError):
        raise ConfigError(
            f"{moment!r} is no date; write it like '2014-09-01' or '2014-09-01T12:00'"
        ) from None
    return round((parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp() * 1000)


def format_time(time_ms: float) -> str:
    """A time for people, in UTC, to the minute; the bare year where a calendar has no such day."""
    try:
        return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError, OSError):
        years = time_ms / 1000 / 31_556_952
        return f"the year {1970 + int(years)}" if abs(years) < 1e9 else "beyond all calendars"


def check_zone(tz: str | None) -> None:
    """Raise a ConfigError unless `tz` is None or the name of a time zone."""
    try:
        ZoneInfo(tz or "UTC")
    except (ZoneInfoNotFoundError, ValueError, TypeError, OSError):  # a folder of zones is an OSError
        near = did_you_mean(str(tz), available_timezones())
        hint = near if near.startswith("; did") else "; write it like 'UTC' or 'Europe/Berlin'"
        raise ConfigError(f"unknown time zone {tz!r}{hint}") from None


def format_iso(time_ms: int) -> str:
    """Milliseconds since 1970 as ISO 8601, to the second, in UTC."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="seconds")
