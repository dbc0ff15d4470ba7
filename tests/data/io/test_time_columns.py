"""What a column of times holds is found out from all of it, or refused."""

from datetime import UTC, date, datetime

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reprise.data.io.duckdb_engine import Engine
from reprise.data.io.time_columns import find_form, to_ms
from reprise.data.timestamps import check_zone, format_time, parse_duration, parse_timestamp
from reprise.errors import ConfigError, DataError

NOON = datetime(2024, 3, 1, 12, 0, tzinfo=UTC)
NOON_S = 1_709_294_400
NOON_MS = NOON_S * 1000


def milliseconds(values: list, kind: pa.DataType | None = None, tz: str | None = None) -> list[int]:
    engine = Engine()
    column = pa.array(values, kind) if kind else pa.array(values)
    log = engine.arrow_table("log", pa.table({"timestamp": column, "row": list(range(len(values)))}))
    form = find_form(engine, log, "when", tz)
    return [row["ms"] for row in engine.rows(log.order_by("row").select(ms=to_ms(log.timestamp, form, tz)))]


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
def test_the_same_moment_however_it_is_written(values: list, kind: pa.DataType | None) -> None:
    assert milliseconds(values, kind) == [NOON_MS]


@pytest.mark.parametrize(
    "values",
    [["2024-03-01T12:00:00.250Z"], [NOON_S + 0.25], [f"{NOON_S}.25"], [NOON.replace(microsecond=250_000)]],
)
def test_fractions_of_a_second_are_kept(values: list) -> None:
    assert milliseconds(values) == [NOON_MS + 250]


@pytest.mark.parametrize(
    "values", [["2024-07-01 12:00:00"], [datetime(2024, 7, 1, 12)], ["2024-07-01T12:00"]]
)
def test_a_zone_that_is_passed_is_used_with_its_summer_time(values: list) -> None:
    assert milliseconds(values, tz="Europe/Berlin") == [parse_timestamp("2024-07-01T12:00+02:00")]


def test_a_date_is_the_midnight_of_the_zone() -> None:
    assert milliseconds([date(2024, 3, 1)], tz="UTC") == [parse_timestamp("2024-03-01")]


@pytest.mark.parametrize(
    "values", [[datetime(2024, 3, 1, 10)], ["2024-03-01 10:00"], ["2024-03-01T10:00:00"]]
)
def test_times_without_a_zone_are_refused(values: list) -> None:
    with pytest.raises(DataError) as caught:
        milliseconds(values)
    assert str(caught.value) == (
        "column 'when' has no time zone (first value 2024-03-01 10:00); "
        'pass tz="Europe/Berlin" or store UTC.'
    )


def test_times_with_and_without_a_zone_are_refused_even_with_tz() -> None:
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
        "column 'when' runs from 1709294400 to 1709294400000: as seconds that is 2024-03-01 12:00 to the year 56135, "
        "as milliseconds 1970-01-20 18:48 to 2024-03-01 12:00; store seconds or milliseconds since 1970, the same unit "
        "in every row"
    )


def test_seconds_taken_for_milliseconds_are_refused() -> None:
    with pytest.raises(DataError) as caught:
        milliseconds([datetime.fromtimestamp(NOON_S / 1000, UTC)])
    assert str(caught.value) == (
        "column 'when' runs from 1970-01-20 18:48 to 1970-01-20 18:48; were seconds taken for milliseconds, or "
        "milliseconds for seconds, when it was made?"
    )


def test_positions_are_no_times() -> None:
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


def test_text_that_is_no_time_is_named_with_its_row() -> None:
    with pytest.raises(DataError) as caught:
        milliseconds(["2024-03-01T12:00:00Z", "yesterday"])
    assert str(caught.value) == (
        "row 2 of column 'when' is no time: 'yesterday'; write ISO times such as '2024-03-01T10:00:00Z' or seconds "
        "since 1970"
    )


def test_a_type_that_is_no_time_is_refused() -> None:
    with pytest.raises(
        DataError, match="column 'when' is of type boolean; times are numbers, ISO text or timestamps"
    ):
        milliseconds([True])


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
def test_durations(text: str, expected: int) -> None:
    assert parse_duration(text) == expected


