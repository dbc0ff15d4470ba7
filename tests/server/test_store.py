"""Stores and their addresses."""

import sqlite3
from pathlib import Path

import pytest

from reprise.errors import ConfigError
from reprise.server.sqlite import SQLiteStore
from reprise.server.store import open_store


def test_three_slashes_are_a_path_from_here_and_four_from_the_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for address in ("sqlite:///events.db", f"sqlite:///{tmp_path}/events.db"):
        store = open_store(address)
        assert isinstance(store, SQLiteStore)
        assert store.path.resolve() == tmp_path / "events.db"
        store.close()


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("events.db", "store 'events.db' is no address; write sqlite:///events.db"),
        ("sqlite://events.db", "names no file; write sqlite:///events.db"),
        ("sqlite:///", "names no file"),
        ("sqllite:///events.db", "unknown kind of store 'sqllite'; did you mean 'sqlite'?"),
    ],
)
def test_an_address_of_another_form_says_what_to_write(address: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_store(address)
    assert message in str(caught.value)


def test_where_none_is_to_be_made_there_must_be_one(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    address = f"sqlite:///{path}"
    with pytest.raises(
        ConfigError, match=r"there is no event log at .*events.db; name the one that a server"
    ):
        open_store(address, create=False)
    assert not path.exists()
    path.touch()
    with pytest.raises(ConfigError, match="there is no event log at"):
        open_store(address, create=False)
    assert path.read_bytes() == b""
    path.unlink()
    other = sqlite3.connect(path)
    other.execute("PRAGMA user_version = 1")  # a database without a table
    other.close()
    with pytest.raises(ConfigError, match="there is no event log at"):
        open_store(address, create=False)
    open_store(address).close()
    open_store(address, create=False).close()
