"""Events of erased users and events without consent are left out: the dataset is the one of a log that never had them."""

from pathlib import Path
from typing import Any

import pytest

from reprise.data.dataset import MANIFEST, SequenceDataset
from reprise.data.erased_users import ErasedUsers
from reprise.data.io.events import read_events
from reprise.data.preparing import steps
from reprise.data.preparing.inspection import inspect_events
from reprise.data.preparing.prepare import prepare
from reprise.errors import ConfigError, DataError

S, DAY_S = 1_700_000_000, 86_400
COLUMNS = ("user_id", "item_id", "timestamp", "event_type", "ok")
Rows = list[tuple[Any, ...]]


def rows(first: str = "u", consent: Any = True) -> Rows:
    """Ten days of six users. The first user alone has an item and a kind of its own, and the earliest and latest events."""
    made: Rows = []
    for day in range(10):
        for user in range(6):
            alone = user == 0 and day in (0, 9)
            item, kind = ("rare", "odd") if alone else (f"i{(user + day) % 4}", "view")
            made.append((f"{first}{user}", item, S + day * DAY_S + (user or -9), kind, consent))
    return made


def assert_same(found: SequenceDataset, expected: SequenceDataset) -> None:
    """Compare datasets file by file. The manifests differ in the hash of the call and in what was left out."""
    assert found.fingerprint == expected.fingerprint
    assert found.path is not None and expected.path is not None
    names = sorted(path.name for path in found.path.iterdir())
    assert names == sorted(path.name for path in expected.path.iterdir())
    for name in names:
        if name != MANIFEST:
            assert (found.path / name).read_bytes() == (expected.path / name).read_bytes(), name
    kept = {name: fact for name, fact in found.facts.items() if name not in ("erased", "consent")}
    assert kept == expected.facts


@pytest.mark.parametrize(
    ("name", "first"), [("log.parquet", "u"), ("log.parquet", ""), ("log.csv", ""), ("log.jsonl", "u")]
)
def test_a_dataset_without_erased_users_is_that_of_a_log_without_them(
    write_log: Any, tmp_path: Path, name: str, first: str
) -> None:
    """Ids are texts or integers."""
    all_rows = [row[:4] for row in rows(first)]
    all_rows = [(row[0] if first else int(row[0]), *row[1:]) for row in all_rows]
    erased = [f"{first}0", f"{first}4", "unknown"]
    without = [row for row in all_rows if str(row[0]) not in erased]
    part = write_log(without, COLUMNS[:4], f"part_{name}")
    expected = prepare(part, tmp_path / "expected", split="last:2d,2d")
    log = write_log(all_rows, COLUMNS[:4], name)
    found = prepare(log, tmp_path / "found", split="last:2d,2d", forget=erased)
    assert_same(found, expected)
    assert (found.facts["erased"]["users"], found.facts["erased"]["events"]) == (2, 20)
    assert found.kinds == ("view",) and "rare" not in found.items.ids.tolist()


def test_users_are_left_out_of_several_files_and_of_sessions(write_log: Any, tmp_path: Path) -> None:
    visits = [(row[0], f"{row[0]}-{row[2] % 3}", *row[1:3]) for row in rows()]
    columns = ("user_id", "session_id", "item_id", "timestamp")
    files = [
        write_log(visits[start : start + 20], columns, f"{9 - start // 20}.parquet") for start in (0, 20, 40)
    ]
    without = write_log([row for row in visits if row[0] != "u3"], columns, "without.parquet")
    for options in ({"sequence_by": "session"}, {"session_gap": "1d"}):
        folder = tmp_path / next(iter(options))
        found = prepare(files, folder / "found", split="last:2d,2d", forget=["u3"], **options)
        assert_same(found, prepare(without, folder / "expected", split="last:2d,2d", **options))


def test_a_dataset_with_consent_is_that_of_a_log_of_these_events(write_log: Any, tmp_path: Path) -> None:
    all_rows = [(*row[:4], place % 7 != 0) for place, row in enumerate(rows())]
    part = write_log([row[:4] for row in all_rows if row[4]], COLUMNS[:4], "part.parquet")
    log = write_log(all_rows, COLUMNS)
    found = prepare(log, tmp_path / "found", split="last:2d,2d", consent="ok")
    assert_same(found, prepare(part, tmp_path / "expected", split="last:2d,2d"))
    assert found.facts["consent"] == {"column": "ok", "events_without": 9}


@pytest.mark.parametrize(
    ("yes", "no", "name"),
    [
        (1, 0, "log.parquet"), (1.0, float("nan"), "log.parquet"), ("Yes", "no", "log.parquet"), ("true", "", "log.csv"),
        ("1", None, "log.csv"), (True, None, "log.jsonl"), ("TRUE", "False", "log.jsonl"),
    ],
)  # fmt: skip
def test_consent_is_written_in_several_ways(write_log: Any, yes: Any, no: Any, name: str) -> None:
    log = write_log(
        [(*row[:4], no if place % 7 == 0 else yes) for place, row in enumerate(rows())], COLUMNS, name
    )
    found = inspect_events(log, consent="ok")
    assert found.rows == 51 and "9 events without consent (column 'ok') are left out" in found.notes


