from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest

from reprise.errors import DataError
from reprise.recommender.catalogue import Catalogue
from reprise.recommender.history import HistoryLike, moment_s, read_history

GOODS = Catalogue(pa.table({"item_id": ["a", "b", "c"], "count": [3, 2, 1]}), warm=3)


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
def test_every_form_of_a_history_reads_the_same(events: HistoryLike) -> None:
    history = read_history(events, GOODS)
    assert history.index_T.tolist() == [2, 1]
    assert history.position_T.tolist() == [0, 2]
    assert history.skipped == 1


def test_an_empty_history_has_no_events() -> None:
    assert len(read_history([], GOODS)) == 0


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ("abc", r"^a history is a list of events, oldest first, got 'abc'; pass \['abc'\]$"),
        (None, r"^a history is a list of events, oldest first, got None; without events pass \[\]$"),
        (7, r"^a history is a list of events, oldest first, got 7; without events pass \[\]$"),
        ([{"itemid": "a"}], r"^event \{'itemid': 'a'\} has no 'item_id'; did you mean 'itemid'\?$"),
        ([("a", 1, 2)], r"^event \('a', 1, 2\) has 3 parts; an event is \(item_id, timestamp\)$"),
        ([("a", 20), ("b", 10)], r"^event 1 of the history \(10\) is earlier than the one before it; sort "),
        ([("a", "2024-03-01")], r"^timestamp 2024-03-01 00:00:00 has no time zone; write its offset, as in "),
        ([("a", "yesterday")], r"^timestamp 'yesterday' is not ISO 8601; write 2024-03-01T10:00:00\+00:00$"),
        ([("a", float("nan"))], r"^nan is no timestamp; pass seconds since 1970, an ISO 8601 string or a datetime$"),
        ([("a", True)], r"^True is no timestamp; "),
    ],
)  # fmt: skip
def test_what_cannot_be_read_says_so(events: HistoryLike, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_history(events, GOODS)


def test_seconds_milliseconds_and_dates_are_one_moment() -> None:
    moment = datetime(2024, 3, 1, 10, tzinfo=UTC)
    forms = [moment, moment.isoformat(), moment.timestamp(), int(moment.timestamp() * 1000)]
    assert {moment_s(form) for form in forms} == {moment.timestamp()}
