"""The event log in a file."""

import os
import random
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from reprise.server.store import sqlite, sqlite_connection
from reprise.server.store.event_store import StoreError
from reprise.server.store.records import Status, User, UserEvent
from reprise.server.store.sqlite import SQLiteStore
from reprise.testing.store_contract import check_store

ANNA = User("shop", "anna")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SQLiteStore]:
    store = SQLiteStore(tmp_path / "events.db")
    yield store
    store.close()


def event(user: User, item: str = "p1", event_id: str | None = None) -> tuple[User, UserEvent]:
    return user, UserEvent(item, 1_700_000_000_000, event_id=event_id)


def raw(store: SQLiteStore) -> bytes:
    """All bytes of the files of a store."""
    return b"".join(file.read_bytes() for file in store.path.parent.glob(f"{store.path.name}*"))


def test_it_keeps_the_contract(tmp_path: Path) -> None:
    check_store(lambda: SQLiteStore(tmp_path / "events.db"))


def test_what_was_appended_is_there_when_it_is_opened_again(tmp_path: Path) -> None:
    first = SQLiteStore(tmp_path / "events.db")
    first.append([event(ANNA, event_id="a")])
    first.close()
    second = SQLiteStore(tmp_path / "events.db")
    assert [found.item_id for found in second.since(ANNA).events] == ["p1"]
    assert second.append([event(ANNA, event_id="a")]) == [Status.DUPLICATE]
    second.close()


@pytest.mark.parametrize("seed", range(3))
def test_nobody_who_was_forgotten_is_left_in_the_bytes(store: SQLiteStore, seed: int) -> None:
    """Random users, sizes and deletions: pages fill and divide, and no copy of a row may be left behind anywhere."""
    generator = random.Random(seed)
    secret: dict[User, set[bytes]] = {}
    gone: set[bytes] = set()
    for _ in range(150):
        batch = []
        for _ in range(generator.randrange(1, 30)):
            user = User("shop", f"person-{generator.randrange(60)}-")
            token = f"token{generator.getrandbits(64):020}"
            item = f"i{generator.getrandbits(64):020}" + "x" * generator.randrange(200)
            secret.setdefault(user, {user.user_id.encode()}).update((token.encode(), item[:21].encode()))
            batch.append(event(user, item, token))
        store.append(batch)
        if generator.random() < 0.3:
            user = generator.choice(sorted(secret))
            store.forget(user)
            assert "no trace" in store.prove_forgotten(user)
            left = raw(store)
            assert [trace for trace in secret[user] if trace in left] == []
            gone |= secret.pop(user)
    assert len(gone) > 100
    left = raw(store)
    assert all(
        trace in left for traces in secret.values() for trace in traces
    )  # the test looks in the right place


def test_to_forget_rewrites_the_file_where_a_trace_is_left(store: SQLiteStore) -> None:
    store.append([event(ANNA, event_id="a"), event(User("shop", "bert"))])
    other = sqlite3.connect(store.path)
    other.execute("CREATE TABLE stray (body BLOB)")
    other.execute("INSERT INTO stray SELECT body FROM events WHERE length(body) < 1000")
    other.execute("DELETE FROM stray")  # without secure_delete the bytes stay
    other.commit()
    other.close()
    assert b"anna" in raw(store)
    assert store.forget(ANNA) == 1
    assert "no trace" in store.prove_forgotten(ANNA)
    assert b"anna" not in raw(store)
    assert len(store.since(User("shop", "bert")).events) == 1


def test_the_log_can_be_read_as_a_table(store: SQLiteStore) -> None:
    """For training again: one view with the columns of a log, without those who were forgotten."""
    store.append([(ANNA, UserEvent("p1", 5, "click", 2.0, "a")), event(User("shop", "bert"))])
    store.forget(User("shop", "bert"))
    reader = sqlite3.connect(store.path)
    columns = "tenant, user_id, item_id, timestamp, kind, value, event_id, seq"
    assert reader.execute(f"SELECT {columns} FROM log").fetchall() == [
        ("shop", "anna", "p1", 5, "click", 2.0, "a", 1)
    ]
    reader.close()


def test_a_full_disk_is_an_error_and_nothing_is_half_done(store: SQLiteStore) -> None:
    store.append([event(ANNA, event_id="a")])
    with store._database.writing() as writer:
        writer.execute(f"PRAGMA max_page_count = {writer.execute('PRAGMA page_count').fetchone()[0]}")
    many = [event(ANNA, "x" * 250, f"b{number}") for number in range(500)]
    with pytest.raises(StoreError, match="full"):
        store.append(many)
    assert len(store.since(ANNA).events) == 1
    # the connection was opened anew, and with it the limit is gone: as when somebody made room
    assert set(store.append(many)) == {Status.ACCEPTED}
    assert len(store.since(ANNA).events) == 501


