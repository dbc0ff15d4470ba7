"""Pseudonyms of a log: equal for equal ids and keys, in every format, so that the prepared dataset is the same but for ids."""

import json
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pcsv
import pyarrow.parquet as pq
import pytest

from reprise.data.io import duckdb_engine
from reprise.data.preparing.prepare import prepare
from reprise.errors import ConfigError, DataError
from reprise.privacy.pseudonyms.pseudonym_key import PseudonymKey
from reprise.privacy.pseudonyms.pseudonymise_log import pseudonymise

KEY = PseudonymKey(b"k" * 32)
S, DAY_S = 1_700_000_000, 86_400


def log_table(user: Any = int) -> pa.Table:
    """Five users for ten days, in no order of time, with a text that needs quotes and times in nanoseconds."""
    days = [((day * 7) % 10, number) for day in range(10) for number in range(5)]
    return pa.table(
        {
            "user_id": [user(number) for _, number in days],
            "item_id": [f"i{(number + day) % 4}" for day, number in days],
            "timestamp": pa.array([(S + day * DAY_S) * 10**9 for day, _ in days], pa.timestamp("ns", "UTC")),
            "note": ['a "quoted", text\nof two lines' if day % 2 else None for day, _ in days],
        }
    )


def write(table: pa.Table, path: Path) -> Path:
    if path.suffix == ".csv":
        pcsv.write_csv(table, path)
    elif path.suffix == ".jsonl":
        path.write_bytes(b"".join(_json(row) for row in table.to_pylist()))
    else:
        pq.write_table(table, path, row_group_size=7)
    return path


def _json(row: dict[str, Any]) -> bytes:
    return json.dumps({**row, "timestamp": row["timestamp"].isoformat()}).encode() + b"\n"


@pytest.mark.parametrize("name", ["log.parquet", "log.csv", "log.jsonl"])
@pytest.mark.parametrize("out", ["out.parquet", "out.csv"])
def test_every_format_gets_the_same_pseudonyms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, out: str
) -> None:
    """The rows come in several batches. Integers and the same numbers as text are one id."""
    monkeypatch.setattr(duckdb_engine, "BATCH_ROWS", 9)
    table = log_table()
    done = pseudonymise(write(table, tmp_path / name), tmp_path / out, key=KEY, columns=["user_id"])
    assert (done.rows, done.domains, done.unchanged) == (
        50,
        {"user_id": "user_id"},
        ("item_id", "timestamp", "note"),
    )
    newlines = pcsv.ParseOptions(newlines_in_values=True)
    nulls = pcsv.ConvertOptions(strings_can_be_null=True)
    path = tmp_path / out
    found = (
        pq.read_table(path)
        if path.suffix == ".parquet"
        else pcsv.read_csv(path, parse_options=newlines, convert_options=nulls)
    )
    expected = [KEY.pseudonym("user_id", str(user)) for user in table.column("user_id").to_pylist()]
    assert found.column("user_id").to_pylist() == expected
    assert len(set(expected)) == 5
    assert (
        found.drop_columns(["user_id", "timestamp"]).to_pylist()
        == table.drop_columns(["user_id", "timestamp"]).to_pylist()
    )
    if name == out.replace("out", "log") == "log.parquet":
        assert found.drop_columns(["user_id"]).equals(table.drop_columns(["user_id"]))
    assert sorted(one.name for one in tmp_path.iterdir()) == sorted([name, out])


def test_the_dataset_of_a_pseudonymised_log_differs_in_ids_only(tmp_path: Path) -> None:
    log = write(log_table(), tmp_path / "log.parquet")
    pseudonymise(log, tmp_path / "hidden.csv", key=KEY, columns=["user_id"])
    plain = prepare(log, tmp_path / "plain", split="last:2d,2d")
    hidden = prepare(tmp_path / "hidden.csv", tmp_path / "hidden", split="last:2d,2d")
    for name in ("item", "time_ms", "offset", "train_end", "valid_end"):
        assert np.array_equal(getattr(plain, name), getattr(hidden, name)), name
    assert hidden.users.tolist() == [KEY.pseudonym("user_id", user) for user in plain.users.tolist()]
    assert not any(f",{user}," in (tmp_path / "hidden.csv").read_text() for user in range(5))


