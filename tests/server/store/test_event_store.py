"""Stores and their addresses."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from reprise.errors import ConfigError
from reprise.server.store import postgres, sqlite
from reprise.server.store.event_store import EventStore, open_store
from reprise.server.store.records import User, UserEvent
from reprise.server.store.sqlite import SQLiteStore


@pytest.fixture(params=["sqlite", "postgres"])
def each_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EventStore]:
    in_file = request.param == "sqlite"
    address = f"sqlite:///{tmp_path}/events.db" if in_file else request.getfixturevalue("postgres_address")
    with closing(open_store(address)) as store:
        yield store


def test_only_the_newest_forgettings_are_kept(
    each_store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (sqlite, postgres):
        monkeypatch.setattr(module, "FORGOTTEN_KEPT", 3)
    for number in range(5):
        user = User("shop", f"u{number}")
        each_store.append([(user, UserEvent("p1", 1_700_000_000_000))])
        each_store.forget(user)
    newest, generations = each_store.forgotten_since(0)
    assert newest == 5 and len(set(generations)) == 3
    assert each_store.forgotten_since(4) == (5, generations[2:])


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
