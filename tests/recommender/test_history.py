from collections import namedtuple
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from reprise.errors import DataError
from reprise.recommender.history import HistoryLike, read_history, request_time_s, unix_seconds
from reprise.recommender.items.catalogue import Catalogue

TABLE = pa.table({"item_id": ["a", "b", "c"], "count": [3, 2, 1]})
GOODS = Catalogue(TABLE, warm=3)
KINDS = Catalogue(TABLE, warm=3, kinds=("view", "buy"))


@pytest.mark.parametrize(
    "events",
    [
        ["b", "x", "a"],
        ("b", "x", "a"),
        iter(["b", "x", "a"]),
        np.array(["b", "x", "a"]),
        [("b", 10), ("x", 20), ("a", 20)],
        [["b", "2024-03-01T10:00:00Z"], ["x", None], ["a", "2024-03-01T11:30:00+01:00"]],
        [
            {"item_id": "b", "timestamp": datetime(2024, 3, 1, tzinfo=UTC)},
            {"item_id": "x"},
            {"item_id": "a", "kind": "buy"},
        ],
        ["b", ("x", 1_700_000_000), {"item_id": "a", "timestamp": 1_700_000_000_000}],
    ],
)
def test_all_forms_of_a_history_give_the_same_events(events: HistoryLike) -> None:
    history = read_history(events, GOODS)
    assert history.events.item.tolist() == [2, 1]
    assert history.position_T.tolist() == [0, 2]
    assert history.skipped == 1


