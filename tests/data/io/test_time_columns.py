"""The format of a column of times is detected from all its rows; ambiguous columns are refused."""

from datetime import UTC, date, datetime

import pyarrow as pa
import pytest
from time_reading import milliseconds

from reprise.data.timestamps import parse_instant, parse_timestamp
from reprise.errors import DataError

NOON = datetime(2024, 3, 1, 12, 0, tzinfo=UTC)
NOON_S = 1_709_294_400
NOON_MS = NOON_S * 1000


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([NOON_S], pa.int64()),
        ([NOON_S], pa.int32()),
        ([NOON_MS], pa.int64()),
        ([NOON_MS * 1000], pa.int64()),
        ([NOON_MS * 1_000_000], pa.int64()),
        ([float(NOON_S)], pa.float64()),
        ([NOON], pa.timestamp("us", tz="UTC")),
        ([NOON], pa.timestamp("ns", tz="Europe/Berlin")),
        (["2024-03-01T12:00:00Z"], None),
        (["2024-03-01 13:00:00+01:00"], None),
        (["2024-03-01T12:00:00.000+00"], None),
        (["2024-03-01 12:00:00 UTC"], None),
        (["2024-03-01 12:00:00.000 GMT"], None),
        (["2024-03-01T12:00UTC"], None),
        ([str(NOON_S)], None),
        ([f"{NOON_S}.0"], None),
        ([str(NOON_MS)], None),
    ],
)
def test_every_format_gives_the_same_milliseconds(values: list, kind: pa.DataType | None) -> None:
    assert milliseconds(values, kind) == [NOON_MS]


@pytest.mark.parametrize(
    "values",
    [["2024-03-01T12:00:00.250Z"], [NOON_S + 0.25], [f"{NOON_S}.25"], [NOON.replace(microsecond=250_000)]],
)
def test_fractions_of_a_second_are_kept(values: list) -> None:
    assert milliseconds(values) == [NOON_MS + 250]


@pytest.mark.parametrize(
    "text",
    [
        "2016-12-31t23:59:59z", "2016-12-31T23:59:60Z", "2016-12-31t23:59:60.25z", "2017-01-01T05:29:60+05:30",
        "2016-12-31 15:59:60-08:00",
    ],
)  # fmt: skip
def test_rfc_3339_in_lower_case_and_leap_seconds_are_read_as_in_a_history(text: str) -> None:
    time_ms = round(parse_instant(text).timestamp() * 1000)
    assert milliseconds(["2016-12-31T23:59:58Z", text]) == [1_483_228_798_000, time_ms]
    assert 1_483_228_799_000 <= time_ms < 1_483_228_800_000


@pytest.mark.parametrize(
    "text", ["2016-12-31T12:00:60Z", "2016-12-31T23:59:60+01:00", "2016-12-31T23:59:61Z"]
)
def test_a_second_60_elsewhere_than_at_midnight_is_refused(text: str) -> None:
    with pytest.raises(
        DataError, match=f"row 2 of column 'when' is not a time: '{text}'".replace("+", r"\+")
    ):
        milliseconds(["2016-12-31T23:59:58Z", text])


@pytest.mark.parametrize(
    "values", [["2024-07-01 12:00:00"], [datetime(2024, 7, 1, 12)], ["2024-07-01T12:00"]]
)
def test_tz_is_applied_with_its_summer_time(values: list) -> None:
    assert milliseconds(values, tz="Europe/Berlin") == [parse_timestamp("2024-07-01T12:00+02:00")]


def test_a_date_means_midnight_in_tz() -> None:
    assert milliseconds([date(2024, 3, 1)], tz="UTC") == [parse_timestamp("2024-03-01")]


@pytest.mark.parametrize(
    "values", [[datetime(2024, 3, 1, 10)], ["2024-03-01 10:00"], ["2024-03-01T10:00:00"]]
)
def test_times_without_a_zone_are_refused(values: list) -> None:
    with pytest.raises(DataError) as caught:
        milliseconds(values)
    assert str(caught.value) == (
        "column 'when' has no time zone (first value 2024-03-01 10:00); store UTC, or pass the zone of these times, such as "
        'tz="Europe/Berlin" (--tz Europe/Berlin)'
    )


