"""Invalid options are refused before any row is read, and only the columns that are needed must have a usable type."""

from typing import Any

import pyarrow as pa
import pytest

from reprise.data.io.events import read_events
from reprise.data.preparing.plan import PrepareOptions, make_plan
from reprise.errors import ConfigError, DataError

S = 1_700_000_000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"duplicates": "merge"}, "duplicates must be 'drop' or 'keep', got 'merge'"),
        ({"sequence_by": "item"}, "sequence_by must be 'user' or 'session', got 'item'"),
        ({"min_item_events": 0}, "min_item_events must be at least 1, got 0"),
        (
            {"session_gap": "soon"},
            "'soon' is not a duration; write a number and one of ms, s, min, h, d, w, such as '7d'",
        ),
        (
            {"session_gap": "1h", "sequence_by": "user"},
            "session_gap divides users into sessions; omit sequence_by='user'",
        ),
        (
            {"session_gap": 1800},
            "1800 is not a duration; write a number and one of ms, s, min, h, d, w, such as '7d'",
        ),
        ({"max_events_per_day": 0}, "max_events_per_day must be at least 1, got 0"),
        ({"max_events_per_day": "many"}, "max_events_per_day must be a whole number, got 'many'"),
        ({"min_item_events": "5"}, "min_item_events must be a whole number, got '5'"),
        ({"min_item_event": 5}, "unknown option 'min_item_event'; did you mean 'min_item_events'?"),
    ],
)
def test_invalid_options_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        PrepareOptions.from_keywords(options)
    assert str(caught.value) == message


def test_by_default_only_sequences_of_one_event_are_dropped() -> None:
    options = PrepareOptions()
    assert (options.min_item_events, options.min_sequence_events) == (1, 2)


def sessions(**columns: Any) -> pa.Table:
    rows = {"item_id": [1, 2] * 4, "timestamp": [S + row for row in range(8)]}
    return pa.table({"user_id": [1, 1, 2, 2] * 2, "session_id": [1, 1, 2, 2, 3, 3, 4, 4], **rows, **columns})


EMPTY = pa.nulls(8)
UNUSABLE = [EMPTY, pa.array([[1]] * 8), pa.array([True] * 8), pa.array([1.5] * 8), pa.array([b"a"] * 8)]


@pytest.mark.parametrize("column", UNUSABLE, ids=lambda column: str(column.type))
def test_a_session_column_that_is_not_needed_may_have_any_type(column: pa.Array) -> None:
    plan = make_plan(read_events(sessions(session_id=column)), None, None, PrepareOptions())
    assert plan.sequence_column == "user_id"
    with pytest.raises(DataError, match=r"column 'session_id' (has no value in any row|contains)"):
        make_plan(read_events(sessions(session_id=column)), None, None, PrepareOptions(sequence_by="session"))


@pytest.mark.parametrize("column", UNUSABLE, ids=lambda column: str(column.type))
def test_a_user_column_that_is_not_needed_is_not_read_and_noted(column: pa.Array) -> None:
    log = read_events(sessions(user_id=column))
    plan = make_plan(log, None, None, PrepareOptions(sequence_by="session"))
    assert plan.events.columns.user is None
    assert plan.notes[0].startswith("the user column is not read: ")
    with pytest.raises(DataError, match=r"column 'user_id' (has no value in any row|contains)"):
        make_plan(log, None, None, PrepareOptions())


def test_empty_kinds_and_values_are_not_read_and_noted() -> None:
    plan = make_plan(read_events(sessions(kind=EMPTY, price=EMPTY)), None, None, PrepareOptions())
    assert (plan.events.columns.kind, plan.events.columns.value) == (None, None)
    assert plan.notes == (
        "column 'kind' (kind) is empty in every row and is not read",
        "column 'price' (value) is empty in every row and is not read",
    )


@pytest.mark.parametrize("column", [None, pa.array([1.5] * 8)], ids=["none", "floats"])
def test_events_per_day_are_not_counted_without_users(column: pa.Array | None) -> None:
    log = sessions(user_id=column) if column is not None else sessions().drop_columns(["user_id"])
    options = PrepareOptions(sequence_by="session", max_events_per_day=100)
    with pytest.raises(
        DataError, match=r"no user column; name it \(user=NAME|column 'user_id' contains floats"
    ):
        make_plan(read_events(log), None, None, options)
