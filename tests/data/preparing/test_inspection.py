"""An inspection shows how `prepare` understands each column, and refuses what `prepare` refuses."""

from pathlib import Path

import pyarrow as pa
import pytest

from reprise.data.io.events import read_events
from reprise.data.preparing.inspection import ColumnReading, ItemTableReading, inspect_events
from reprise.data.preparing.prepare import prepare
from reprise.errors import DataError

FIRST = "2023-11-14T22:13:20+00:00"
LAST = "2023-11-23T22:13:24+00:00"


@pytest.mark.parametrize("name", ["log.csv", "log.parquet", "log.jsonl"])
def test_each_column_is_shown_as_prepare_understands_it(write_log, days, name: str) -> None:
    log = write_log(
        [(*row, 1.5, "x") for row in days], ("who", "item_id", "timestamp", "price", "extra"), name
    )
    found = inspect_events(read_events(log, user="who"))
    contains = "text" if name == "log.csv" else "integers"
    assert found.rows == len(days)
    assert found.columns[:4] == (
        ColumnReading("user", "who", "named", "text", "5 sequences"),
        ColumnReading("item", "item_id", "recognised", "text", "4 items"),
        ColumnReading(
            "time",
            "timestamp",
            "recognised",
            contains,
            f"{'text with ' if name == 'log.csv' else ''}seconds since 1970, {FIRST} to {LAST}",
        ),
        ColumnReading("session", None, "", "", ""),
    )
    assert found.columns[5].column == "price"
    assert found.ignored == ("extra",)
    assert found.samples[0] == {"user": "u0", "item": "i0", "time": FIRST, "value": 1.5}
    assert [row["user"] for row in found.samples] == ["u0", "u1", "u2"]


def test_the_item_table_is_shown_with_the_ids_that_join(write_log, days) -> None:
    rows = [(user, int(item[1:]), time_s) for user, item, time_s in days]
    items = write_log(
        [(2, "Mug", 3), (3, "Pot", 4), ("A", "Cup", 5)], ("item_id", "title", "stock"), "items.csv"
    )
    found = inspect_events(write_log(rows, name="log.csv"), items=items)
    assert found.items == ItemTableReading(
        "item_id", {"item_id": "text", "title": "text", "stock": "integer"}, rows=3, joined=2
    )
    # the table has a text id, so the ids of both are text
    assert found.columns[1].contains == "text"
    assert found.samples[0]["item"] == "0"


def test_a_session_column_that_is_not_needed_is_not_read(days) -> None:
    users, items, times = zip(*days, strict=True)
    table = pa.table(
        {"user_id": users, "item_id": items, "timestamp": times, "session_id": pa.nulls(len(days))}
    )
    assert inspect_events(table).ignored == ("session_id",)


def test_what_prepare_refuses_is_refused(write_log, days, tmp_path: Path) -> None:
    log = write_log([*days, (None, "i1", 1_700_000_000)])
    messages = set()
    for call in (lambda: prepare(log, tmp_path / "out"), lambda: inspect_events(log)):
        with pytest.raises(DataError) as caught:
            call()
        messages.add(str(caught.value))
    assert messages == {
        "column 'user_id' has no id in 1 of 51 rows, first in row 51; drop these rows, or give each its own id"
    }


@pytest.mark.parametrize(
    ("start", "step", "beginning"),
    [
        (2311151030, 100, "the events run from 2043-03-28 10:23 to 2043-03-28 10:40, but the clock says "),
        (
            638_356_464 * 10**9,
            10**10,
            "the events run from 1990-03-25 09:14 to 1990-03-25 09:16; check whether",
        ),
    ],
    ids=["yymmddHHMM", "ticks since the year 1"],
)
def test_times_that_mean_an_unlikely_year_are_noted(
    write_log, tmp_path: Path, start: int, step: int, beginning: str
) -> None:
    log = write_log([(user, item, start + step * item) for user in range(3) for item in range(11)])
    notes = [
        *inspect_events(log).notes,
        prepare(log, tmp_path / "shop", split="leave-one-out").facts["warnings"][0],
    ]
    assert [note[: len(beginning)] for note in notes] == [beginning] * 2


def test_times_up_to_now_have_no_note(write_log, days) -> None:
    assert inspect_events(write_log(days)).notes == ()
