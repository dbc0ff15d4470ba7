"""The column of each role is recognised by its name, named by the caller, or refused with a suggestion."""

import pandas as pd
import pyarrow as pa
import pytest

from reprise.data.io.events import Columns, read_events
from reprise.errors import ConfigError, DataError

S = 1_700_000_000


def frame(**columns: list) -> pa.Table:
    return pa.table(columns)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["user_id", "item_id", "timestamp"], Columns("user_id", "item_id", "timestamp")),
        (["USER_ID", "ITEM_ID", "TIMESTAMP"], Columns("USER_ID", "ITEM_ID", "TIMESTAMP")),
        (["SessionId", "ItemId", "Time"], Columns(None, "ItemId", "Time", "SessionId")),
        (["user_id", "item_id", "datetime"], Columns("user_id", "item_id", "datetime")),
        (
            ["userId", "itemId", "timestamp", "rating"],
            Columns("userId", "itemId", "timestamp", value="rating"),
        ),
        (["user_id", "item_id", "datetime", "timestamp"], Columns("user_id", "item_id", "timestamp")),
        (
            ["USER_ID", "ITEM_ID", "TIMESTAMP", "EVENT_TYPE", "EVENT_VALUE"],
            Columns("USER_ID", "ITEM_ID", "TIMESTAMP", kind="EVENT_TYPE", value="EVENT_VALUE"),
        ),
    ],
)
def test_known_names_are_recognised(names: list[str], expected: Columns) -> None:
    assert read_events(frame(**{name: [S] for name in names})).columns == expected


def test_the_table_has_canonical_names_and_is_lazy() -> None:
    events = read_events(
        frame(who=["a"], sku=[1], at=[S], did=["buy"]), user="who", item="sku", time="at", kind="did"
    )
    assert events.table.columns == ("user_id", "item_id", "timestamp", "kind")


def test_columns_can_be_given_as_one_object() -> None:
    events = read_events(frame(who=["a"], item_id=[1], time=[S]), Columns(user="who"))
    assert events.columns == Columns("who", "item_id", "time")


def test_a_missing_named_column_suggests_a_similar_name() -> None:
    with pytest.raises(DataError) as caught:
        read_events(frame(user_id=["a"], item_sku=[1], timestamp=[S]), item="item_skus")
    assert str(caught.value) == "the events have no item column 'item_skus'; did you mean 'item_sku'?"


def test_a_misspelt_column_suggests_a_similar_name() -> None:
    with pytest.raises(DataError) as caught:
        read_events(frame(user_id=["a"], itm_id=[1], timestamp=[S]))
    assert str(caught.value) == (
        "the events have no column 'item_id'; did you mean 'itm_id'? (or name the column: item=NAME, "
        "--item-column NAME)"
    )


def test_a_log_without_users_and_sessions_is_refused() -> None:
    with pytest.raises(DataError) as caught:
        read_events(frame(item_id=[1], timestamp=[S]))
    assert str(caught.value).startswith("the events have no column 'user_id'; ")


def test_an_unknown_role_suggests_a_similar_name() -> None:
    with pytest.raises(ConfigError) as caught:
        read_events(frame(user_id=["a"], item_id=[1], timestamp=[S]), itm="item_id")
    assert str(caught.value) == "unknown column 'itm'; did you mean 'item'?"


def test_pandas_ids_with_missing_values_are_refused_with_an_explanation() -> None:
    table = pd.DataFrame({"user_id": [1, None], "item_id": [1, 2], "timestamp": [S, S]})
    with pytest.raises(DataError) as caught:
        read_events(table)
    assert str(caught.value) == (
        "ids must be text or integers, but column 'user_id' contains floats; pandas turns integers with missing values into "
        "floats: drop the rows without an id, then cast"
    )


@pytest.mark.parametrize("ids", [[b"a"], [True], [pd.Timestamp("2024-01-01")]])
def test_ids_of_other_types_are_refused(ids: list) -> None:
    with pytest.raises(DataError, match="ids must be text or integers, but column 'item_id' contains "):
        read_events(frame(user_id=[1], item_id=ids, timestamp=[S]))


def test_an_unknown_zone_is_refused_before_anything_is_read() -> None:
    with pytest.raises(ConfigError, match="unknown time zone 'Mars'"):
        read_events("nowhere.csv", tz="Mars")


def test_an_empty_name_excludes_a_recognised_column() -> None:
    table = frame(user_id=["a"], item_id=[1], timestamp=[S], event=["x"], price=["cheap"])
    events = read_events(table, kind="", value="")
    assert events.columns == Columns("user_id", "item_id", "timestamp")
    assert events.table.columns == ("user_id", "item_id", "timestamp")


def test_a_required_column_cannot_be_excluded() -> None:
    with pytest.raises(DataError, match="the events have no column 'item_id'"):
        read_events(frame(user_id=["a"], item_id=[1], timestamp=[S]), item="")


def test_all_missing_columns_are_reported_together() -> None:
    with pytest.raises(DataError) as caught:
        read_events(frame(who=["a"], itm_id=[1], at=[S]))
    assert str(caught.value) == (
        "the events have no column 'user_id', no column 'item_id' and no column 'timestamp'; found: who, itm_id, at; did you "
        "mean 'itm_id' for 'item_id'? (or name the columns: user=NAME, item=NAME, time=NAME, --user-column NAME "
        "--item-column NAME --time-column NAME)"
    )


def test_named_and_recognised_columns_that_are_missing_are_reported_together() -> None:
    with pytest.raises(DataError) as caught:
        read_events(frame(user_id=["a"], at=[S]), item="sku", kind="what")
    assert str(caught.value) == (
        "the events have no item column 'sku', no kind column 'what' and no column 'timestamp'; found: user_id, at; did you "
        "mean 'at' for 'what'? (or name the column: time=NAME, --time-column NAME)"
    )


def test_a_message_about_300_columns_names_20() -> None:
    with pytest.raises(DataError, match=r"found: c0, .*, c19 and 280 more \(or name"):
        read_events(frame(**{f"c{number}": [1] for number in range(300)}))


def test_one_column_cannot_be_the_item_and_the_user() -> None:
    with pytest.raises(
        DataError, match="column 'user_id' is both the item and the user column; name another column"
    ):
        read_events(frame(user_id=["a"], timestamp=[S]), item="user_id")


@pytest.mark.parametrize("columns", [{"user": "who"}, ["who"], "who"])
def test_columns_of_another_type_are_refused(columns: object) -> None:
    with pytest.raises(
        ConfigError, match=r"name the columns either by keywords, such as read_events\(source, item="
    ):
        read_events(frame(who=["a"], item_id=[1], timestamp=[S]), columns)  # type: ignore[arg-type]


def test_columns_given_twice_are_refused() -> None:
    with pytest.raises(ConfigError, match="name the columns either by keywords"):
        read_events(frame(who=["a"], item_id=[1], timestamp=[S]), Columns(), user="who")


@pytest.mark.parametrize("name", [0, b"who", ["who"]])
def test_a_column_name_that_is_not_text_is_refused(name: object) -> None:
    with pytest.raises(
        ConfigError, match=r"user=.* is not the name of a column; give a text, or '' for no column"
    ):
        read_events(frame(who=["a"], item_id=[1], timestamp=[S]), user=name)  # type: ignore[arg-type]


def test_an_unknown_unit_of_times_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        read_events(frame(user_id=["a"], item_id=[1], timestamp=[S]), time_unit="sec")  # type: ignore[arg-type]
    assert str(caught.value) == "time_unit='sec' is not a unit of times; choose one of s, ms, us, ns"
