"""The command `reprise pseudonymise`."""

from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import Result

from reprise.privacy.pseudonyms.pseudonym_key import PseudonymKey

Run = Callable[..., Result]
Fails = Callable[..., str]


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "log.csv"
    file.write_text("user_id,visit,item_id,timestamp\nanna,1,p1,1700000000\nbert,1,p2,1700000001\n")
    return file


def test_a_log_is_copied_with_pseudonyms_of_a_new_key(reprise: Run, fails: Fails, log: Path) -> None:
    command = (
        "pseudonymise",
        log,
        "--key",
        "my.key",
        "--columns",
        "user_id, visit=session_id",
        "--out",
        "out.parquet",
    )
    assert fails(*command).startswith("no key file at my.key; make one with --new-key")
    result = reprise(*command, "--new-key")
    assert result.exit_code == 0, result.output
    key = PseudonymKey.read("my.key")
    assert "wrote a new key to my.key; who has it can undo the pseudonyms" in result.stderr
    assert result.stdout.splitlines() == [
        f"wrote out.parquet: 2 rows, pseudonyms of the key {key.name}",
        "  user_id: pseudonyms of the domain user_id",
        "  visit: pseudonyms of the domain session_id",
        "copied as they are: item_id, timestamp",
    ]
    rows = pq.read_table("out.parquet").to_pylist()
    assert rows[1]["user_id"] == key.pseudonym("user_id", "bert")
    assert rows[1]["visit"] == key.pseudonym("session_id", 1)
    assert fails(*command, "--new-key").startswith("my.key exists, and a key is never replaced")
    Path("my.key").chmod(0o644)
    assert "note: the key file my.key can be read by other users" in reprise(*command).stderr
    assert pq.read_table("out.parquet").to_pylist() == rows


def test_no_key_is_made_for_a_log_that_cannot_be_read(fails: Fails, log: Path) -> None:
    options = ("--key", "my.key", "--new-key", "--columns", "user_id", "--out")
    assert fails("pseudonymise", "none.csv", *options, "out.csv").startswith("no file at 'none.csv'")
    assert fails("pseudonymise", log, *options, "no/out.csv") == (
        "cannot write no/out.csv: directory no does not exist; create it first"
    )
    assert "the command reads this file" in fails("pseudonymise", log, *options, log)
    assert [file.name for file in log.parent.iterdir()] == ["log.csv"]
