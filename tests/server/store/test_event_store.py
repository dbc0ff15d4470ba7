"""Behaviour that the SQLite and the PostgreSQL store have in common."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from reprise.server.store import postgres, sqlite
from reprise.server.store.event_store import EventStore
from reprise.server.store.opening import open_store
from reprise.server.store.records import User, UserEvent


@pytest.fixture(params=["sqlite", "postgres"])
def each_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EventStore]:
    in_file = request.param == "sqlite"
    address = f"sqlite:///{tmp_path}/events.db" if in_file else request.getfixturevalue("postgres_address")
    with closing(open_store(address)) as store:
        yield store


def test_only_the_newest_deletions_are_kept(each_store: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (sqlite, postgres):
        monkeypatch.setattr(module, "DELETIONS_KEPT", 3)
    for number in range(5):
        user = User("shop", f"u{number}")
        each_store.append([(user, UserEvent("p1", 1_700_000_000_000))])
        each_store.delete_user(user)
    newest, generations = each_store.deletions_since(0)
    assert newest == 5 and len(set(generations)) == 3
    assert each_store.deletions_since(4) == (5, generations[2:])
