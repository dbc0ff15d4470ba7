"""Addresses of stores: SQLite, PostgreSQL and classes of your own."""

import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from reprise.errors import ConfigError
from reprise.server.store.event_store import EventStore
from reprise.server.store.opening import open_store
from reprise.server.store.sqlite import SQLiteStore
from reprise.testing.server_process import ServerProcess

MODULE = """
from abc import ABC, abstractmethod
from reprise.server import EventStore, SQLiteStore

class MyStore(SQLiteStore):
    def __init__(self, address):
        super().__init__(address)

class NoArguments(SQLiteStore):
    def __init__(self):
        super().__init__("without_arguments.db")

class TwoArguments(SQLiteStore):
    def __init__(self, address, timeout_s): ...

class Raises(SQLiteStore):
    def __init__(self, address):
        raise KeyError(f"no host {address}")

class Abstract(SQLiteStore, ABC):
    def __init__(self, address): ...

    @abstractmethod
    def connect(self): ...

class Subclass(EventStore):
    def append(self, events): ...

class Incomplete:
    def append(self, events): ...
    def close(self): ...

def function(): ...
number = 3
"""


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory with a module `my_shop_store` that can be imported from it."""
    (tmp_path / "my_shop_store.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    monkeypatch.delitem(sys.modules, "my_shop_store", raising=False)


def test_three_slashes_precede_a_relative_path_and_four_an_absolute_path(
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
        ("events.db", "store 'events.db' is not an address; write sqlite:///events.db"),
        ("sqlite:events", "store 'sqlite:events' is not an address; write sqlite:///events.db"),
        ("postgres:shop", "store 'postgres:shop' is not an address"),
        ("sqlite://events.db", "does not name a file; write sqlite:///events.db"),
        ("sqlite:///", "does not name a file"),
        ("sqllite:///events.db", "unknown kind of store 'sqllite'; did you mean 'sqlite'?"),
    ],
)
def test_a_malformed_address_is_an_error_that_shows_the_right_form(address: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_store(address)
    assert message in str(caught.value)


def test_without_create_a_missing_store_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    address = f"sqlite:///{path}"
    with pytest.raises(
        ConfigError, match=r"no event log at .*events.db; give the address that a server uses"
    ):
        open_store(address, create=False)
    assert not path.exists()
    path.touch()
    with pytest.raises(ConfigError, match="no event log at"):
        open_store(address, create=False)
    assert path.read_bytes() == b""
    path.unlink()
    other = sqlite3.connect(path)
    other.execute("PRAGMA user_version = 1")  # a database without a table
    other.close()
    with pytest.raises(ConfigError, match="no event log at"):
        open_store(address, create=False)
    open_store(address).close()
    open_store(address, create=False).close()


def test_a_class_is_called_with_its_address(own_module: Path) -> None:
    for address, file in (
        ("my_shop_store:MyStore:mine.db", "mine.db"),
        ("my_shop_store:MyStore:a:b://c.db", "a:b://c.db"),
        ("my_shop_store:NoArguments", "without_arguments.db"),
    ):
        (own_module / file).parent.mkdir(parents=True, exist_ok=True)
        store = open_store(address, trusted=True)
        assert type(store).__module__ == "my_shop_store"
        assert isinstance(store, SQLiteStore) and str(store.path) == str(Path(file))
        store.close()


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("my_shop_store:Missing", "module 'my_shop_store' has no 'Missing'"),
        ("no_such_module:MyStore", "(no 'no_such_module'); install it, or set PYTHONPATH to its directory"),
        ("my_shop_store:function", "has the type function; name a class with the methods of EventStore"),
        ("my_shop_store:number", "has the type int; name a class with the methods of EventStore"),
        ("my_shop_store:Incomplete", "lacks methods of EventStore: add "),
        ("my_shop_store:MyStore", "missing a required argument: 'address'; write --store my_shop_store:MyStore:ADDRESS"),
        ("my_shop_store:NoArguments:there", "too many positional arguments; write --store my_shop_store:NoArguments"),
        ("my_shop_store:TwoArguments:a", "argument: 'timeout_s'; let its __init__ take one address or no arguments"),
        ("my_shop_store:Raises:there", "store class 'my_shop_store:Raises' cannot be opened: KeyError: 'no host there'"),
        ("my_shop_store:Abstract:a", "lacks methods of EventStore: add connect"),
        ("my_shop_store:TwoArguments", "argument: 'address'; let its __init__ take one address or no arguments"),
    ],
)  # fmt: skip
def test_a_class_that_cannot_be_a_store_is_an_error(own_module: Path, address: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_store(address, trusted=True)
    assert message in str(caught.value)


@pytest.mark.parametrize(("name", "defined"), [("Incomplete", {"append", "close"}), ("Subclass", {"append"})])
def test_the_error_names_each_missing_method(own_module: Path, name: str, defined: set[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        open_store(f"my_shop_store:{name}", trusted=True)
    missing = str(caught.value).partition("add ")[2].split(", ")
    methods = {method for method in vars(EventStore) if not method.startswith("_")}
    assert len(methods) == 12 and {*missing} == methods - defined


def test_a_class_from_outside_is_imported_only_if_trusted(own_module: Path) -> None:
    with pytest.raises(ConfigError, match=r"lies outside the package reprise.*--trusted"):
        open_store("my_shop_store:MyStore:mine.db")
    assert not (own_module / "mine.db").exists()


def test_the_command_serves_with_a_class_of_your_own(own_module: Path, first_model: Path) -> None:
    event = {"user_id": "anna", "item_id": "p1"}
    with ServerProcess(
        first_model,
        "my_shop_store:MyStore:mine.db",
        own_module / "log",
        options=["--trusted"],
        environment={"PYTHONPATH": f"{own_module}:{Path(__file__).parents[3] / 'src'}"},
    ) as server:
        server.wait_ready()
        assert (
            server.request("POST", "/v1/events", {"events": [event]}).body["results"][0]["status"]
            == "accepted"
        )
        assert server.request("POST", "/v1/recommend", {"user_id": "anna"}).body["events"] == 1
        assert server.stop() == 0
    store = SQLiteStore(own_module / "mine.db")
    assert store.recent_users("default", 9) == ["anna"]
    store.close()


def test_the_command_refuses_a_class_of_your_own_without_trusted(own_module: Path, first_model: Path) -> None:
    with (
        ServerProcess(first_model, "my_shop_store:MyStore:mine.db", own_module / "log") as server,
        pytest.raises(RuntimeError, match="--trusted"),
    ):
        server.wait_ready()
    assert not (own_module / "mine.db").exists()