def test_a_file_of_something_else_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE accounts (name TEXT)")
    other.close()
    with pytest.raises(
        StoreError, match=r"SQLite file of something else \(tables \['accounts'\]\); name another"
    ):
        SQLiteStore(path)
    (tmp_path / "notes.db").write_text("not a database, but long enough to be looked at" * 30)
    with pytest.raises(StoreError, match="file is not a database"):
        SQLiteStore(tmp_path / "notes.db")
    with pytest.raises(StoreError, match="unable to open"):
        SQLiteStore(tmp_path / "nowhere" / "events.db")


def test_a_store_of_a_later_version_is_not_touched(tmp_path: Path) -> None:
    SQLiteStore(tmp_path / "events.db").close()
    other = sqlite3.connect(tmp_path / "events.db")
    other.execute("UPDATE meta SET value = CAST('2' AS BLOB) WHERE name = 'format'")
    other.commit()
    other.close()
    with pytest.raises(StoreError, match="has format 2, this version of reprise reads 1"):
        SQLiteStore(tmp_path / "events.db")


def test_to_scrub_gives_the_room_of_the_forgotten_back(store: SQLiteStore) -> None:
    users = [User("shop", f"user {number}") for number in range(40)]
    store.append([event(user, "x" * 200, f"{user} {place}") for user in users for place in range(50)])
    before = store.since(users[39])
    for user in users[:39]:
        store.forget(user)
    store._database.empty_log()
    size = store.path.stat().st_size
    assert "written anew" in store.scrub()
    assert store.path.stat().st_size < size / 3
    assert store.since(users[39]) == before
    assert store.append([event(users[0])]) == [Status.ACCEPTED]
    assert len(store.since(users[0]).events) == 1


