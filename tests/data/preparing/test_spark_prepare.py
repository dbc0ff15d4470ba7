"""Spark and DuckDB prepare the same dataset, file by file and byte by byte, and refuse a log with the same message.

One log has many properties, because a call on Spark takes seconds.
"""

import json
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reprise.data.dataset import SequenceDataset
from reprise.data.io.duckdb_engine import DiskFullError, StoppedError
from reprise.data.io.events import read_events
from reprise.data.io.spark_engine import SparkEngine
from reprise.data.preparing import cleaning, steps
from reprise.data.preparing.prepare import prepare
from reprise.errors import ConfigError, DataError

pytestmark = pytest.mark.xdist_group("spark")

S, DAY_S = 1_700_000_000, 86_400
EVENTS = 240
Columns = dict[str, Any]
Prepare = Callable[..., Path]


@pytest.fixture
def both(spark: Any, tmp_path: Path) -> Prepare:
    """Return a function that prepares a log on both engines, compares the datasets, and returns the directory."""

    def prepare_both(log: Any, **options: Any) -> Path:
        outs = [tmp_path / "duckdb", tmp_path / "spark"]
        datasets = [prepare(log, out, engine=out.name, **options) for out in outs]
        assert datasets[0].fingerprint == datasets[1].fingerprint
        files = [sorted(path.relative_to(out) for path in out.rglob("*")) for out in outs]
        assert files[0] == files[1]
        assert [
            name for name in files[0] if (outs[0] / name).read_bytes() != (outs[1] / name).read_bytes()
        ] == []
        assert sorted(path.name for path in tmp_path.glob("*.partial*")) == []
        return outs[1]

    return prepare_both


@pytest.fixture
def refusals(spark: Any, tmp_path: Path) -> Callable[..., str]:
    """Return a function that prepares a log on both engines and returns the message of both."""

    def refuse_both(log: Any, **options: Any) -> str:
        messages = []
        for engine in ("duckdb", "spark"):
            with pytest.raises(DataError) as caught:
                prepare(log, tmp_path / engine, engine=engine, **options)
            messages.append(str(caught.value))
        assert messages[0] == messages[1]
        return messages[1]

    return refuse_both


def random_log(**columns: Any) -> Columns:
    """Return a log of 5 users, many ties and repetitions, in random order of time."""
    generator = np.random.default_rng(0)
    log = {
        "user_id": [f"ü{user}" for user in generator.integers(0, 5, EVENTS)],
        "item_id": [f"i{item}" for item in generator.integers(0, 6, EVENTS)],
        "timestamp": seconds(),
    }
    return {**log, **columns}


def seconds() -> np.ndarray:
    return S + np.random.default_rng(1).integers(0, 40, EVENTS) * DAY_S // 4