@pytest.mark.parametrize("text", ["7", "d", "0d", "-1d", "7 days", "1mon", ""])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(
        ConfigError, match="is no duration; write a number and one of ms, s, min, h, d, w, such as '7d'"
    ):
        parse_duration(text)


@given(st.datetimes(datetime(1975, 1, 1), datetime(2200, 1, 1)))
def test_a_moment_without_a_zone_is_utc(moment: datetime) -> None:
    whole = moment.replace(microsecond=0)
    assert (
        parse_timestamp(whole.isoformat())
        == parse_timestamp(whole.isoformat() + "+00:00")
        == parse_timestamp(whole)
    )


def test_what_is_no_moment_is_refused() -> None:
    with pytest.raises(
        ConfigError, match="'1 May' is no date; write it like '2014-09-01' or '2014-09-01T12:00'"
    ):
        parse_timestamp("1 May")


def test_an_unknown_zone_names_the_nearest() -> None:
    with pytest.raises(ConfigError) as caught:
        check_zone("Europe/Berln")
    assert str(caught.value) == "unknown time zone 'Europe/Berln'; did you mean 'Europe/Berlin'?"


def test_times_no_calendar_has_are_shown_as_years() -> None:
    assert format_time(NOON_MS) == "2024-03-01 12:00"
    assert format_time(NOON_MS * 1000) == "the year 56135"


def test_utc_by_name_is_a_zone_that_is_not_overruled() -> None:
    assert milliseconds(["2024-03-01 12:00:00 UTC"], tz="Europe/Berlin") == [NOON_MS]


def test_a_zone_of_another_name_is_not_passed_over() -> None:
    """To the engine it is a time without a zone."""
    with pytest.raises(DataError, match="row 2 of column 'when' is no time: '2024-03-01 12:00:00 EST'"):
        milliseconds(["2024-03-01 12:00:00", "2024-03-01 12:00:00 EST"], tz="UTC")


@pytest.mark.parametrize("bad", ["oops", "inf", "nan", "2024-03-01T12:00:00Z"])
def test_among_numbers_the_one_that_is_none_is_named(bad: str) -> None:
    with pytest.raises(DataError) as caught:
        milliseconds([str(NOON_S), str(NOON_S), bad, str(NOON_S)])
    assert str(caught.value) == (
        f"row 3 of column 'when' is no time: {bad!r}; write ISO times such as '2024-03-01T10:00:00Z' or seconds since "
        "1970"
    )


@pytest.mark.parametrize("bad", ["infinity", "epoch", str(NOON_S)])
def test_among_times_the_one_that_is_none_is_named(bad: str) -> None:
    with pytest.raises(DataError, match=f"row 2 of column 'when' is no time: '{bad}'; "):
        milliseconds(["2024-03-01 12:00:00", bad, "2024-03-01 12:00:00"], tz="UTC")


def test_numbers_beyond_all_calendars_are_refused() -> None:
    with pytest.raises(
        DataError, match=r"runs from 1e[+]308 to 1e[+]308: as seconds that is beyond all calendars"
    ):
        milliseconds([1e308])


def test_a_duration_longer_than_any_log_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_duration("99999999999999w")
    assert str(caught.value) == "'99999999999999w' is longer than any log; give less, such as '7d'"


@pytest.mark.parametrize("value", [7, None, 1.5])
def test_durations_and_moments_that_are_no_text_are_refused(value: object) -> None:
    with pytest.raises(ConfigError, match=f"^{value} is no duration; "):
        parse_duration(value)
    with pytest.raises(ConfigError, match=f"^{value} is no date; "):
        parse_timestamp(value)


@pytest.mark.parametrize("tz", ["Mars", "Europe", 5])
def test_an_unknown_zone_with_none_near_says_how_zones_are_written(tz: object) -> None:
    with pytest.raises(ConfigError) as caught:
        check_zone(tz)
    assert len(str(caught.value)) < 100
    assert str(caught.value).startswith(f"unknown time zone {tz!r}; ")
