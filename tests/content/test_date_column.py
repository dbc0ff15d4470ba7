"""Dates: the age at the end of training, the phase in the year and in the week, and all forms of dates."""

from datetime import UTC, date, datetime

import numpy as np
import pyarrow as pa
import pytest
from item_shops import features, fitted

from reprise.content import Date
from reprise.errors import DataError

END = datetime(2024, 1, 1, tzinfo=UTC)
END_MS = int(END.timestamp() * 1000)
DAYS = [date(2023, 12, 31), date(2023, 1, 1), date(2014, 1, 1)]


def test_the_age_counts_from_the_end_of_training_on_a_log_scale() -> None:
    column = fitted(Date("added", knots=2, cycles=()), DAYS, END_MS)
    young, old = np.log1p(1), np.log1p((date(2024, 1, 1) - DAYS[2]).days)
    share = (np.log1p(365) - young) / (old - young)
    assert features(column, DAYS) == pytest.approx(np.array([[1, 0], [1 - share, share], [0, 1]]))


def test_a_date_after_training_is_age_0() -> None:
    column = fitted(Date("added", cycles=()), DAYS, END_MS)
    later = features(column, [date(2024, 5, 1), date(2023, 12, 31), date(2999, 1, 1)])
    assert later[0].tolist() == later[1].tolist() == later[2].tolist()


def test_the_same_weekday_has_the_same_phase() -> None:
    column = fitted(Date("added", knots=2, cycles=("weekday",)), DAYS, END_MS)
    phase = features(column, [date(2024, 1, 1), date(2024, 1, 8), date(2024, 1, 4)])[:, 2:]
    assert phase[0] == pytest.approx(phase[1], abs=1e-6)
    assert phase[0] @ phase[2] == pytest.approx(np.cos(2 * np.pi * 3 / 7), abs=1e-6)


def test_all_forms_of_the_same_dates_have_the_same_features() -> None:
    forms = [
        DAYS,
        [day.isoformat() for day in DAYS],
        [f"{day.isoformat()}T00:00:00Z" for day in DAYS],
        [datetime(day.year, day.month, day.day, tzinfo=UTC) for day in DAYS],
        [int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) for day in DAYS],
        [int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000) for day in DAYS],
    ]
    expected = features(fitted(Date("added"), DAYS, END_MS), DAYS)
    for values in forms:
        column = fitted(Date("added"), values, END_MS)
        assert features(column, values) == pytest.approx(expected, abs=1e-6)


def test_a_missing_date_has_no_features() -> None:
    column = fitted(Date("added"), [*DAYS, None], END_MS)
    assert features(column, pa.array([None], pa.date32())).any() == np.False_


def test_text_that_is_not_a_date_is_named() -> None:
    with pytest.raises(DataError, match="column 'added' holds dates, and 'soon' is not ISO 8601"):
        fitted(Date("added"), ["2024-01-01", "soon"], END_MS)


def test_numbers_that_are_not_times_are_refused() -> None:
    with pytest.raises(DataError, match="column 'added' of the item table holds numbers that are not times"):
        fitted(Date("added"), [1995, 2001], END_MS)