def test_missing_ids_stay_missing_and_spellings_stay_different(tmp_path: Path) -> None:
    table = pa.table({"user_id": ["7", None, "07", "", "7"], "n": [1, 2, 3, 4, 5]})
    pseudonymise(table, tmp_path / "out.parquet", key=KEY, columns=["user_id"])
    found = pq.read_table(tmp_path / "out.parquet").column("user_id").to_pylist()
    seven = KEY.pseudonym("user_id", 7)
    assert found == [seven, None, KEY.pseudonym("user_id", "07"), "", seven]


def test_pseudonyms_depend_on_the_key_and_on_the_domain(tmp_path: Path) -> None:
    table = pa.table({"user_id": ["anna"], "seller": ["anna"], "buyer": ["anna"]})
    columns = ["user_id", "seller", "buyer=user_id"]
    pseudonymise(table, tmp_path / "out.parquet", key=KEY, columns=columns)
    (row,) = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert row["user_id"] == row["buyer"] != row["seller"]
    other = PseudonymKey(b"K" * 32)
    assert other.pseudonym("user_id", "anna") != row["user_id"]
    assert row["user_id"].startswith(f"{KEY.name}-") and other.name != KEY.name
    assert row["user_id"] == "14b656-c88d3f360c2611632edd5edc7ea0bc43"
    assert "kkk" not in repr(KEY)


def test_a_key_file_is_private_and_is_never_replaced(tmp_path: Path) -> None:
    file = tmp_path / "pseudonyms.key"
    key = PseudonymKey.create(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert PseudonymKey.read(file) == key
    with pytest.raises(ConfigError, match="exists, and a key is never replaced; leave out --new-key"):
        PseudonymKey.create(file)
    assert PseudonymKey.read(file) == key
    file.chmod(0o644)
    with pytest.warns(UserWarning, match="can be read by other users of this machine; run: chmod 600"):
        PseudonymKey.read(file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it has 0 bytes, but"), (bytes(range(200, 232)), "it has 32 bytes, but"),
        (b"ab" * 31, "it has 62 bytes, but"), (b"xy" * 32, "it has 64 bytes, but"),
        (b"0" * 5000, "it has more than 1000 bytes"),
    ],
)  # fmt: skip
def test_another_file_is_not_a_key(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "pseudonyms.key"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match="does not hold a key: " + message):
        PseudonymKey.read(file)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"columns": ["user"]}, DataError, "the log has no column 'user'; did you mean 'user_id'?"),
        (
            {"columns": ["timestamp"]},
            DataError,
            "ids must be text or integers, but column 'timestamp' contains timestamps",
        ),
        (
            {"columns": ["user_id", "user_id=x"]},
            ConfigError,
            "column 'user_id' is named twice; name each column once",
        ),
        (
            {"columns": ["user_id="]},
            ConfigError,
            "columns has 'user_id=' without a domain after =; write user_id or",
        ),
        ({"columns": []}, ConfigError, "no column to replace; name the columns of ids"),
        ({"out": "out.tsv"}, ConfigError, "unknown suffix '.tsv'; did you mean '.csv'?"),
        ({"out": "log.parquet"}, ConfigError, "the command reads this file; name another file"),
        ({"key": "none.key"}, ConfigError, "no key file at none.key; make one with --new-key"),
        ({"events": "none.parquet"}, DataError, "no file at 'none.parquet'"),
    ],
)
def test_bad_input_is_refused_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: Any, error: Any, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write(log_table(), tmp_path / "log.parquet")
    arguments = {"events": "log.parquet", "out": "out.parquet", "key": KEY, "columns": ["user_id"], **changes}
    with pytest.raises(error) as caught:
        pseudonymise(**arguments)
    assert message in str(caught.value)
    assert [one.name for one in tmp_path.iterdir()] == ["log.parquet"]
    assert pq.read_table("log.parquet").num_rows == 50


def test_a_log_that_csv_cannot_hold_leaves_the_former_file(tmp_path: Path) -> None:
    (tmp_path / "out.csv").write_text("former\n")
    table = pa.table({"user_id": ["u"], "tags": [["a", "b"]]})
    with pytest.raises(DataError, match=r"cannot be written to .*out\.csv \(.*; write a \.parquet file"):
        pseudonymise(table, tmp_path / "out.csv", key=KEY, columns=["user_id"])
    assert (tmp_path / "out.csv").read_text() == "former\n"
    assert [one.name for one in tmp_path.iterdir()] == ["out.csv"]
