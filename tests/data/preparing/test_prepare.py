"""`prepare` turns a log into a dataset, also after kills, full disks and invalid input."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reprise.data.dataset import COLUMNS, SequenceDataset
from reprise.data.io.events import read_events
from reprise.data.preparing.prepare import prepare
from reprise.errors import ConfigError, DataError

S = 1_700_000_000
DAY_S = 86_400
SPLIT = "last:2d,2d"
KINDS = ("user_id", "item_id", "timestamp", "event_type", "value")


def rows_of(dataset: SequenceDataset) -> list[tuple]:
    """Return (user, item, seconds) of every event, sequence by sequence."""
    user = np.repeat(dataset.users, np.diff(dataset.offset))
    items = dataset.items.item_ids(dataset.item)
    return list(zip(user.tolist(), items, (dataset.time_ms // 1000).tolist(), strict=True))


def test_all_events_are_kept_in_time_order(write_log, days, tmp_path: Path) -> None:
    dataset = prepare(write_log(days), tmp_path / "out", split=SPLIT)
    assert rows_of(dataset) == sorted(days, key=lambda row: (row[0], row[2]))


def test_unsorted_rows_give_the_same_dataset(write_log, days, tmp_path: Path) -> None:
    forward = prepare(write_log(days), tmp_path / "forward", split=SPLIT)
    backward = prepare(write_log(days[::-1], name="back.parquet"), tmp_path / "backward", split=SPLIT)
    assert sorted(rows_of(forward)) == sorted(rows_of(backward))
    first = {user: [row for row in rows_of(backward) if row[0] == user] for user in backward.users}
    assert all(rows == sorted(rows, key=lambda row: row[2]) for rows in first.values())


def test_equal_times_keep_the_order_of_files_and_rows(write_log, tmp_path: Path) -> None:
    """Several row groups and files, so that a parallel reader would return them in another order."""
    generator = np.random.default_rng(0)
    rows = [(f"u{user}", int(item), S) for item in generator.permutation(2000) for user in range(3)]
    rows += [(f"u{user}", 0, S + DAY_S * day) for user in range(3) for day in range(1, 6)]
    files = []
    for start in range(0, len(rows), 1500):
        part = rows[start : start + 1500]
        files.append(tmp_path / f"{9 - start // 1500}.parquet")
        table = pa.table({name: [row[column] for row in part] for column, name in enumerate(KINDS[:3])})
        pq.write_table(table, files[-1], row_group_size=100)
    dataset = prepare(files, tmp_path / "out", split=SPLIT, duplicates="keep")
    for user in range(3):
        assert [row[1] for row in rows_of(dataset) if row[0] == f"u{user}"] == [
            row[1] for row in rows if row[0] == f"u{user}"
        ]


def test_a_column_named_like_one_of_ours_does_not_change_the_order(write_log, tmp_path: Path) -> None:
    days = [(user, item, S + item * DAY_S, 0) for user in range(2) for item in range(1, 8)]
    names = (*KINDS[:3], "start")
    first = write_log([(0, 100, S, 5000), (1, 101, S, 5000), *days], names, "1.parquet")
    second = write_log([(0, 200, S, -5000), (1, 201, S, -5000)], names, "2.parquet")
    dataset = prepare([first, second], tmp_path / "out", split=SPLIT)
    for user in range(2):
        assert [row[1] for row in rows_of(dataset) if row[0] == user][:2] == [100 + user, 200 + user]


def test_the_vocabulary_is_ordered_by_training_events(write_log, days, tmp_path: Path) -> None:
    late = [("u0", "new", S + 8 * DAY_S), ("u1", "i0", S + 9 * DAY_S + 7)]
    early = [("u0", "i3", S + 60), ("u1", "i3", S + 60)]
    dataset = prepare(write_log([*days, *late, *early]), tmp_path / "out", split=SPLIT)
    first, last = dataset.part("train")
    training = Counter(row[1] for a, b in zip(first, last, strict=True) for row in rows_of(dataset)[a:b])
    counts = [training[item] for item in dataset.items.ids.tolist()]
    assert counts == sorted(counts, reverse=True)
    assert dataset.items.ids.tolist()[0] == "i3"
    assert dataset.items.warm == 4
    assert dataset.items.ids.tolist()[4:] == ["new"]
    assert dataset.table.column("count").to_pylist() == counts


def test_kinds_and_values_are_kept(write_log, days, tmp_path: Path) -> None:
    rows = [(*row, "buy" if position % 5 == 0 else "view", position / 4) for position, row in enumerate(days)]
    dataset = prepare(write_log(rows, KINDS), tmp_path / "out", split=SPLIT)
    assert dataset.kinds == ("view", "buy")
    by_time = {time_s * 1000: (kind, value) for _, _, time_s, kind, value in rows}
    for kind, value, time_ms in zip(dataset.kind, dataset.value, dataset.time_ms, strict=True):
        assert (dataset.kinds[kind], value) == by_time[time_ms]


@pytest.mark.parametrize("name", ["log.parquet", "log.csv"])
def test_missing_and_nan_values_become_nan(write_log, days, tmp_path: Path, name: str) -> None:
    rows = [(*row, "view", [None, float("nan"), 2.5][position % 3]) for position, row in enumerate(days)]
    dataset = prepare(write_log(rows, KINDS, name), tmp_path / "out", split=SPLIT)
    assert np.isnan(dataset.value).sum() == 34
    assert set(dataset.value[~np.isnan(dataset.value)].tolist()) == {2.5}


def test_kinds_may_be_numbers(write_log, days, tmp_path: Path) -> None:
    rows = [(*row, position % 3, 1.0) for position, row in enumerate(days)]
    dataset = prepare(write_log(rows, KINDS), tmp_path / "out", split=SPLIT)
    assert dataset.kinds == ("0", "1", "2")
    by_time = {time_s * 1000: str(kind) for _, _, time_s, kind, _ in rows}
    assert [dataset.kinds[kind] for kind in dataset.kind] == [
        by_time[int(time_ms)] for time_ms in dataset.time_ms
    ]


def test_an_event_without_a_kind_has_the_kind_event(write_log, days, tmp_path: Path) -> None:
    rows = [(*row, None if position % 2 else "view", 1.0) for position, row in enumerate(days)]
    dataset = prepare(write_log(rows, KINDS), tmp_path / "out", split=SPLIT)
    assert set(dataset.kinds) == {"event", "view"}


# ---- sequences


def visits() -> list[tuple]:
    """Users with three visits a day apart, each of three events a minute apart."""
    return [
        (f"u{user}", f"s{user}-{visit}", item, S + visit * 2 * DAY_S + item * 60)
        for user in range(4)
        for visit in range(3)
        for item in range(3)
    ]


VISITS = ("user_id", "session_id", "item_id", "timestamp")


def test_sequences_are_users_or_sessions(write_log, tmp_path: Path) -> None:
    log = write_log(visits(), VISITS)
    assert len(prepare(log, tmp_path / "users", split=SPLIT)) == 4
    sessions = prepare(log, tmp_path / "sessions", split=SPLIT, sequence_by="session")
    assert len(sessions) == 12
    assert sessions.users.tolist()[:4] == ["s0-0", "s0-1", "s0-2", "s1-0"]
    assert sessions.facts["sequence_by"] == "session"


def test_a_gap_divides_users_into_sessions(write_log, tmp_path: Path) -> None:
    dataset = prepare(write_log(visits(), VISITS), tmp_path / "out", split=SPLIT, session_gap="30min")
    assert dataset.users.tolist()[:4] == ["u0/1", "u0/2", "u0/3", "u1/1"]
    assert np.diff(dataset.offset).tolist() == [3] * 12
    assert dataset.facts["sessions_cut"] == 12
    users = pq.read_table(tmp_path / "out" / "sequences.parquet").column("user_id").to_pylist()
    assert users == [f"u{user}" for user in range(4) for _ in range(3)]


def test_a_pause_as_long_as_the_gap_does_not_divide(write_log, tmp_path: Path) -> None:
    dataset = prepare(write_log(visits(), VISITS), tmp_path / "out", split=SPLIT, session_gap="1min")
    assert len(dataset) == 12
    with pytest.raises(DataError, match="0 sequences are left after cleaning"):
        prepare(write_log(visits(), VISITS), tmp_path / "short", split=SPLIT, session_gap="59s")


def test_sessions_without_a_session_column_or_gap_are_refused(write_log, days, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        prepare(write_log(days), tmp_path / "out", sequence_by="session")
    assert str(caught.value) == (
        "sequence_by='session', but the events have no session column; name it (session=NAME, or --session-column NAME), "
        "or divide users into sessions by time with session_gap='30min'"
    )


def test_sessions_shared_by_users_are_refused(write_log, tmp_path: Path) -> None:
    rows = [(user, session[-1], item, time_s) for user, session, item, time_s in visits()]
    with pytest.raises(DataError) as caught:
        prepare(write_log(rows, VISITS), tmp_path / "out", split=SPLIT, sequence_by="session")
    assert str(caught.value) == (
        "session '0' has events of several users ('u0' and 'u3'); make the ids in 'session_id' unique, or omit the user "
        "column"
    )


def test_user_sequences_need_a_user_column(write_log, tmp_path: Path) -> None:
    log = write_log([row[1:] for row in visits()], VISITS[1:])
    with pytest.raises(DataError) as caught:
        prepare(log, tmp_path / "out", sequence_by="user")
    assert str(caught.value) == (
        "the events have no user column; name it (user=NAME, --user-column NAME), or use sequence_by='session' "
        "(--sequence-by session)"
    )


# ---- bad input


@pytest.mark.parametrize("missing", [None, ""])
def test_missing_ids_are_counted_and_the_first_row_is_reported(
    write_log, days, tmp_path: Path, missing: str | None
) -> None:
    rows = [*days[:6], (missing, "i1", S), *days[6:], (missing, "i1", S)]
    for name in ("log.parquet", "log.csv", "log.jsonl"):
        with pytest.raises(DataError) as caught:
            prepare(write_log(rows, name=name), tmp_path / "out", split=SPLIT)
        assert str(caught.value) == (
            "column 'user_id' has no id in 2 of 52 rows, first in row 7; drop these rows, or give each its own id"
        )
    assert list(tmp_path.glob("out*")) == []


def test_a_log_of_one_sequence_is_refused(write_log, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        prepare(write_log([("u", item, S + item) for item in range(20)]), tmp_path / "out")
    assert str(caught.value) == (
        "the log is one sequence (a single user_id in 20 rows); is 'user_id' the right column?"
    )


def test_a_log_of_one_user_can_be_divided_into_sessions(write_log, tmp_path: Path) -> None:
    rows = [("u", item, S + day * DAY_S + item) for day in range(9) for item in range(3)]
    dataset = prepare(write_log(rows), tmp_path / "out", split=SPLIT, session_gap="1h")
    assert dataset.users.tolist() == [f"u/{number}" for number in range(1, 10)]


@pytest.mark.parametrize("column", ["user_id", "item_id"])
def test_integer_ids_that_are_too_large_are_refused(tmp_path: Path, column: str) -> None:
    ids = pa.array([2**63, 1, 2**64 - 1], pa.uint64())
    table = pa.table({"user_id": [1, 2, 3], "item_id": [1, 2, 3], "timestamp": [S, S, S]})
    table = table.set_column(table.column_names.index(column), column, ids)
    with pytest.raises(DataError) as caught:
        prepare(table, tmp_path / "out", split=SPLIT)
    assert str(caught.value) == (
        f"column {column!r} has the id 18446744073709551615, but integer ids must be below 2^63; store larger ids as strings"
    )


@pytest.mark.parametrize("split", [3, 0, ["7d", "7d"]])
def test_an_invalid_split_is_refused(write_log, days, tmp_path: Path, split: object) -> None:
    with pytest.raises(ConfigError) as caught:
        prepare(write_log(days), tmp_path / "out", split=split)
    assert str(caught.value) == (
        f"split={split!r} is not a split; give a Split, or one of last:7d,7d | at:2014-09-01,2014-09-08 | leave-one-out | "
        "column:NAME"
    )


def test_infinite_values_are_refused(write_log, days, tmp_path: Path) -> None:
    rows = [(*row, "view", float("inf") if position == 4 else 1.0) for position, row in enumerate(days)]
    with pytest.raises(DataError) as caught:
        prepare(write_log(rows, KINDS), tmp_path / "out", split=SPLIT)
    assert str(caught.value) == (
        "row 5 of column 'value' is not a finite number: 'inf'; leave it empty or NaN if there is none; name another "
        "column (value=NAME, --value-column NAME), or no column (value='', --value-column '')"
    )


def test_values_that_are_not_numbers_are_refused(write_log, days, tmp_path: Path) -> None:
    rows = [(*row, "view", "cheap" if position == 4 else "1.5") for position, row in enumerate(days)]
    with pytest.raises(DataError, match="row 5 of column 'value' is not a finite number: 'cheap'"):
        prepare(write_log(rows, KINDS, "log.csv"), tmp_path / "out", split=SPLIT)


def test_too_many_kinds_are_refused(write_log, tmp_path: Path) -> None:
    rows = [(user, 1, S + user, f"k{user}", 1.0) for user in range(300)]
    with pytest.raises(DataError, match="column 'event_type' has more than 256 kinds") as caught:
        prepare(write_log(rows, KINDS), tmp_path / "out", split=SPLIT)
    assert str(caught.value).endswith(
        "; name another column (kind=NAME, --kind-column NAME), or no column (kind='', --kind-column '')"
    )
    events = read_events(tmp_path / "log.parquet", kind="")
    assert events.columns.kind is None


def test_text_times_are_checked(write_log, days, tmp_path: Path) -> None:
    rows = [(user, item, "2024-03-01 10:00") for user, item, _ in days]
    with pytest.raises(DataError) as caught:
        prepare(write_log(rows, name="log.csv"), tmp_path / "out", split=SPLIT)
    assert str(caught.value) == (
        "column 'timestamp' has no time zone (first value 2024-03-01 10:00); store UTC, or pass the zone of these times, "
        'such as tz="Europe/Berlin" (--tz Europe/Berlin)'
    )


def test_times_in_a_zone_are_converted_to_utc(write_log, tmp_path: Path) -> None:
    rows = [(user, day, f"2024-07-{day + 1:02} 12:00") for user in range(3) for day in range(9)]
    events = read_events(write_log(rows, name="log.csv"), tz="Europe/Berlin")
    assert prepare(events, tmp_path / "out", split=SPLIT).time_ms[0] == 1_719_828_000_000


def test_an_unknown_option_suggests_a_similar_name(write_log, days, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        prepare(write_log(days), tmp_path / "out", min_item_event=2)
    assert str(caught.value) == "unknown option 'min_item_event'; did you mean 'min_item_events'?"


# ---- resuming and replacing


def test_the_same_call_prepares_a_damaged_dataset_again(write_log, days, tmp_path: Path) -> None:
    """The message about the damage promises this."""
    log = write_log(days)
    fingerprint = prepare(log, tmp_path / "out", split=SPLIT).fingerprint
    item = tmp_path / "out" / "item.npy"
    item.write_bytes(item.read_bytes()[:-4])
    with pytest.raises(DataError, match=r"is damaged .* run `reprise prepare` again"):
        SequenceDataset.open(tmp_path / "out")
    assert prepare(log, tmp_path / "out", split=SPLIT).fingerprint == fingerprint
    assert not (tmp_path / "out.partial").exists()


def test_a_manifest_that_is_not_an_object_is_not_replaced(write_log, days, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "dataset.json").write_text("[]")
    with pytest.raises(DataError, match="exists and is not a dataset; choose another directory or remove it"):
        prepare(write_log(days), tmp_path / "out", split=SPLIT)


def test_the_same_call_opens_the_existing_dataset(write_log, days, tmp_path: Path) -> None:
    log, steps = write_log(days), []
    first = prepare(log, tmp_path / "out", split=SPLIT)
    modified = (tmp_path / "out" / "item.npy").stat().st_mtime_ns
    again = prepare(log, tmp_path / "out", split=SPLIT, progress=lambda step, share: steps.append(step))
    assert again.fingerprint == first.fingerprint
    assert (tmp_path / "out" / "item.npy").stat().st_mtime_ns == modified
    assert steps == [f"{tmp_path / 'out'} is up to date"]


def test_another_call_replaces_a_dataset_only_with_overwrite(write_log, days, tmp_path: Path) -> None:
    log, out = write_log(days), tmp_path / "out"
    before = prepare(log, out, split=SPLIT)
    with pytest.raises(DataError) as caught:
        prepare(log, out, split=SPLIT, min_item_events=2)
    assert str(caught.value) == (
        f"{out} holds a dataset of other events, columns or options; choose another directory, or replace it with "
        "overwrite=True (--overwrite)"
    )
    after = prepare(log, out, split="leave-one-out", overwrite=True)
    assert after.fingerprint != before.fingerprint
    assert SequenceDataset.open(out).split == {"kind": "leave-one-out"}
    assert not out.with_name("out.partial").exists()


def test_a_changed_log_counts_as_another_call(write_log, days, tmp_path: Path) -> None:
    prepare(write_log(days), tmp_path / "out", split=SPLIT)
    with pytest.raises(DataError, match="holds a dataset of other events"):
        prepare(write_log(days[:-3]), tmp_path / "out", split=SPLIT)


def test_a_directory_with_other_files_is_not_replaced(write_log, days, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("x")
    with pytest.raises(
        DataError, match=r"out exists and is not a dataset; choose another directory or remove it"
    ):
        prepare(write_log(days), tmp_path / "out", split=SPLIT, overwrite=True)
    assert (tmp_path / "out" / "thesis.tex").exists()


def test_equal_data_have_equal_fingerprints_and_different_data_different_ones(
    write_log, days, tmp_path: Path
) -> None:
    def fingerprint(name: str, rows: list, **options: object) -> str:
        return prepare(
            write_log(rows, name=f"{name}.parquet"), tmp_path / name, split=SPLIT, **options
        ).fingerprint

    base = fingerprint("base", days)
    assert fingerprint("same", days) == base
    swapped = [(user, {"i0": "i1", "i1": "i0"}.get(item, item), time_s) for user, item, time_s in days]
    others = {
        fingerprint("later", [(user, item, time_s + 1) for user, item, time_s in days]),
        fingerprint("swapped", swapped),
        fingerprint("options", days, min_item_events=2),
        base,
    }
    assert len(others) == 4


def assert_same_files(one: Path, other: Path) -> None:
    for name in COLUMNS:
        assert (one / f"{name}.npy").read_bytes() == (other / f"{name}.npy").read_bytes(), name
    for name in ("items.parquet", "sequences.parquet"):
        assert pq.read_table(one / name).equals(pq.read_table(other / name)), name
    manifests = [json.loads((directory / "dataset.json").read_text()) for directory in (one, other)]
    assert manifests[0] == manifests[1]


@pytest.fixture
def long_log(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    count = 150_000
    table = pa.table(
        {
            "user_id": np.char.add("u", generator.integers(9000, size=count).astype(str)).tolist(),
            "item_id": generator.integers(500, size=count),
            "timestamp": S + generator.integers(40 * DAY_S, size=count),
        }
    )
    pq.write_table(pa.concat_tables([table, table.slice(0, 2000)]), tmp_path / "long.parquet")
    return tmp_path / "long.parquet"


CALL = """
import sys
from reprise.data.preparing.prepare import prepare
def report(step, share):
    print(step, flush=True)
    if step == sys.argv[3]:
        sys.stdin.read()
