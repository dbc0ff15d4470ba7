"""Numbers are times only if nothing else is likely: compact dates, lost digits and mixed units are refused."""

from typing import Any

import numpy as np
import pytest
from time_reading import milliseconds

from reprise.errors import DataError

NOON_S = 1_709_294_400
HOURS = [2024_03_01_12, 2024_03_01_13, 2024_12_31_23]


@pytest.mark.parametrize("convert", [int, str, float, lambda hour: f"{hour}.0"])
def test_compact_dates_with_hours_are_refused_with_the_years_they_would_mean(convert: Any) -> None:
    with pytest.raises(DataError) as caught:
        milliseconds([convert(hour) for hour in HOURS])
    assert str(caught.value) == (
        "column 'when' looks like compact dates (yyyymmddHH): 2024030112 in row 1 would be 2024-03-01 12:00, but as seconds "
        "since 1970 it is 2034-02-20 06:35; write ISO times such as '2024-03-01T10:00:00Z', or pass time_unit='s' "
        "(--time-unit s) if these are seconds since 1970"
    )


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (20240301, r"\(yyyymmdd\): 20240301 in row 1 would be 2024-03-01; write ISO times"),
        (
            202403011230,
            r"\(yyyymmddHHMM\): 202403011230 in row 1 would be 2024-03-01 12:30, but as milliseconds since 1970",
        ),
        (
            20240301123059,
            r"\(yyyymmddHHMMSS\): 20240301123059 in row 1 would be 2024-03-01 12:30; write ISO times",
        ),
        (
            20240301123059000,
            r"\(yyyymmddHHMMSSfff\): 20240301123059000 in row 1 would be 2024-03-01 12:30; write ISO",
        ),
    ],
)
def test_compact_dates_of_every_length_are_named(value: int, message: str) -> None:
    for values in ([value] * 3, [str(value)] * 3):
        with pytest.raises(DataError, match=message):
            milliseconds(values)


def test_a_few_wrong_dates_do_not_turn_compact_dates_into_seconds() -> None:
    with pytest.raises(DataError, match="looks like compact dates"):
        milliseconds([*HOURS * 5, 2024_02_00_00])


def test_seconds_that_happen_to_look_like_a_date_in_some_rows_are_seconds() -> None:
    values = [2024_03_01_12 + 3600 * hour for hour in range(5)]
    assert milliseconds(values) == [value * 1000 for value in values]


@pytest.mark.parametrize("convert", [int, str, float])
def test_the_caller_can_state_that_they_are_seconds(convert: Any) -> None:
    assert milliseconds([convert(hour) for hour in HOURS], unit="s") == [hour * 1000 for hour in HOURS]


@pytest.mark.parametrize(
    ("unit", "per_second"), [("s", 1), ("ms", 1_000), ("us", 1_000_000), ("ns", 1_000_000_000)]
)
def test_a_stated_unit_also_reads_times_that_are_not_plausible(unit: str, per_second: int) -> None:
    values = [0, per_second, -3 * per_second]
    assert milliseconds(values, unit=unit) == [0, 1000, -3000]


def test_a_stated_unit_that_cannot_be_right_is_refused() -> None:
    with pytest.raises(DataError) as caught:
        milliseconds([NOON_S, NOON_S * 1000], unit="s")
    assert str(caught.value) == (
        "row 2 of column 'when' is 1709294400000: as seconds (time_unit='s') that is the year 56135; give the unit of all "
        "rows (--time-unit)"
    )


def test_float32_is_refused_with_its_resolution() -> None:
    with pytest.raises(DataError) as caught:
        milliseconds(np.array([NOON_S, NOON_S + 20], dtype=np.float32))
    # 2^30 < NOON_S < 2^31, and a float32 has 24 significant bits
    assert str(caught.value) == (
        f"column 'when' is stored as float32, which keeps only every {2 ** (31 - 24)}th number at {NOON_S + 64}: times "
        f"are rounded to {2 ** (31 - 24)} s, and order and gaps are lost; write the original times as int64 or float64"
    )


def test_float32_milliseconds_are_refused_with_their_resolution() -> None:
    # 2^40 < 1.7e12 < 2^41
    with pytest.raises(DataError, match=f"times are rounded to {2 ** (41 - 24) / 1000:.4g} s"):
        milliseconds(np.array([NOON_S * 1000], dtype=np.float32))


def test_text_that_lost_its_last_digits_is_refused() -> None:
    with pytest.raises(DataError) as caught:
        milliseconds(["1.70929E+09", "1.70931E+09"])
    assert str(caught.value) == (
        "column 'when' has lost its last digits: '1.70929E+09' is exact to 10,000 s only, so order and gaps are lost; write "
        "the times with all their digits (a spreadsheet shows numbers this way)"
    )


def test_text_with_an_exponent_and_all_digits_is_read() -> None:
    assert milliseconds(["1.7092944e+09", "1.709294401e+09"]) == [NOON_S * 1000, NOON_S * 1000 + 1000]


def test_rows_without_a_time_are_named_among_plausible_ones() -> None:
    with pytest.raises(DataError) as caught:
        milliseconds([NOON_S, 0, NOON_S, 0])
    assert str(caught.value) == (
        "column 'when' has 2 rows that are not times since 1970, first 0 in row 2, while row 1 is 1709294400 (seconds); drop "
        "these rows"
    )


def test_float16_is_named_as_the_cause_of_infinite_times() -> None:
    with pytest.raises(
        DataError, match="infinite in 1 rows, first in row 1; write times as int64 or float64"
    ):
        milliseconds(np.array([np.inf], dtype=np.float32))


ROUNDED = np.arange(NOON_S, NOON_S + 60_000, 1_234).astype(np.float32).astype(np.float64)


@pytest.mark.parametrize(("unit", "per_second"), [("s", 1), ("ms", 1_000), ("ns", 10**9)])
@pytest.mark.parametrize("convert", [float, int, lambda value: f"{value:.1f}"])
def test_times_that_were_32_bit_floats_before_are_refused(convert: Any, unit: Any, per_second: int) -> None:
    times = [convert(value) for value in (ROUNDED * per_second).astype(np.float32)]
    with pytest.raises(
        DataError, match=r"as if they had been 32-bit floats: times are rounded to 1\d\d(\.\d)? s"
    ) as caught:
        milliseconds(times)
    assert f"pass time_unit='{unit}' (--time-unit {unit}) if these are exact" in str(caught.value)
    assert len(milliseconds(times, unit=unit)) == len(times)


def test_exact_times_that_32_bit_floats_can_hold_are_read() -> None:
    whole_days = [1_700_000_000 + 86_400 * day for day in range(20)]
    assert milliseconds(whole_days) == [time * 1000 for time in whole_days]
    few = ROUNDED[:5].astype(np.int64).tolist()
    assert milliseconds(few) == [time * 1000 for time in few]
    one_exact = [*ROUNDED.astype(np.int64).tolist(), NOON_S + 1]
    assert milliseconds(one_exact) == [time * 1000 for time in one_exact]
