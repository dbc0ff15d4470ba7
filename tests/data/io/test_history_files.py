"""Event files are read as one history per user."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reprise.data import user_histories
from reprise.data.history_rules import HistoryRules
from reprise.data.io import history_files
from reprise.data.io.events import Columns, read_events
from reprise.data.io.history_files import read_histories
from reprise.data.user_histories import UserHistories
from reprise.data.vocabulary import ItemId
from reprise.errors import DataError

ROWS = [("b", 1, 30), ("a", 2, 10), ("b", 3, 10), ("a", 4, 10), ("c", 1, 5)]


def log(
    directory: Path, rows: list[tuple[object, object, int]], name: str = "events.csv", user: str = "user_id"
) -> str:
    lines = [f"{user_id},{item_id},{1_700_000_000 + second}" for user_id, item_id, second in rows]
    file = directory / name
    file.write_text("\n".join([f"{user},item_id,timestamp", *lines]) + "\n")
    return str(file)


def read(
    *files: str, integer_items: bool = True, columns: Columns | None = None, **options: Any
) -> list[UserHistories]:
    return list(read_histories(read_events(files, columns), integer_items=integer_items, **options))


def test_histories_are_in_time_order_and_equal_times_keep_the_order_of_the_file(tmp_path: Path) -> None:
    assert read(log(tmp_path, ROWS)) == [UserHistories(["a", "b", "c"], [[2, 4], [3, 1], [1]])]


def test_several_files_are_one_log(tmp_path: Path) -> None:
    first, second = log(tmp_path, ROWS[:2], "1.csv"), log(tmp_path, ROWS[2:], "2.csv")
    assert read(first, second) == read(log(tmp_path, ROWS))


def test_ids_in_a_text_file_get_the_type_of_the_model(tmp_path: Path) -> None:
    file = log(tmp_path, ROWS)
    assert read(file, integer_items=False)[0].events == [["2", "4"], ["3", "1"], ["1"]]


def test_ids_in_json_lines_get_the_type_of_the_model(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    line = '{"user_id": "a", "item_id": %s, "timestamp": 1700000000}\n'
    file.write_text(line % "17" + line % "4")
    assert read(str(file))[0].events == [[17, 4]]
    assert read(str(file), integer_items=False)[0].events == [["17", "4"]]
    file.write_text(line % "17" + line % '"4"')
    assert read(str(file))[0].events == [[17, 4]]
    file.write_text(line % "17" + line % '"04"')
    assert read(str(file), integer_items=False)[0].events == [["17", "04"]]
    with pytest.raises(DataError, match="item id '04' is not an integer, but the item ids of the model are"):
        read(str(file))


@pytest.mark.parametrize("name", ["events.csv", "events.jsonl"])
def test_a_text_file_is_read_once_and_leaves_no_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    file = tmp_path / name
    if name == "events.csv":
        log(tmp_path, ROWS)
    else:
        file.write_text('{"user_id": "a", "item_id": 2, "timestamp": 1700000000}\n')
    events = read_events(file)
    reads = []
    assert events.source.engine is not None
    for stream in events.source.engine._streams.values():
        monkeypatch.setattr(stream, "read", lambda read=stream.read: reads.append(read) or read())
    assert list(read_histories(events, integer_items=True))
    assert len(reads) == 1
    assert list((tmp_path / "temporary").iterdir()) == []


def test_without_users_each_session_is_a_history(tmp_path: Path) -> None:
    assert read(log(tmp_path, ROWS, user="session_id"))[0].keys == ["a", "b", "c"]


def test_users_are_returned_in_batches_of_whole_histories(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(user_histories, "USERS_PER_BATCH", 2)
    found = read(log(tmp_path, ROWS))
    assert [group.keys for group in found] == [["a", "b"], ["c"]]
    assert [group.events for group in found] == [[[2, 4], [3, 1]], [[1]]]


def test_a_history_may_span_batches_of_the_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = read(log(tmp_path, ROWS))
    whole_batches = history_files.DuckDBEngine.batches
    monkeypatch.setattr(
        history_files.DuckDBEngine,
        "batches",
        lambda self, expression: (
            batch.slice(row, 1) for batch in whole_batches(self, expression) for row in range(len(batch))
        ),
    )
    assert read(log(tmp_path, ROWS)) == expected


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("a", "", 1), "1 rows have no item_id; remove these rows, or add the ids"),
        (("", "4", 1), "1 rows have no user_id; remove these rows, or add the ids"),
    ],
)
def test_an_invalid_id_is_refused(tmp_path: Path, row: tuple[str, str, int], message: str) -> None:
    with pytest.raises(DataError) as caught:
        read(log(tmp_path, [*ROWS, row]))
    assert str(caught.value) == message


@pytest.mark.parametrize("item", ["x9", "1.7", "02", "+2", "9" * 25])
def test_an_id_that_is_not_an_integer_of_the_model_is_refused(tmp_path: Path, item: str) -> None:
    with pytest.raises(DataError) as caught:
        read(log(tmp_path, [*ROWS, ("a", item, 1)]))
    assert str(caught.value) == (
        f"item id {item!r} is not an integer, but the item ids of the model are integers; "
        "write ids as integers of at most 64 bits, without zeros or a sign + in front"
    )


def test_an_empty_text_is_not_an_id_in_a_table_either() -> None:
    rows = [{"user_id": name, "item_id": "4", "timestamp": 1_700_000_000} for name in ("a", "")]
    with pytest.raises(DataError, match="1 rows have no user_id; remove these rows, or add the ids"):
        list(read_histories(read_events(rows), integer_items=True))


def test_columns_can_be_named(tmp_path: Path) -> None:
    file = log(tmp_path, ROWS, user="buyer")
    keys: list[ItemId] = ["a", "b", "c"]
    assert read(file, columns=Columns(user="buyer"))[0].keys == keys


def test_histories_without_a_row_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read(log(tmp_path, []))
    assert str(caught.value) == "the histories have no events; give a file with at least one row"


def detailed_log(directory: Path, value: str = "2.5") -> str:
    lines = [
        f"a,2,1700000000,view,{value}",
        "b,3,1700000001,,",
        "a,4,1700000002,buy,",
        "b,1,1700000003,view,7",
    ]
    file = directory / "detailed.csv"
    file.write_text("\n".join(["user_id,item_id,timestamp,event_type,price", *lines]) + "\n")
    return str(file)


def test_extra_fields_are_returned_if_requested(tmp_path: Path) -> None:
    file = detailed_log(tmp_path)
    first, second = read(file, extra=("timestamp", "kind", "value"))[0].events
    assert first == [
        {"item_id": 2, "timestamp": 1_700_000_000.0, "kind": "view", "value": 2.5},
        {"item_id": 4, "timestamp": 1_700_000_002.0, "kind": "buy", "value": None},
    ]
    assert [event["kind"] for event in second] == [None, "view"]
    assert read(file, extra=("kind",))[0].events[0] == [
        {"item_id": 2, "kind": "view"},
        {"item_id": 4, "kind": "buy"},
    ]
    assert read(file)[0].events == [[2, 4], [3, 1]]


def test_timestamps_are_returned_in_seconds(tmp_path: Path) -> None:
    file = tmp_path / "ms.csv"
    file.write_text("user_id,item_id,timestamp\na,1,1700000000250\n")
    assert read(str(file), extra=("timestamp",))[0].events == [
        [{"item_id": 1, "timestamp": 1_700_000_000.25}]
    ]


def test_extra_fields_that_the_files_lack_are_ignored(tmp_path: Path) -> None:
    assert read(log(tmp_path, ROWS), extra=("kind", "value"))[0].events == [[2, 4], [3, 1], [1]]


def test_a_value_that_is_not_a_number_is_refused_if_values_are_requested(tmp_path: Path) -> None:
    file = detailed_log(tmp_path, value="cheap")
    with pytest.raises(DataError) as caught:
        read(file, extra=("value",))
    assert str(caught.value) == (
        "value 'cheap' is not a number; leave it empty if there is none, or name another column"
    )
    assert read(file)[0].events == [[2, 4], [3, 1]]


RULES = HistoryRules(drop_duplicates=True, session_gap_ms=60_000, sequence_by="user")


def test_duplicates_and_earlier_sessions_are_left_out_by_the_rules_of_the_log(tmp_path: Path) -> None:
    rows = [("a", 2, 10), ("a", 1, 10), ("a", 2, 10), ("b", 1, 0), ("b", 2, 60), ("b", 3, 121), ("b", 3, 121)]
    file = log(tmp_path, rows)
    assert read(file)[0].events == [[2, 1, 2], [1, 2, 3, 3]]
    assert read(file, rules=RULES)[0].events == [[2, 1], [3]]


def test_events_of_different_kinds_are_not_duplicates(tmp_path: Path) -> None:
    file = tmp_path / "kinds.csv"
    kinds = ["view", "", "event", "buy", "view"]
    lines = ["user_id,item_id,timestamp,event_type", *(f"a,7,1700000000,{kind}" for kind in kinds)]
    file.write_text("\n".join(lines) + "\n")
    [[events]] = [found.events for found in read(str(file), rules=RULES, extra=("kind",))]
    assert [event["kind"] for event in events] == ["view", None, "buy"]


def test_files_are_cleaned_like_histories_in_python(tmp_path: Path) -> None:
    generator = np.random.default_rng(4)
    rows = [
        (f"u{generator.integers(25)}", int(generator.integers(3)), int(second))
        for second in generator.choice([0, 1, 60, 61, 121, 122, 400], size=300)
    ]
    keys, expected = [], []
    for user in sorted({row[0] for row in rows}):
        own = sorted((row for row in rows if row[0] == user), key=lambda row: row[2])
        kept = RULES.select(np.array([row[2] * 1000.0 for row in own]), [row[1] for row in own])
        keys.append(user)
        expected.append([own[place][1] for place in kept.tolist()])
    assert read(log(tmp_path, rows), rules=RULES) == [UserHistories(keys, expected)]


VISITS = ["a,s1,1,0", "a,s1,2,1", "b,s2,3,0", "a,s3,4,2"]


def visits(directory: Path, lines: list[str] = VISITS) -> str:
    file = directory / "visits.csv"
    rows = [line.rsplit(",", 1) for line in lines]
    text = [f"{start},{1_700_000_000 + int(second)}" for start, second in rows]
    file.write_text("\n".join(["user_id,session_id,item_id,timestamp", *text]) + "\n")
    return str(file)


def test_the_key_of_a_history_is_that_of_the_log_unless_it_is_chosen(tmp_path: Path) -> None:
    file, by_session = visits(tmp_path), HistoryRules(sequence_by="session")
    assert read(file)[0].keys == ["a", "b"]
    assert read(file, rules=by_session) == [UserHistories(["s1", "s2", "s3"], [[1, 2], [3], [4]])]
    assert read(file, rules=by_session, sequence_by="user")[0].events == [[1, 2, 4], [3]]
    assert read(file, sequence_by="session")[0].keys == ["s1", "s2", "s3"]
    assert read(log(tmp_path, ROWS), rules=by_session)[0].keys == ["a", "b", "c"]


def test_sessions_of_several_users_are_refused(tmp_path: Path) -> None:
    file = visits(tmp_path, [*VISITS, "b,s3,4,2"])
    with pytest.raises(DataError) as caught:
        read(file, sequence_by="session")
    assert str(caught.value) == (
        "session 's3' has events of several users ('a' and 'b'); make the ids in 'session_id' unique, "
        "or use --sequence-by user"
    )
    assert read(file, sequence_by="user")[0].keys == ["a", "b"]
