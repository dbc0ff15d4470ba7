"""The queue of erased users in SQLite and PostgreSQL: in the transaction of the deletion, and without ids."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from reprise.server.store.event_store import EventStore, StoreError
from reprise.server.store.opening import open_store
from reprise.server.store.postgres import PostgresStore
from reprise.server.store.records import User, UserEvent
from reprise.server.store.sqlite import SQLiteStore
from reprise.testing import erasure_contract
from reprise.testing.store_contract import check_store

ANNA = User("shop", "anna")
EVENT = UserEvent("p1", 1_700_000_000_000)


@pytest.fixture(params=["sqlite", "postgres"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/events.db"
    return str(request.getfixturevalue("postgres_address"))


@pytest.fixture
def store(address: str) -> Iterator[Any]:
    with closing(open_store(address)) as opened:
        yield opened


def test_the_queue_survives_a_restart_and_is_added_to_older_stores(store: Any, address: str) -> None:
    """A store of an earlier version has no table of erased users."""
    store.append([(ANNA, EVENT)])
    drop(address)
    with closing(open_store(address)) as opened:
        assert len(opened.erased_users("shop")) == 0
        assert opened.delete_user(ANNA) == 1
    with closing(open_store(address)) as opened:
        assert "anna" in opened.erased_users("shop")


def test_a_deletion_that_cannot_be_remembered_deletes_nothing(store: Any, address: str) -> None:
    store.append([(ANNA, EVENT)])
    drop(address)
    with pytest.raises(StoreError):
        store.delete_user(ANNA)
    assert len(store.events_since(ANNA).events) == 1


def test_the_queue_keeps_no_ids(tmp_path: Path) -> None:
    with closing(SQLiteStore(tmp_path / "events.db")) as store:
        store.append([(ANNA, EVENT)])
        store.delete_user(ANNA)
        store.delete_user(User("shop", "never-seen-before"))
        store.verify_erasure(ANNA)
        assert len(store.erased_users("shop")) == 2
        content = (tmp_path / "events.db").read_bytes()
        assert b"anna" not in content and b"never-seen" not in content
        # not the hash of the index of users, so that new events of the user do not show that there was a deletion
        store.append([(ANNA, EVENT)])
        reader = sqlite3.connect(store.path)
        assert reader.execute("SELECT 1 FROM users JOIN erased USING (digest)").fetchall() == []
        reader.close()


def test_a_role_that_may_not_create_the_queue_is_refused_a_deletion(
    postgres_server: Any, postgres_address: str
) -> None:
    postgres_server.execute("CREATE ROLE clerk LOGIN")
    try:
        with closing(PostgresStore(postgres_address)) as store:
            store.append([(ANNA, EVENT)])
        with psycopg.connect(postgres_address, autocommit=True) as owner:
            owner.execute("DROP TABLE reprise.erased")
            owner.execute("GRANT USAGE ON SCHEMA reprise TO clerk")
            owner.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA reprise TO clerk")
        with closing(PostgresStore(postgres_address.replace("//postgres:@", "//clerk@"))) as store:
            for call in (lambda: store.delete_user(ANNA), lambda: store.erased_users("shop")):
                with pytest.raises(
                    StoreError, match=r"may not create the table reprise\.erased, so nothing was deleted"
                ):
                    call()
            assert len(store.events_since(ANNA).events) == 1
    finally:
        with psycopg.connect(postgres_address, autocommit=True) as owner:
            owner.execute("DROP OWNED BY clerk")
        postgres_server.execute("DROP ROLE clerk")


class ForgetfulStore(SQLiteStore):
    """A store whose queue ignores tenants."""

    def erased_users(self, tenant: str) -> Any:
        return super().erased_users("shop")


class StoreWithoutQueue(SQLiteStore):
    erased_users = None  # type: ignore[assignment]


def test_a_queue_that_breaks_the_contract_fails_the_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(cls: type[EventStore], name: str) -> None:
        with closing(cls(tmp_path / name)) as one, closing(cls(tmp_path / name)) as other:  # type: ignore[call-arg]
            erasure_contract.check_erasures(one, other)

    check(SQLiteStore, "good.db")
    check(StoreWithoutQueue, "none.db")
    with pytest.raises(AssertionError, match="the queues of tenants must be separate"):
        check(ForgetfulStore, "broken.db")
    monkeypatch.setattr(
        "reprise.testing.store_contract._CHECKS", (erasure_contract.check_erasures,)
    )  # the other parts have tests of their own
    with pytest.raises(AssertionError, match="the queues of tenants must be separate"):
        check_store(lambda: ForgetfulStore(tmp_path / "checked.db"))


def drop(address: str) -> None:
    """Remove the table of erased users while the store is open."""
    if address.startswith("sqlite"):
        with closing(sqlite3.connect(address.removeprefix("sqlite:///"))) as other:
            other.execute("DROP TABLE erased")
            other.commit()
    else:
        with psycopg.connect(address, autocommit=True) as connection:
            connection.execute("DROP TABLE reprise.erased")