prepare(sys.argv[1], sys.argv[2], split="last:7d,7d", min_item_events=5, session_gap="1d", progress=report)
"""


@pytest.mark.parametrize("step", ["encoding", "cleaning", "writing"])
def test_the_same_call_after_a_kill_gives_the_same_dataset(long_log: Path, tmp_path: Path, step: str) -> None:
    out = tmp_path / "out"
    call = [sys.executable, "-c", CALL, str(long_log), str(out), step]
    with subprocess.Popen(call, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin and process.stdout
        for line in process.stdout:
            if line.strip() == step:
                break
        process.stdin.close()
        time.sleep(0.03)
        os.kill(process.pid, signal.SIGKILL)
    assert not out.exists()
    with pytest.raises(DataError, match="holds no prepared dataset"):
        SequenceDataset.open(out)
    options = {"split": "last:7d,7d", "min_item_events": 5, "session_gap": "1d"}
    prepare(long_log, out, **options)
    prepare(long_log, tmp_path / "undisturbed", **options)
    assert_same_files(out, tmp_path / "undisturbed")
    assert not out.with_name("out.partial").exists()


def test_finished_steps_are_not_repeated(write_log, days, tmp_path: Path, monkeypatch) -> None:
    from reprise.data.preparing import prepare as module

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    log, out = write_log(days), tmp_path / "out"
    with monkeypatch.context() as patched, pytest.raises(DataError):
        patched.setattr(module, "write_step", full)
        prepare(log, out, split=SPLIT)

    def forbidden(*_: object) -> None:
        raise AssertionError("the step was repeated")

    monkeypatch.setattr(module, "encode_step", forbidden)
    monkeypatch.setattr(module, "clean_step", forbidden)
    assert prepare(log, out, split=SPLIT).events == 50


def test_a_full_disk_leaves_no_partial_dataset(write_log, days, tmp_path: Path, monkeypatch) -> None:
    from reprise.data.preparing import array_writer

    log, out = write_log(days), tmp_path / "out"

    def full(path: Path, name: str, length: int) -> object:
        raise OSError(28, "No space left on device", str(path))

    with monkeypatch.context() as patched, pytest.raises(DataError) as caught:
        patched.setattr(array_writer, "_open", full)
        prepare(log, out, split=SPLIT)
    assert str(caught.value).startswith("the disk is full: [Errno 28] No space left on device")
    assert "GB are free at" in str(caught.value)
    assert str(caught.value).endswith("Free some space and run the same command again; it continues here")
    assert not out.exists()
    prepare(log, out, split=SPLIT)
    prepare(log, tmp_path / "undisturbed", split=SPLIT)
    assert_same_files(out, tmp_path / "undisturbed")


def test_too_little_disk_space_is_reported_before_encoding(
    write_log, days, tmp_path: Path, monkeypatch
) -> None:
    import shutil

    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 17))
    with pytest.raises(
        DataError,
        match=r"preparing this log needs about 0.00 GB of disk space at .*, but 0.00 GB are free; free some space",
    ):
        prepare(write_log(days), tmp_path / "out", split=SPLIT)


def test_two_calls_cannot_use_the_same_directory(write_log, days, tmp_path: Path) -> None:
    log, out = write_log(days), tmp_path / "out"
    call = [sys.executable, "-c", CALL, str(log), str(out), "encoding"]
    with subprocess.Popen(call, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin and process.stdout
        while process.stdout.readline().strip() != "encoding":
            pass
        message = (
            rf"another process prepares {out} \(process id {process.pid}\); wait until it ends, or choose"
        )
        with pytest.raises(ConfigError, match=message):
            prepare(log, out, split=SPLIT)
        process.kill()
    prepare(log, out, split=SPLIT)
    assert {path.name for path in tmp_path.iterdir()} == {out.name, log.name}


def test_two_calls_of_one_process_cannot_use_the_same_directory(write_log, days, tmp_path: Path) -> None:
    """DuckDB's own lock excludes other processes only."""
    log, out = write_log(days), tmp_path / "out"
    refused: list[str] = []

    def second(step: str, share: float) -> None:
        if step == "encoding":
            with pytest.raises(ConfigError) as caught:
                prepare(log, out, split="leave-one-out", progress=False)
            refused.append(str(caught.value))

    prepare(log, out, split=SPLIT, progress=second)
    assert refused == [
        f"another process prepares {out} (process id {os.getpid()}); wait until it ends, or choose another --out"
    ]
    assert SequenceDataset.open(out).split["kind"] == "time"