def write(path: Path, log: Columns, rows: slice = slice(None)) -> Path:
    """Write rows of a log in row groups of 50 rows, which several tasks read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(log).slice(*rows.indices(EVENTS)[:2]), path, row_group_size=50)
    return path


# ---- equal datasets


def test_ties_sessions_kinds_values_and_several_files(both, tmp_path: Path) -> None:
    """The order of the files is not that of their names, and the second one lacks a column and has other types."""
    value = np.random.default_rng(2).random(EVENTS)
    value[::7], value[1::7], value[2::7] = np.nan, -np.nan, -0.0
    kind = [None if row % 5 == 0 else "käuf" if row % 3 else "" for row in range(EVENTS)]
    log = random_log(event_type=kind, value=value, item_id=np.arange(EVENTS, dtype=np.int32) % 7)
    files = [tmp_path / "z [1].parquet", tmp_path / "a'{b}.parquet"]
    pq.write_table(pa.table(log).slice(0, 150), files[0], row_group_size=40)
    second = pa.table(log).slice(150).drop_columns(["value"])
    second = second.set_column(1, "item_id", second.column("item_id").cast(pa.int64()))
    pq.write_table(second, files[1], row_group_size=40)
    out = both(files, session_gap="6h", min_item_events=2, split="last:2d,2d")
    dataset = SequenceDataset.open(out)
    assert dataset.facts["tied_events"] > 0
    assert dataset.facts["dropped"]["duplicates"] > 0
    assert dataset.facts["sessions_cut"] > 5
    assert np.isnan(dataset.value).sum() > 0


def test_rare_items_and_short_sequences_are_dropped_again_and_again(both, tmp_path: Path) -> None:
    """Each user but two is short without the item that only the next user has too."""
    chain = [(f"u{step}", f"i{item}", S + step) for step in range(6) for item in (step, step + 1)]
    core = [(user, item, S + day * DAY_S) for day in range(4) for user in ("a", "b") for item in ("x", "y")]
    names = ("user_id", "item_id", "timestamp")
    rows = [*chain, *core, ("a", "i0", S)]
    log = write(
        tmp_path / "log.parquet", {name: [row[place] for row in rows] for place, name in enumerate(names)}
    )
    out = both(log, min_item_events=2, min_sequence_events=2, split="leave-one-out")
    assert SequenceDataset.open(out).events == len(core)


def test_item_and_user_tables_and_a_split_column(both, tmp_path: Path) -> None:
    """The ids are unsigned integers of 64 bits and the times nanoseconds, which Spark does not have."""
    days = np.repeat(np.arange(20), 12)
    user = np.tile(np.arange(12), 20).astype(np.uint64) * 2**55
    item = (np.arange(EVENTS) % 7).astype(np.uint64)
    times_ns = (S + days * DAY_S) * 10**9
    part = np.where(days < 14, "train", np.where(days < 17, "valid", "test"))
    log = write(
        tmp_path / "log.parquet",
        {
            "user_id": user,
            "item_id": item,
            "timestamp": pa.array(times_ns, pa.timestamp("ns", "UTC")),
            "part": part,
        },
    )
    items = {"item_id": np.arange(3, 10).astype(np.uint64), "title": [f"t{number}" for number in range(7)]}
    users = {"user_id": np.unique(user)[::-1], "country": [f"c{number}" for number in range(12)]}
    out = both(log, items=pa.table(items), users=pa.table(users), split="column:part")
    table = SequenceDataset.open(out).table
    assert sorted(table.column("item_id").to_pylist()) == list(range(10))


def test_sessions_of_a_column_with_uuids_and_times_in_several_zones(both, tmp_path: Path) -> None:
    """A user is erased, and a third of the events has no consent."""
    zones = ["Z", "+02:00", " UTC", "-0530", "+00", "z"]
    moments = [datetime.fromtimestamp(int(second), UTC) for second in seconds()]
    times = [f"{moment:%Y-%m-%dT%H:%M:%S}{zones[row % 6]}" for row, moment in enumerate(moments)]
    session = [uuid.UUID(int=row % 20 + 5).bytes for row in range(EVENTS)]
    user = [["u0", "u0", "u2", "u3"][row % 20 % 4] for row in range(EVENTS)]
    consent = [[True, False, None, True, True, True][row // 20 % 6] for row in range(EVENTS)]
    log = random_log(timestamp=times, session_id=pa.array(session, pa.uuid()), user_id=user, ok=consent)
    path = write(tmp_path / "log [1].parquet", log)
    options = {"sequence_by": "session", "duplicates": "keep", "forget": ["u2", "none"], "consent": "ok"}
    out = both(path, split="leave-one-out", allow_leaks=["duplicate"], max_events_per_day=7, **options)
    facts = SequenceDataset.open(out).facts
    assert facts["erased"] == {**facts["erased"], "users": 1, "events": EVENTS // 4}
    assert facts["consent"]["events_without"] == EVENTS // 4
    assert (facts["users_dropped"], facts["dropped"]["busy_users"]) == (1, EVENTS // 3)


def test_local_times_of_the_hour_that_a_clock_repeats_or_skips(both, tmp_path: Path) -> None:
    changes = [datetime(2024, 3, 31), datetime(2024, 10, 27)]
    times = [changes[row % 2] + timedelta(minutes=int(row) * 7 % 240) for row in range(EVENTS)]
    column = [f"{time:%Y-%m-%d %H:%M}" for time in times]
    user = pa.array([uuid.UUID(int=2**100 + row // 2 % 5).bytes for row in range(EVENTS)], pa.uuid())
    path = write(tmp_path / "log.parquet", random_log(timestamp=column, user_id=user))
    both(read_events(path, tz="Europe/Berlin"), split="at:2024-06-01,2024-10-27T00:30:00Z", session_gap="3h")


def test_a_csv_file_with_values_that_databases_read_differently(both, tmp_path: Path) -> None:
    values = ["nan", "", " 2.5 ", "1_000", "-NaN", "1e-400"]
    log = random_log(
        value=[values[row % 6] for row in range(EVENTS)], user_id=[f"{row % 9:02}" for row in range(EVENTS)]
    )
    path = tmp_path / "log.csv"
    rows = zip(*log.values(), strict=True)
    path.write_text("\n".join(",".join(map(str, row)) for row in [tuple(log), *rows]) + "\n")
    out = both(path, split="last:1d,1d")
    assert np.isnan(SequenceDataset.open(out).value).sum() > 0


# ---- equal messages


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"value": [np.inf if row > 77 else 1.0 for row in range(EVENTS)]},
            "row 79 of column 'value' is not a finite",
        ),
        (
            {"value": ["1e400" if row == 77 else "1.5d" if row > 77 else "nan" for row in range(EVENTS)]},
            "row 78 of column 'value' is not a finite number: '1e400'",
        ),
        ({"user_id": [None if row in (40, 200) else "u" for row in range(EVENTS)]}, "first in row 41"),
        (
            {"item_id": np.arange(EVENTS, dtype=np.uint64) + np.uint64(2**63)},
            "has the id 9223372036854776047, but",
        ),
        ({"timestamp": [f"2024-{row}-01" for row in range(EVENTS)]}, "is not a time"),
        ({"timestamp": seconds().astype(np.float32)}, "is stored as float32"),
        ({"timestamp": [f"{second:.5e}" for second in seconds()]}, "has lost its last digits"),
        ({"timestamp": seconds() * np.where(np.arange(EVENTS) < 200, 1, 1000)}, "mixes seconds"),
        ({"event_type": [f"k{row}" for row in range(EVENTS)], "more": 1}, "more than 256 kinds"),
        (
            {"session_id": np.arange(EVENTS, dtype=np.uint64) % np.uint64(5)},
            "session 0 has events of several users",
        ),
    ],
)
def test_a_bad_log_gets_the_same_message(refusals, tmp_path: Path, columns: Columns, message: str) -> None:
    log = random_log(**columns)
    if log.pop("more", None):
        log = {
            name: [*values, *(f"{value}+" if name == "event_type" else value for value in values)]
            for name, values in log.items()
        }
    path = tmp_path / "log.parquet"
    pq.write_table(pa.table(log), path, row_group_size=50)
    by = {"sequence_by": "session"} if "session_id" in columns else {}
    assert message in refusals(path, split="leave-one-out", **by)


# ---- interruptions


def test_a_call_continues_after_the_last_whole_step(
    spark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first call is stopped in a step that has replaced a table; the second one begins with the table as it was."""
    log = write(tmp_path / "log.parquet", random_log())
    options = {"split": "leave-one-out", "min_item_events": 2}
    expected = prepare(log, tmp_path / "duckdb", **options)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(cleaning, "keep_frequent", interrupt)
        prepare(log, tmp_path / "out", engine="spark", **options)
    tables = tmp_path / "out.partial" / "tables"
    names = json.loads((tables.parent / "state.json").read_text())["tables"]
    assert {path.name for path in tables.iterdir()} > set(names.values())
    monkeypatch.setattr(steps, "encode", interrupt)
    found = prepare(log, tmp_path / "out", engine="spark", **options)
    assert expected.facts["dropped"]["duplicates"] > 0
    assert (found.fingerprint, found.facts) == (expected.fingerprint, expected.facts)
    assert not tables.parent.exists()


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_another_engine_starts_again(spark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = write(tmp_path / "log.parquet", random_log())
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(cleaning, "drop_duplicates", interrupt)
        prepare(log, tmp_path / "out", engine="spark", split="leave-one-out")
    assert prepare(log, tmp_path / "out", split="leave-one-out").events > 0
    assert not (tmp_path / "out.partial").exists()


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("java.io.IOException: No space left on device", "the disk is full: No space left on device; "),
        (
            "Stage 7 failed 4 times.",
            "Spark stopped: Stage 7 failed 4 times; run the same command again, which continues after the last finished step",
        ),
    ],
)
def test_a_failure_of_spark_keeps_finished_steps(
    spark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, message: str
) -> None:
    from pyspark.errors import PySparkException

    def fail(*_: object) -> None:
        raise PySparkException(fault)

    log = write(tmp_path / "log.parquet", random_log())
    with monkeypatch.context() as patch, pytest.raises((DiskFullError, StoppedError)) as caught:
        patch.setattr("pyspark.sql.readwriter.DataFrameWriter.parquet", fail)
        prepare(log, tmp_path / "out", engine="spark", split="leave-one-out")
    assert str(caught.value).startswith(message)
    assert (f"GB are free at {tmp_path / 'out.partial'}" in str(caught.value)) == ("space" in fault)
    assert set(json.loads((tmp_path / "out.partial" / "state.json").read_text())["notes"]) == {"key", "read"}