def test_erased_users_and_events_without_consent_are_counted_separately(
    write_log: Any, tmp_path: Path
) -> None:
    """The erased user has 10 events, 2 of them without consent; the other users have 7 without."""
    all_rows = [(*row[:4], place % 7 != 0) for place, row in enumerate(rows())]
    log = write_log(all_rows, COLUMNS)
    erased = ErasedUsers.from_ids(["u0"])
    found = prepare(log, tmp_path / "out", split="last:2d,2d", forget=erased, consent="ok")
    own = [place for place, row in enumerate(all_rows) if row[0] == "u0"]
    others = [place for place in range(60) if place % 7 == 0 and place not in own]
    assert found.facts["erased"]["events"] == len(own)
    assert found.facts["consent"]["events_without"] == len(others)
    assert found.facts["rows_read"] == 60 - len(own) - len(others)
    notes = inspect_events(log, split="last:2d,2d", forget=erased, consent="ok").notes
    assert "1 erased users of the log are left out" in notes
    assert f"{len(others)} events without consent (column 'ok') are left out" in notes


def test_a_call_with_other_erased_users_is_another_call(write_log: Any, tmp_path: Path) -> None:
    log, out = write_log([row[:4] for row in rows()], COLUMNS[:4]), tmp_path / "out"
    first = prepare(log, out, split="last:2d,2d", forget=["u0"])
    assert prepare(log, out, split="last:2d,2d", forget=["u0"]).fingerprint == first.fingerprint
    for forget in (["u0", "u1"], None):
        with pytest.raises(DataError, match="holds a dataset of other events, columns or options"):
            prepare(log, out, split="last:2d,2d", forget=forget)
    second = prepare(log, out, split="last:2d,2d", forget=["u0", "u1"], overwrite=True)
    assert len(second) == len(first) - 1


def test_an_interrupted_call_still_leaves_the_users_out(
    write_log: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, out = write_log([row[:4] for row in rows()], COLUMNS[:4]), tmp_path / "out"

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(steps, "encode", interrupt)
        prepare(log, out, split="last:2d,2d", forget=["u0"])
    monkeypatch.setattr(steps, "write_erased", interrupt)
    assert prepare(log, out, split="last:2d,2d", forget=["u0"]).users.tolist() == [
        f"u{user}" for user in range(1, 6)
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"consent": "okay"}, "the events have no consent column 'okay'; did you mean 'ok'?"),
        (
            {"forget": [f"u{user}" for user in range(6)]},
            "no event may be used: all users of the log are erased, or",
        ),
        (
            {"forget": "none.txt"},
            "cannot read the user ids in 'none.txt' (No such file or directory); name a text file",
        ),
        ({"forget": [""]}, "'' is not a user id"),
    ],
)
def test_wrong_options_are_refused(write_log: Any, tmp_path: Path, options: Any, message: str) -> None:
    with pytest.raises(DataError) as caught:
        prepare(write_log(rows(), COLUMNS), tmp_path / "out", split="last:2d,2d", **options)
    assert str(caught.value).startswith(message)
    assert not (tmp_path / "out").exists()


def test_a_column_of_another_type_or_name_is_refused(write_log: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="consent=True is not the name of a column; give a text"):
        prepare(write_log(rows(), COLUMNS), tmp_path / "out", consent=True)
    with pytest.raises(DataError, match="consent must be true or false, but column 'ok' contains lists"):
        prepare(write_log(rows(consent=[1]), COLUMNS), tmp_path / "out", consent="ok")


@pytest.mark.parametrize(("value", "shown"), [("maybe", "'maybe'"), (2, "'2'"), (-1.0, "'-1.0'")])
def test_another_value_of_consent_is_refused_with_its_row(
    write_log: Any, tmp_path: Path, value: Any, shown: str
) -> None:
    wrong = rows(consent=type(value)(1))
    wrong[41] = (*wrong[41][:4], value)
    with pytest.raises(DataError) as caught:
        prepare(write_log(wrong, COLUMNS), tmp_path / "out", consent="ok")
    assert str(caught.value).startswith(
        f"row 42 of the consent column 'ok' is {shown}; write true or false, yes or no"
    )


def test_users_who_are_not_known_cannot_be_left_out(write_log: Any, tmp_path: Path) -> None:
    sessions = write_log([row[:3] for row in rows()], ("session_id", "item_id", "timestamp"))
    with pytest.raises(DataError, match="the events have no user column, so erased users cannot be left out"):
        prepare(sessions, tmp_path / "out", forget=["u0"])
    numbers = [(float(place), *row[:3]) for place, row in enumerate(rows())]
    log = write_log(numbers, ("user_id", "session_id", "item_id", "timestamp"), "floats.parquet")
    with pytest.raises(DataError, match="ids must be text or integers, but column 'user_id' contains floats"):
        prepare(read_events(log), tmp_path / "out", forget=["u0"], sequence_by="session")


def test_a_row_without_a_user_is_still_an_error(write_log: Any, tmp_path: Path) -> None:
    nameless = [*rows(), (None, "i1", S, "view", True)]
    with pytest.raises(DataError, match="has no id in 1 of 51 rows, first in row 61"):
        prepare(write_log(nameless, COLUMNS), tmp_path / "out", forget=["u0"])