def test_a_call_that_finds_its_dataset_leaves_the_work_of_another_call_in_place(
    write_log, days, tmp_path: Path
) -> None:
    log, out = write_log(days), tmp_path / "out"
    before = prepare(log, out, split=SPLIT)
    found: list[str] = []

    def second(step: str, share: float) -> None:
        if step == "encoding":
            found.append(prepare(log, out, split=SPLIT, progress=False).fingerprint)

    after = prepare(log, out, split="leave-one-out", overwrite=True, progress=second)
    assert found == [before.fingerprint]
    assert after.split == {"kind": "leave-one-out"}


def test_a_log_larger_than_the_memory_limit(tmp_path: Path) -> None:
    """The encoded log alone is larger than the limit, and the sort needs twice that size."""
    generator = np.random.default_rng(0)
    count = 2_000_000
    names = pa.array([f"a-rather-long-name-of-a-user-{user:07}" for user in range(200_000)])
    table = pa.table(
        {
            "user_id": names.take(pa.array(generator.integers(len(names), size=count))),
            "item_id": generator.integers(20_000, size=count),
            "timestamp": S + generator.integers(40 * DAY_S, size=count),
        }
    )
    pq.write_table(table, tmp_path / "log.parquet", row_group_size=200_000)
    assert table.nbytes > 64_000_000
    del table
    dataset = prepare(tmp_path / "log.parquet", tmp_path / "out", split="last:5d,5d", memory_limit="64MB")
    assert dataset.facts["rows_read"] == count
    assert dataset.events + sum(dataset.facts["dropped"].values()) == count
    same_sequence = np.ones(dataset.events, dtype=bool)
    same_sequence[dataset.offset[:-1]] = False
    assert (np.diff(dataset.time_ms, prepend=0)[same_sequence] >= 0).all()


