"""The popular items of a moment: decay towards the whole log, contexts, and saving."""

from math import inf, nan

import numpy as np
import pyarrow as pa
import pytest

from reprise.data import popular_items as module
from reprise.data.popular_items import (
    HOUR,
    SMOOTHING,
    WEEKDAY,
    ContextTable,
    Moment,
    PopularItems,
    popular_shares,
    time_codes,
)

DAY_S = 86_400.0
END_S = 20_000 * DAY_S


def row(*numbers: float) -> np.ndarray:
    return np.array(numbers, dtype=np.float32)


def recent(**changes: object) -> PopularItems:
    """Two items: the first has three quarters of the log, the second all recent events."""
    fields = {"half_life_s": 7 * DAY_S, "end_s": END_S} | changes
    return PopularItems(row(0.75, 0.25), row(0, 300), row(0, 0), **fields)


def test_shares_are_those_of_the_training_events() -> None:
    items = pa.table({"item_id": ["tea", "cup", "pot"], "count": [6, 2, 0]})
    assert popular_shares(items, 2).tolist() == [6 / 8, 2 / 8]


def test_recent_events_lose_weight_until_the_request() -> None:
    popular = recent()
    for weeks in (0, 1, 8):
        decay = 0.5**weeks
        found = popular.at(Moment(END_S + weeks * 7 * DAY_S)).share_I
        total = decay * 300 + SMOOTHING
        assert found == pytest.approx([SMOOTHING * 0.75 / total, (decay * 300 + SMOOTHING * 0.25) / total])
    assert popular.at(Moment(END_S)).row_I.tolist() == [1, 0]
    assert popular.at(Moment(END_S + 400 * DAY_S)).row_I.tolist() == [0, 1]


def test_without_a_time_and_before_the_end_of_the_log_nothing_decays() -> None:
    popular = recent()
    expected = popular.at(Moment(END_S))
    assert popular.at(Moment()) is popular.at(Moment(nan)) is expected
    assert popular.at(Moment(END_S - 30 * DAY_S)) is expected


def test_first_events_refine_the_recent_shares() -> None:
    popular = PopularItems(row(0.75, 0.25), row(0, 0), row(0, 100), 7 * DAY_S, 300.0, END_S)
    assert popular.at(Moment()).share_I == pytest.approx([300 * 0.75 / 400, (100 + 300 * 0.25) / 400])


def test_moments_of_one_hour_and_context_share_a_list() -> None:
    table = ContextTable("country", ("FR", "DE"), np.zeros((2, 2), dtype=np.float32))
    popular = recent(contexts=(table,))
    later = END_S + 5 * DAY_S
    first = popular.at(Moment(later, {"country": "FR"}))
    assert popular.at(Moment(later + 3599, {"country": "FR", "age": 7})) is first
    assert popular.at(Moment(later + 3600, {"country": "FR"})) is not first
    assert popular.at(Moment(later, {"country": "DE"})) is not first


def test_the_oldest_list_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CACHED_PLACES", 6)  # three lists of two items
    popular = recent()
    hours = [Moment(END_S + (hour + 1) * 3600) for hour in range(4)]
    lists = [popular.at(moment) for moment in hours]
    assert [popular.at(moment) is one for moment, one in zip(hours[1:], lists[1:], strict=True)] == [True] * 3
    again = popular.at(hours[0])
    assert again is not lists[0]
    assert again.share_I.tolist() == lists[0].share_I.tolist()


def test_a_context_multiplies_the_shares() -> None:
    table = ContextTable("country", ("FR",), np.log(row(1, 9))[None])
    popular = recent(half_life_s=inf, contexts=(table,))
    plain, french = (popular.at(Moment(attributes=known)).share_I for known in ({}, {"country": "FR"}))
    assert french == pytest.approx(
        [plain[0] / (plain[0] + 9 * plain[1]), 9 * plain[1] / (plain[0] + 9 * plain[1])]
    )
    for known in ({"country": "IT"}, {"country": None}, {"country": ["FR"]}):
        assert popular.at(Moment(attributes=known)).share_I.tolist() == plain.tolist()


def test_hours_and_days_of_the_week_are_in_utc() -> None:
    time_s = np.array([0.0, 3600 * 23.5, DAY_S * 4 - 1, DAY_S * 4])  # 1 January 1970 was a Thursday
    assert time_codes(HOUR, time_s).tolist() == [0, 23, 23, 0]
    assert time_codes(WEEKDAY, time_s).tolist() == [3, 3, 6, 0]


@pytest.mark.parametrize(
    ("half_life_days", "late_days", "known", "expected"),
    [
        (inf, 0, {}, "popular items"),
        (7, 0, {}, "popular this week"),
        (7, 20, {}, "popular this month"),
        (0.5, 0, {}, "popular today"),
        (7, 900, {}, "popular items"),
        (7, 0, {"country": "FR"}, "popular this week in FR"),
        (inf, 0, {"country": "FR"}, "popular in FR"),
    ],
)
def test_the_description_names_the_time_and_the_attribute(
    half_life_days: float, late_days: float, known: dict[str, str], expected: str
) -> None:
    table = ContextTable("country", ("FR",), np.zeros((1, 2), dtype=np.float32))
    popular = recent(half_life_s=half_life_days * DAY_S, contexts=(table,))
    assert popular.description(Moment(END_S + late_days * DAY_S, known)) == expected


def test_the_description_names_the_column_of_other_attributes() -> None:
    table = ContextTable("device", ("phone",), np.zeros((1, 2), dtype=np.float32))
    found = recent(contexts=(table,)).description(Moment(END_S, {"device": "phone"}))
    assert found == "popular this week for device phone"


def test_the_description_names_the_hour() -> None:
    table = ContextTable(HOUR, tuple(range(24)), np.zeros((24, 2), dtype=np.float32))
    assert recent(contexts=(table,)).description(Moment(END_S)) == "popular this week at this hour"


@pytest.mark.parametrize("static", [False, True])
def test_saved_popular_items_are_the_same(static: bool) -> None:
    table = ContextTable("country", ("FR",), row(0.5, -0.5)[None])
    popular = PopularItems.static(row(0.7, 0.3)) if static else recent(contexts=(table,))
    again = PopularItems.restore(popular.to_json(), popular.to_tensors())
    for moment in (Moment(), Moment(END_S + 9 * DAY_S), Moment(END_S, {"country": "FR"})):
        assert again.at(moment).share_I.tolist() == popular.at(moment).share_I.tolist()
        assert again.description(moment) == popular.description(moment)
