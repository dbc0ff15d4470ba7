"""The commands `key` and `forget`."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from reprise.cli.commands.serve import read_split
from reprise.cli.main import app
from reprise.errors import ConfigError
from reprise.server.engine.split_engine import UserSplit
from reprise.server.http.auth import read_keys
from reprise.server.store.records import User, UserEvent
from reprise.server.store.sqlite import SQLiteStore


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, [*arguments])
    assert result.exit_code == 0, result.output
    return result.output


def run_with_error(*arguments: str) -> str:
    result = CliRunner().invoke(app, [*arguments])
    assert result.exit_code == 2
    return " ".join(result.output.split())


def test_key_prints_the_secret_and_stores_its_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    secret, message = run("key", "front").splitlines()
    assert "added front to keys.toml" in message
    key = read_keys(tmp_path / "keys.toml").find(secret)
    assert key is not None and (key.tenant, key.scopes) == ("default", {"ingest", "recommend"})
    boss = run("key", "boss", "--scope", "admin", "--tenant", "shop", "--file", "other.toml").splitlines()[0]
    key = read_keys(tmp_path / "other.toml").find(boss)
    assert key is not None and (key.tenant, key.scopes) == ("shop", {"admin"})
    assert "already has a key 'front'" in run_with_error("key", "front")
    assert "or 'admin', got 'all'" in run_with_error("key", "all", "--scope", "all")


def test_forget_deletes_users(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "events.db")
    for user in ("anna", "bert", "carl"):
        store.append([(User(tenant, user), UserEvent("p1", 5)) for tenant in ("default", "shop")])
    address = f"sqlite:///{tmp_path}/events.db"
    output = run("forget", "anna", "bert", "unknown", "--store", address, "--vacuum")
    assert (
        "anna: 1 events deleted; no trace of the user id" in output and "unknown: 0 events deleted" in output
    )
    assert "was rewritten" in output
    assert store.recent_users("default", 9) == ["carl"]
    assert store.recent_users("shop", 9) == ["carl", "bert", "anna"]
    run("forget", "anna", "--store", address, "--tenant", "shop")
    assert b"anna" not in (tmp_path / "events.db").read_bytes()
    store.close()
    assert "is not an address" in run_with_error("forget", "anna", "--store", "events.db")
    assert f"no event log at {tmp_path}/typo.db" in run_with_error(
        "forget", "anna", "--store", f"sqlite:///{tmp_path}/typo.db"
    ).replace("│ ", "")
    assert not (tmp_path / "typo.db").exists()


@pytest.mark.parametrize(
    ("text", "models", "message"),
    [
        (None, 2, "got 2 models; give the share of the users of each, such as --split 90,10"),
        ("90", 1, "needs 2 to 26 shares, got 1"),
        ("90,ten", 2, "--split '90,ten' is not a list of shares; write one like 90,10"),
        ("90,10", 3, "--split 90,10 has 2 shares for 3 models; give one share for each model"),
    ],
)
def test_a_wrong_split_is_explained(text: str | None, models: int, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        read_split(text, "1", models)


def test_a_split_is_read() -> None:
    assert read_split(None, "1", 1) is None
    assert read_split("90, 10", "spring", 2) == UserSplit((90.0, 10.0), "spring")
