"""Parsing and formatting of times and durations."""

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reprise.data.timestamps import (
    check_zone,
    format_iso,
    format_time,
    parse_duration,
    parse_instant,
    parse_timestamp,
)
from reprise.errors import ConfigError

NOON_MS = 1_709_294_400_000
"""2024-03-01 12:00 UTC."""


def test_format_iso_is_utc_to_the_second() -> None:
    assert format_iso(0) == "1970-01-01T00:00:00+00:00"
    assert format_iso(86_400_999) == "1970-01-02T00:00:00+00:00"
    assert format_iso(-1_000) == "1969-12-31T23:59:59+00:00"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7d", 7 * 86_400_000),
        ("30min", 30 * 60_000),
        ("1.5h", 5_400_000),
        ("2w", 14 * 86_400_000),
        (" 90 s ", 90_000),
    ],
)
def test_parse_duration(text: str, expected: int) -> None:
    assert parse_duration(text) == expected


@pytest.mark.parametrize("text", ["7", "d", "0d", "-1d", "7 days", "1mon", ""])
def test_other_text_is_not_a_duration(text: str) -> None:
    with pytest.raises(
        ConfigError, match="is not a duration; write a number and one of ms, s, min, h, d, w, such as '7d'"
    ):
        parse_duration(text)


@given(st.datetimes(datetime(1975, 1, 1), datetime(2200, 1, 1)))
def test_a_timestamp_without_a_zone_is_utc(time: datetime) -> None:
    whole = time.replace(microsecond=0)
    assert (
        parse_timestamp(whole.isoformat())
        == parse_timestamp(whole.isoformat() + "+00:00")
        == parse_timestamp(whole)
    )


def test_other_text_is_not_a_timestamp() -> None:
    with pytest.raises(
        ConfigError, match="'1 May' is not a date; write it like '2014-09-01' or '2014-09-01T12:00'"
    ):
        parse_timestamp("1 May")


def test_an_unknown_zone_suggests_a_similar_name() -> None:
    with pytest.raises(ConfigError) as caught:
        check_zone("Europe/Berln")
    assert str(caught.value) == "unknown time zone 'Europe/Berln'; did you mean 'Europe/Berlin'?"


@pytest.mark.parametrize(
    "end",
    [
        "T10:00:00\0Z",
        "\x0010:00:00Z",
        "T10:00:00Z\0",
        "T10:00:00;Z",
        "T10:00:00.Z",
        "\u00e910:00:00Z",
        "T10:00:00\nZ",
        "T\uff11\uff10:00Z",
    ],
)
def test_a_time_with_other_characters_than_those_of_iso_8601_is_refused(end: str) -> None:
    with pytest.raises(ValueError, match=r"^is not ISO 8601$"):
        parse_instant(f"2024-03-01{end}")


@pytest.mark.parametrize(
    "end",
    [
        "T10:00:00Z",
        "t10:00:00z",
        " 10:00:00+00:00",
        "T10:00:00 +00:00",
        "T10Z",
        "T1000Z",
        "T10:00:00,000Z",
        "T12:30+02:30",
        "T113000.000+0130",
    ],
)
def test_every_form_of_iso_8601_names_the_same_time(end: str) -> None:
    assert parse_instant(f"2024-03-01{end}").timestamp() == NOON_MS / 1000 - 7200


def test_times_that_no_calendar_has_are_shown_as_years() -> None:
    assert format_time(NOON_MS) == "2024-03-01 12:00"
    assert format_time(NOON_MS * 1000) == "the year 56135"
    assert format_time(float("inf")) == "a year of ten or more digits"


def test_a_duration_longer_than_any_log_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_duration("99999999999999w")
    assert (
        str(caught.value) == "'99999999999999w' is longer than any log; give a shorter duration, such as '7d'"
    )


@pytest.mark.parametrize("value", [7, None, 1.5])
def test_values_that_are_not_text_are_refused(value: object) -> None:
    with pytest.raises(ConfigError, match=f"^{value} is not a duration; "):
        parse_duration(value)
    with pytest.raises(ConfigError, match=f"^{value} is not a date; "):
        parse_timestamp(value)


@pytest.mark.parametrize("tz", ["Mars", "Europe", 5])
def test_an_unknown_zone_without_a_similar_name_gives_examples(tz: object) -> None:
    with pytest.raises(ConfigError) as caught:
        check_zone(tz)
    assert len(str(caught.value)) < 100
    assert str(caught.value).startswith(f"unknown time zone {tz!r}; ")