def test_an_empty_history_has_no_events() -> None:
    assert len(read_history([], GOODS)) == 0


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ("abc", r"^a history is a list of events, oldest first, got 'abc'; pass \['abc'\]$"),
        (None, r"^a history is a list of events, oldest first, got None; for a user without events pass \[\]$"),
        (7, r"^a history is a list of events, oldest first, got 7; for a user without events pass \[\]$"),
        ([{"itemid": "a"}], r"^event \{'itemid': 'a'\} has no 'item_id'; did you mean 'itemid'\?$"),
        ([("a", 1, 2)], r"^event \('a', 1, 2\) has 3 parts; an event is \(item_id, timestamp\)$"),
        ([("a", 20), ("b", 10)], r"^event 1 of the history \(10\) is earlier than the one before it; sort "),
        ([("a", "2024-03-01")], r"^timestamp 2024-03-01 00:00:00 has no time zone; write its offset, as in "),
        ([("a", "yesterday")], r"^timestamp 'yesterday' is not ISO 8601; write 2024-03-01T10:00:00\+00:00$"),
        ([("a", float("nan"))], r"^nan is not a timestamp; pass seconds since 1970, an ISO 8601 string or a datetime$"),
        ([("a", True)], r"^True is not a timestamp; "),
        ([("a", "9999-12-31T23:59:59-01:00")], r"^timestamp '9999-.+ is in UTC before the year 1 or after the year 9999; "),
        ([{"item_id": "a", "value": "3"}], r"^value '3' is not a finite number; leave it out for an event without a value$"),
        ([{"item_id": "a", "value": True}], r"^value True is not a finite number; "),
        ([{"item_id": "a", "value": float("inf")}], r"^value inf is not a finite number; "),
        ([{"item_id": "a", "value": -1e39}], r"^value -1e\+39 is not a finite number; "),
        ([{"item_id": "a", "value": 10**400}], r"^value 10000.* of type int is not a finite number; "),
        ([("a", 10**400)], r"^10000.* of type int is not a timestamp; pass seconds since 1970"),
        ([("a", -(10**400))], r"^-10000.* of type int is not a timestamp; pass seconds since 1970"),
        ([("a", np.timedelta64(5, "s"))], r"^np.timedelta64\(5,'s'\) is not a timestamp; "),
    ],
)  # fmt: skip
def test_invalid_histories_are_errors(events: HistoryLike, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_history(events, GOODS)


def test_seconds_milliseconds_and_dates_give_the_same_time() -> None:
    time = datetime(2024, 3, 1, 10, tzinfo=UTC)
    forms = [time, time.isoformat(), time.timestamp(), int(time.timestamp() * 1000)]
    assert {unix_seconds(form) for form in forms} == {time.timestamp()}


def test_times_kinds_and_values_are_read() -> None:
    history = read_history(
        [
            {"item_id": "a", "timestamp": 1_700_000_000_500, "kind": "buy", "value": 2.5},
            {"item_id": "x", "timestamp": 1_700_000_001, "kind": "buy", "value": 7},
            "b",
            ("c", 1_700_000_002),
            {"item_id": "a", "kind": None, "value": np.float32("nan")},
        ],
        KINDS,
    )
    nan = pytest.approx(float("nan"), nan_ok=True)
    assert history.events.item.tolist() == [1, 2, 3, 1]
    assert history.events.time_s.tolist() == [1_700_000_000.5, nan, 1_700_000_002.0, nan]
    assert history.events.kind.tolist() == [1, 0, 0, 0]
    assert history.events.value.tolist() == [2.5, nan, nan, nan]
    assert history.last_s == 1_700_000_002


def test_the_last_time_includes_events_of_unknown_items() -> None:
    assert read_history([("a", 1e9), ("x", 2e9)], GOODS).last_s == 2e9
    assert np.isnan(read_history(["a"], GOODS).last_s)


def test_an_event_without_a_kind_gets_the_default_or_the_most_frequent_kind() -> None:
    named = Catalogue(TABLE, warm=3, kinds=("view", "event", "buy"))
    for events in (["a"], [("a", 5)], [{"item_id": "a"}]):
        assert read_history(events, KINDS).events.kind.tolist() == [0]
        assert read_history(events, named).events.kind.tolist() == [1]


def test_an_unknown_kind_is_an_error_if_the_network_reads_kinds() -> None:
    events = [{"item_id": "a", "kind": "veiw"}]
    with pytest.raises(DataError, match=r"^unknown kind of event 'veiw'; did you mean 'view'\?$"):
        read_history(events, KINDS)
    assert read_history(events, GOODS).events.kind.tolist() == [0]


def test_a_request_before_the_last_event_is_an_error() -> None:
    assert request_time_s(1e9, 1e9) == request_time_s(1e9, float("nan")) == 1e9
    assert np.isnan(request_time_s(None, 1e9))
    with pytest.raises(
        DataError,
        match=r"^now \(2001-09-09T01:46:39\+00:00\) is before the last event \(2001-09-09T01:46:40\+00:00\); pass a later ",
    ):
        request_time_s(1e9 - 1, 1e9)
    with pytest.raises(DataError, match=r"^now \(-90000000000 s\) is before the last event"):
        request_time_s(-9e10, 1e9)


Row = namedtuple("Row", ["Index", "item_id", "timestamp"])


def test_rows_of_a_data_frame_are_read_by_their_names() -> None:
    frame = pd.DataFrame(
        {"item_id": ["b", "x", "a"], "timestamp": [10, 20, 20], "kind": ["buy", None, np.nan]}
    )
    for events in (
        frame.to_dict("records"),
        list(frame.itertuples()),
        [Row(0, "b", 10), Row(1, "x", 20), Row(2, "a", 20)],
    ):
        history = read_history(events, KINDS)
        assert history.events.item.tolist() == [2, 1]
        assert history.events.time_s.tolist() == [10, 20]
    assert read_history(frame.to_dict("records"), KINDS).events.kind.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("name", "field"), [("time", "timestamp"), ("event_time", "timestamp"), ("event_type", "kind")]
)
def test_a_field_with_the_name_of_a_column_is_refused(name: str, field: str) -> None:
    with pytest.raises(DataError, match=f"has '{name}'; name it '{field}', or leave it out$"):
        read_history([{"item_id": "a", name: 5}], GOODS)
    assert len(read_history([{"item_id": "a", name: 5, field: 5}], GOODS)) == 1


@pytest.mark.parametrize("timestamp", [1.7e15, 1_700_000_000_000_000_000, -1.7e15])
def test_a_time_in_another_unit_is_refused(timestamp: float) -> None:
    with pytest.raises(DataError, match=r"is in .*; pass seconds or milliseconds since 1970$"):
        unix_seconds(timestamp)


@pytest.mark.parametrize("time_s", [np.float32(1.7e9), np.float32(1.7e12), np.float16(60_000)])
def test_a_time_with_too_few_digits_is_refused(time_s: float) -> None:
    with pytest.raises(
        DataError, match=r"is rounded to a multiple of \d+, so order and gaps are lost; pass the "
    ):
        unix_seconds(time_s)
    assert unix_seconds(np.float32(1_000.5)) == 1_000.5


def test_a_missing_time_of_pandas_is_not_a_timestamp() -> None:
    with pytest.raises(DataError, match=r"^NaT is not a timestamp; "):
        unix_seconds(pd.NaT)