def test_a_damaged_state_starts_again(spark: Any, tmp_path: Path) -> None:
    engine = SparkEngine(tmp_path, "100MB")
    with engine.transaction():
        engine.write_note("key", "value")
    engine.close()
    assert SparkEngine(tmp_path, "100MB").notes() == {"key": "value"}
    (tmp_path / "state.json").write_text('{"notes": {"key": ')
    assert SparkEngine(tmp_path, "100MB").notes() == {}


# ---- options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "sparc"}, "engine must be 'duckdb' or 'spark', got 'sparc'; did you mean 'spark'?"),
        (
            {"master": "local[2]"},
            "master='local[2]' is an option of Spark, but the engine is 'duckdb'; omit it, or choose engine='spark' "
            "(--engine spark)",
        ),
    ],
)
def test_wrong_options_are_refused(tmp_path: Path, options: Columns, message: str) -> None:
    log = write(tmp_path / "log.parquet", random_log())
    with pytest.raises(ConfigError) as caught:
        prepare(log, tmp_path / "out", **options)
    assert str(caught.value) == message
    assert list(tmp_path.iterdir()) == [log]


def test_a_dataset_of_the_other_engine_is_up_to_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spark is not started for it."""
    log = write(tmp_path / "log.parquet", random_log())
    made = prepare(log, tmp_path / "out", split="leave-one-out")
    monkeypatch.setattr("reprise.data.io.spark_engine.open_session", interrupt)
    assert (
        prepare(log, tmp_path / "out", split="leave-one-out", engine="spark").fingerprint == made.fingerprint
    )