def test_an_invalid_memory_limit_is_refused(write_log, days, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        prepare(write_log(days), tmp_path / "out", memory_limit="lots")
    assert str(caught.value) == "memory_limit='lots' is not a size; write it like '512MB' or '2GB'"


WIDE = ("user_id", "session_id", "item_id", "timestamp", "event_type", "value", "split")


@pytest.mark.parametrize("split", [SPLIT, "leave-one-out", "column:split"])
@pytest.mark.parametrize("options", [{}, {"sequence_by": "session"}, {"session_gap": "2h"}], ids=str)
def test_csv_and_parquet_give_the_same_dataset_with_all_columns(
    write_log, tmp_path: Path, split: str, options: dict
) -> None:
    """Integer ids, several kinds, values, a split column and an item table, for every kind of sequence."""
    rows = [
        (
            user,
            user * 100 + visit,
            step * (1 + user),
            S + visit * DAY_S + step * 60,
            f"k{step}",
            step / 4,
            part,
        )
        for visit, part in enumerate(["train"] * 6 + ["valid"] * 2 + ["test"] * 2)
        for user in range(6)
        for step in range(4)
    ]
    items = [(item, f"Item {item}") for item in range(10)]
    datasets = []
    for kind in ("parquet", "csv"):
        log = write_log(rows, WIDE, f"log.{kind}")
        table = write_log(items, ("item_id", "title"), f"items.{kind}")
        datasets.append(prepare(log, tmp_path / kind, items=table, split=split, min_item_events=2, **options))
    one, other = datasets
    assert one.fingerprint == other.fingerprint
    assert one.titles() == other.titles()
    assert one.users.tolist() == other.users.tolist()
    assert len(one) == (60 if options else 6)