def test_any_number_of_threads_is_served_by_few_connections(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    connect = sqlite3.connect
    monkeypatch.setattr(
        sqlite_connection.sqlite3,
        "connect",
        lambda *told, **how: opened.append(told) or connect(*told, **how),
    )
    store.append([event(ANNA)])
    started = threading.Barrier(50)

    def read(_: int) -> int:
        started.wait()
        return len([found for _ in range(20) for found in store.since(ANNA).events])

    for _ in range(3):
        with ThreadPoolExecutor(50) as pool:
            assert list(pool.map(read, range(50))) == [20] * 50
    assert 0 < len(opened) <= sqlite_connection.READERS


def test_a_connection_that_reads_while_the_store_is_closed_is_closed_when_it_is_given_back(
    store: SQLiteStore,
) -> None:
    store.append([event(ANNA)])
    with store._database._reading() as reader:
        store.close()
        assert reader.execute("SELECT count(*) FROM events WHERE uid > 0 AND seq > 0").fetchone()[0] >= 1
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        reader.execute("SELECT 1")
    with pytest.raises(StoreError, match="is closed"):
        store.since(ANNA)
    assert sqlite_connection._FILES._users == {} and sqlite_connection._FILES._kept == {}


@pytest.mark.parametrize("place", range(60, 70))
def test_a_trace_across_two_blocks_is_found(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch, place: int
) -> None:
    monkeypatch.setattr(sqlite_connection, "BLOCK_BYTES", 64)
    with store.path.with_name("events.db-wal").open("wb") as log:
        log.write(b"x" * place + b"anna" + b"x" * 200)
    assert store._database.holds([b"longer than what is there", b"anna"])
    assert not store._database.holds([b"annb", b"xanna ", b"bert"])


def test_a_file_is_looked_through_in_small_parts(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part at a time: other threads do not stand still."""
    sizes = []
    read = os.pread

    def reading(*told: int) -> bytes:
        sizes.append(len(found := read(*told)))
        return found

    monkeypatch.setattr(sqlite_connection.os, "pread", reading)
    os.truncate(store.path, 5 * 2**20)
    assert not store._database.holds([b"anna"])
    assert max(sizes) <= 2**20 and sum(sizes) >= 5 * 2**20


LEAVING = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
print(connection.execute("SELECT max(seq) FROM log").fetchone())
connection.close()
"""


def test_to_look_through_the_file_takes_no_lock_from_it(store: SQLiteStore) -> None:
    """Or another process that leaves would take itself for the last, and remove the write-ahead log that this one uses."""

    def another_process() -> str:
        arguments = [sys.executable, "-c", LEAVING, str(store.path)]
        return subprocess.run(arguments, capture_output=True, text=True, check=True).stdout.strip()

    store.append([event(ANNA)])
    assert store._database.holds([b"anna"])
    assert another_process() == "(1,)"
    store.append([event(ANNA)])
    assert another_process() == "(2,)"


def test_nobody_but_its_owner_may_read_a_new_file(store: SQLiteStore) -> None:
    store.append([event(ANNA)])
    files = sorted(store.path.parent.glob("events.db*"))
    assert [file.name for file in files] == ["events.db", "events.db-shm", "events.db-wal"]
    assert [file.stat().st_mode & 0o777 for file in files] == [0o600] * 3


def test_others_write_while_it_is_proved(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.append([event(ANNA, event_id="a")])
    assert store.forget(ANNA) == 1
    looking, go_on = threading.Event(), threading.Event()
    holds = store._database.holds

    def slowly(parts: list[bytes]) -> bool:
        looking.set()
        assert go_on.wait(20)
        return holds(parts)

    monkeypatch.setattr(store._database, "holds", slowly)
    with ThreadPoolExecutor(1) as pool:
        proof = pool.submit(store.prove_forgotten, ANNA)
        assert looking.wait(20)
        assert store.append([event(User("shop", "bert"))]) == [Status.ACCEPTED]
        assert store.forget(User("shop", "bert")) == 1
        go_on.set()
        assert "no trace" in proof.result()


def test_others_write_while_the_proof_waits_for_a_reader(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One who reads for long keeps the write-ahead log from being emptied."""
    waiting, empty_log = threading.Event(), store._database.empty_log

    def told() -> None:
        waiting.set()
        empty_log()

    monkeypatch.setattr(store._database, "empty_log", told)
    store.append([event(ANNA)])
    other = sqlite3.connect(store.path, check_same_thread=False)
    other.execute("BEGIN")
    other.execute("SELECT count(*) FROM events").fetchone()
    store.forget(ANNA)
    with ThreadPoolExecutor(1) as pool:
        proof = pool.submit(store.prove_forgotten, ANNA)
        assert waiting.wait(20)
        slowest = 0.0
        for _ in range(10):
            begun = time.perf_counter()
            store.append([event(User("shop", "bert"))])
            slowest = max(slowest, time.perf_counter() - begun)
        assert not proof.done()
        other.execute("COMMIT")
        assert "no trace" in proof.result()
    other.close()
    assert slowest < sqlite_connection.BUSY_MS / 1000 / 2


def test_a_trace_that_stays_is_an_error(store: SQLiteStore) -> None:
    store.append([event(ANNA)])
    other = sqlite3.connect(store.path)
    other.execute("CREATE TABLE kept AS SELECT body FROM events WHERE length(body) < 1000")
    other.close()
    store.forget(ANNA)
    with pytest.raises(StoreError, match="still holds traces of a user who is to be forgotten"):
        store.prove_forgotten(ANNA)


def test_one_who_came_back_is_no_trace(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.append([event(ANNA)])
    store.forget(ANNA)
    store.append([event(ANNA)])
    monkeypatch.setattr(store._database, "write_anew", None)
    assert "has come back" in store.prove_forgotten(ANNA)
    assert len(store.since(ANNA).events) == 1


def test_no_more_events_are_read_than_are_asked_for(store: SQLiteStore) -> None:
    plan = store._database.rows(f"EXPLAIN QUERY PLAN {sqlite.SINCE}", (1, 5, b"", 10))
    assert not [step for *_, step in plan if "TEMP B-TREE" in step or "SCAN" in step], plan


def test_nothing_that_a_caller_says_of_others_looks_like_a_user(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or whoever knows a name could make that user one who cannot be forgotten."""
    for name in ('["shop", "anna",', '["shop", "anna"]', '["shop","anna"]', "anna", '", "anna", "'):
        store.put_item("shop", name, {"title": name, name: name, "price": 1.5, "tags": ["shop", "anna", "x"]})
        store.put_item(name, "p1", {})
        store.append([(User("shop", "x" + name), UserEvent(name, 5, name, 1.0, name))])
    store.append([event(ANNA)])
    store.forget(ANNA)
    monkeypatch.setattr(store._database, "write_anew", None)
    assert "no trace" in store.prove_forgotten(ANNA)
    assert [change.item_id for change in store.items_since(0)][::2][:2] == [
        '["shop", "anna",', '["shop", "anna"]'
    ]  # fmt: skip


def test_users_of_a_tenant_are_found_by_an_index_that_names_nobody(store: SQLiteStore) -> None:
    plan = store._database.rows(f"EXPLAIN QUERY PLAN {sqlite.NEWEST}", (b"", 10))
    assert [step for *_, step in plan] == ["SEARCH users USING INDEX newest_users (tenant=?)"]
    store.append([event(User("little", "zoe")), *[event(User("shop", f"u{number}")) for number in range(50)]])
    store.forget(User("shop", "u49"))
    assert store.recent_users("little", 5) == ["zoe"]
    assert store.recent_users("shop", 2) == ["u48", "u47"]
    ((tenant,),) = store._database.rows("SELECT count(DISTINCT tenant) FROM users WHERE generation")
    assert tenant == 3  # of the one who was forgotten nothing is told