def test_mixed_times_with_and_without_a_zone_are_refused_even_with_tz() -> None:
    with pytest.raises(DataError) as caught:
        milliseconds(["2024-03-01T12:00:00Z", "2024-03-01T12:00:00"], tz="UTC")
    assert str(caught.value) == (
        "column 'when' mixes times with a time zone (row 1: '2024-03-01T12:00:00Z') and without "
        "(row 2: '2024-03-01T12:00:00'); store UTC in every row"
    )


def test_seconds_and_milliseconds_in_one_column_are_refused() -> None:
    with pytest.raises(DataError) as caught:
        milliseconds([NOON_S, NOON_MS])
    assert str(caught.value) == (
        "column 'when' mixes seconds (row 1: 1709294400) and milliseconds (row 2: 1709294400000); store seconds or "
        "milliseconds since 1970, the same unit in every row"
    )


def test_timestamps_made_from_the_wrong_unit_are_refused() -> None:
    with pytest.raises(DataError) as caught:
        milliseconds([datetime.fromtimestamp(NOON_S / 1000, UTC)])
    assert str(caught.value) == (
        "column 'when' runs from 1970-01-20 18:48 to 1970-01-20 18:48: 1 rows are outside 1973 to 2286, first row 1 "
        "(1970-01-20 18:48); drop rows without a real time, or check whether seconds were stored as milliseconds or the "
        "reverse"
    )


def test_positions_are_not_times() -> None:
    with pytest.raises(
        DataError, match="column 'when' runs from 0 to 2: as seconds that is 1970-01-01 00:00"
    ):
        milliseconds([0, 1, 2])


@pytest.mark.parametrize("bad", [None, float("nan"), float("inf"), -float("inf")])
def test_missing_nan_and_infinite_times_are_refused(bad: float | None) -> None:
    with pytest.raises(DataError) as caught:
        milliseconds([float(NOON_S), bad, bad], pa.float64())
    assert str(caught.value) == (
        "column 'when' is empty, NaN or infinite in 2 rows, first in row 2; drop these rows"
    )


def test_text_that_is_not_a_time_is_reported_with_its_row() -> None:
    with pytest.raises(DataError) as caught:
        milliseconds(["2024-03-01T12:00:00Z", "yesterday"])
    assert str(caught.value) == (
        "row 2 of column 'when' is not a time: 'yesterday'; write ISO times such as '2024-03-01T10:00:00Z' or seconds "
        "since 1970"
    )


def test_a_column_of_another_type_is_refused() -> None:
    with pytest.raises(
        DataError,
        match="column 'when' contains booleans, but times are numbers since 1970, ISO text or timestamps",
    ):
        milliseconds([True])


def test_utc_by_name_takes_precedence_over_tz() -> None:
    assert milliseconds(["2024-03-01 12:00:00 UTC"], tz="Europe/Berlin") == [NOON_MS]


def test_the_name_of_another_zone_is_not_ignored() -> None:
    """DuckDB would read it as a time without a zone."""
    with pytest.raises(DataError, match="row 2 of column 'when' is not a time: '2024-03-01 12:00:00 EST'"):
        milliseconds(["2024-03-01 12:00:00", "2024-03-01 12:00:00 EST"], tz="UTC")


@pytest.mark.parametrize("bad", ["oops", "inf", "nan", "2024-03-01T12:00:00Z"])
def test_among_numbers_the_text_that_is_not_a_number_is_reported(bad: str) -> None:
    with pytest.raises(DataError) as caught:
        milliseconds([str(NOON_S), str(NOON_S), bad, str(NOON_S)])
    assert str(caught.value) == (
        f"row 3 of column 'when' is not a time: {bad!r}; write ISO times such as '2024-03-01T10:00:00Z' or seconds since "
        "1970"
    )


@pytest.mark.parametrize("bad", ["infinity", "epoch", str(NOON_S)])
def test_among_times_the_text_that_is_not_a_time_is_reported(bad: str) -> None:
    with pytest.raises(DataError, match=f"row 2 of column 'when' is not a time: '{bad}'; "):
        milliseconds(["2024-03-01 12:00:00", bad, "2024-03-01 12:00:00"], tz="UTC")


def test_numbers_too_large_for_a_date_are_refused() -> None:
    with pytest.raises(
        DataError, match=r"runs from 1e[+]308 to 1e[+]308: as seconds that is a year of ten or more digits"
    ):
        milliseconds([1e308])
