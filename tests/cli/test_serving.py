"""The verbs around a server: keys, and forgetting."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from reprise.cli.main import app
from reprise.server.http.auth import read_keys
from reprise.server.store.records import User, UserEvent
from reprise.server.store.sqlite import SQLiteStore


def ran(*arguments: str) -> str:
    result = CliRunner().invoke(app, [*arguments])
    assert result.exit_code == 0, result.output
    return result.output


def refused(*arguments: str) -> str:
    result = CliRunner().invoke(app, [*arguments])
    assert result.exit_code == 2
    return " ".join(result.output.split())


def test_a_key_is_shown_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    secret, told = ran("key", "front").splitlines()
    assert "added front to keys.toml" in told
    key = read_keys(tmp_path / "keys.toml").find(secret)
    assert key is not None and (key.tenant, key.scopes) == ("default", {"ingest", "recommend"})
    boss = ran("key", "boss", "--scope", "admin", "--tenant", "shop", "--file", "other.toml").splitlines()[0]
    key = read_keys(tmp_path / "other.toml").find(boss)
    assert key is not None and (key.tenant, key.scopes) == ("shop", {"admin"})
    assert "already has a key 'front'" in refused("key", "front")
    assert "or 'admin', got 'all'" in refused("key", "all", "--scope", "all")


def test_users_are_forgotten(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "events.db")
    for user in ("anna", "bert", "carl"):
        store.append([(User(tenant, user), UserEvent("p1", 5)) for tenant in ("default", "shop")])
    address = f"sqlite:///{tmp_path}/events.db"
    told = ran("forget", "anna", "bert", "nobody", "--store", address, "--scrub")
    assert "anna: 1 events deleted; no trace of the id" in told and "nobody: 0 events deleted" in told
    assert "was written anew" in told
    assert store.recent_users("default", 9) == ["carl"]
    assert store.recent_users("shop", 9) == ["carl", "bert", "anna"]
    ran("forget", "anna", "--store", address, "--tenant", "shop")
    assert b"anna" not in (tmp_path / "events.db").read_bytes()
    store.close()
    assert "is not an address" in refused("forget", "anna", "--store", "events.db")
    assert f"there is no event log at {tmp_path}/typo.db" in refused(
        "forget", "anna", "--store", f"sqlite:///{tmp_path}/typo.db"
    ).replace("│ ", "")
    assert not (tmp_path / "typo.db").exists()
