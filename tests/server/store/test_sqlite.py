"""The event store in a SQLite file."""

import os
import random
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from reprise.server.store import sqlite, sqlite_connection, sqlite_files
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
    """Return all bytes of the files of a store."""
    return b"".join(file.read_bytes() for file in store.path.parent.glob(f"{store.path.name}*"))


def test_the_store_keeps_the_contract(tmp_path: Path) -> None:
    check_store(lambda: SQLiteStore(tmp_path / "events.db"))


def test_events_remain_after_the_file_is_opened_again(tmp_path: Path) -> None:
    first = SQLiteStore(tmp_path / "events.db")
    first.append([event(ANNA, event_id="a")])
    first.close()
    second = SQLiteStore(tmp_path / "events.db")
    assert [found.item_id for found in second.events_since(ANNA).events] == ["p1"]
    assert second.append([event(ANNA, event_id="a")]) == [Status.DUPLICATE]
    second.close()


@pytest.mark.parametrize("seed", range(3))
def test_no_bytes_of_deleted_users_remain_in_the_files(store: SQLiteStore, seed: int) -> None:
    """With random users, sizes and deletions, pages are split; no copy of a row may remain anywhere."""
    generator = random.Random(seed)
    personal: dict[User, set[bytes]] = {}
    deleted: set[bytes] = set()
    for _ in range(150):
        batch = []
        for _ in range(generator.randrange(1, 30)):
            user = User("shop", f"person-{generator.randrange(60)}-")
            token = f"token{generator.getrandbits(64):020}"
            item = f"i{generator.getrandbits(64):020}" + "x" * generator.randrange(200)
            personal.setdefault(user, {user.user_id.encode()}).update((token.encode(), item[:21].encode()))
            batch.append(event(user, item, token))
        store.append(batch)
        if generator.random() < 0.3:
            user = generator.choice(sorted(personal))
            store.delete_user(user)
            assert "no trace" in store.verify_erasure(user)
            remaining = raw(store)
            assert [trace for trace in personal[user] if trace in remaining] == []
            deleted |= personal.pop(user)
    assert len(deleted) > 100
    remaining = raw(store)
    assert all(
        trace in remaining for traces in personal.values() for trace in traces
    )  # the traces of other users are found, so the search works


def test_verification_rewrites_the_file_if_a_trace_remains(store: SQLiteStore) -> None:
    store.append([event(ANNA, event_id="a"), event(User("shop", "bert"))])
    other = sqlite3.connect(store.path)
    other.execute("CREATE TABLE stray (body BLOB)")
    other.execute("INSERT INTO stray SELECT body FROM events WHERE length(body) < 1000")
    other.execute("DELETE FROM stray")  # without secure_delete the bytes remain in the file
    other.commit()
    other.close()
    assert b"anna" in raw(store)
    assert store.delete_user(ANNA) == 1
    assert "no trace" in store.verify_erasure(ANNA)
    assert b"anna" not in raw(store)
    assert len(store.events_since(User("shop", "bert")).events) == 1


def test_the_log_view_has_the_columns_of_an_event_log(store: SQLiteStore) -> None:
    """The view is for training a new model. It does not contain deleted users."""
    store.append([(ANNA, UserEvent("p1", 5, "click", 2.0, "a")), event(User("shop", "bert"))])
    store.delete_user(User("shop", "bert"))
    reader = sqlite3.connect(store.path)
    columns = "tenant, user_id, item_id, timestamp, kind, value, event_id, seq"
    assert reader.execute(f"SELECT {columns} FROM log").fetchall() == [
        ("shop", "anna", "p1", 5, "click", 2.0, "a", 1)
    ]
    reader.close()


def test_a_full_disk_is_an_error_and_stores_nothing(store: SQLiteStore) -> None:
    store.append([event(ANNA, event_id="a")])
    with store._database.writer() as writer:
        writer.execute(f"PRAGMA max_page_count = {writer.execute('PRAGMA page_count').fetchone()[0]}")
    many = [event(ANNA, "x" * 250, f"b{number}") for number in range(500)]
    with pytest.raises(StoreError, match="full"):
        store.append(many)
    assert len(store.events_since(ANNA).events) == 1
    # the error closed the connection, and the new one does not have the limit, as if space had been freed
    assert set(store.append(many)) == {Status.ACCEPTED}
    assert len(store.events_since(ANNA).events) == 501


def test_a_file_of_another_program_is_an_error_and_not_changed(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE accounts (name TEXT)")
    other.close()
    with pytest.raises(
        StoreError, match=r"SQLite file of another program \(tables \['accounts'\]\); name another file"
    ):
        SQLiteStore(path)
    (tmp_path / "notes.db").write_text("not a database, but long enough to have a header" * 30)
    with pytest.raises(StoreError, match="file is not a database"):
        SQLiteStore(tmp_path / "notes.db")
    with pytest.raises(StoreError, match="unable to open"):
        SQLiteStore(tmp_path / "nowhere" / "events.db")


@pytest.mark.parametrize("read_only", ["events.db", "."])
def test_a_file_that_cannot_be_written_is_an_error_and_gets_no_write_ahead_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read_only: str
) -> None:
    """The mode of a file does not bind the tests if they run as root, so the answer of the system is replaced."""
    path = tmp_path / "events.db"
    SQLiteStore(path).close()
    refused = tmp_path / read_only
    monkeypatch.setattr(
        sqlite_files.os, "access", lambda path, mode: mode != os.W_OK or Path(path) != refused
    )
    with pytest.raises(
        StoreError, match="is read-only for this process; change its mode, owner or file system"
    ):
        SQLiteStore(path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["events.db"]


def test_a_store_of_another_format_is_an_error(tmp_path: Path) -> None:
    SQLiteStore(tmp_path / "events.db").close()
    other = sqlite3.connect(tmp_path / "events.db")
    other.execute("UPDATE meta SET value = CAST('2' AS BLOB) WHERE name = 'format'")
    other.commit()
    other.close()
    with pytest.raises(StoreError, match="has format 2, but this version of reprise reads format 1"):
        SQLiteStore(tmp_path / "events.db")


def test_a_vacuum_frees_the_space_of_deleted_users(store: SQLiteStore) -> None:
    users = [User("shop", f"user {number}") for number in range(40)]
    store.append([event(user, "x" * 200, f"{user} {number}") for user in users for number in range(50)])
    before = store.events_since(users[39])
    for user in users[:39]:
        store.delete_user(user)
    store._database.truncate_wal()
    size = store.path.stat().st_size
    assert "rewritten" in store.vacuum()
    assert store.path.stat().st_size < size / 3
    assert store.events_since(users[39]) == before
    assert store.append([event(users[0])]) == [Status.ACCEPTED]
    assert len(store.events_since(users[0]).events) == 1


def test_many_threads_share_a_few_connections(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    connect = sqlite3.connect
    monkeypatch.setattr(
        sqlite_connection.sqlite3,
        "connect",
        lambda *arguments, **options: opened.append(arguments) or connect(*arguments, **options),
    )
    store.append([event(ANNA)])
    started = threading.Barrier(50)

    def read(_: int) -> int:
        started.wait()
        return len([found for _ in range(20) for found in store.events_since(ANNA).events])

    for _ in range(3):
        with ThreadPoolExecutor(50) as pool:
            assert list(pool.map(read, range(50))) == [20] * 50
    assert 0 < len(opened) <= sqlite_connection.READERS


def test_a_connection_that_is_reading_during_close_is_closed_afterwards(
    store: SQLiteStore,
) -> None:
    store.append([event(ANNA)])
    with store._database._reader() as reader:
        store.close()
        assert reader.execute("SELECT count(*) FROM events WHERE uid > 0 AND seq > 0").fetchone()[0] >= 1
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        reader.execute("SELECT 1")
    with pytest.raises(StoreError, match="is closed"):
        store.events_since(ANNA)
    assert sqlite_files.OPEN_FILES._users == {} and sqlite_files.OPEN_FILES._descriptors == {}


@pytest.mark.parametrize("offset", range(60, 70))
def test_a_pattern_across_two_blocks_is_found(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch, offset: int
) -> None:
    monkeypatch.setattr(sqlite_files, "BLOCK_BYTES", 64)
    with store.path.with_name("events.db-wal").open("wb") as log:
        log.write(b"x" * offset + b"anna" + b"x" * 200)
    assert store._database.contains_any([b"longer than the file", b"anna"])
    assert not store._database.contains_any([b"annb", b"xanna ", b"bert"])


def test_a_file_is_searched_in_blocks(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other threads can run between two blocks."""
    sizes = []
    read = os.pread

    def pread(*arguments: int) -> bytes:
        sizes.append(len(block := read(*arguments)))
        return block

    monkeypatch.setattr(sqlite_files.os, "pread", pread)
    os.truncate(store.path, 5 * 2**20)
    assert not store._database.contains_any([b"anna"])
    assert max(sizes) <= 2**20 and sum(sizes) >= 5 * 2**20


READ_AND_CLOSE = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
print(connection.execute("SELECT max(seq) FROM log").fetchone())
connection.close()
"""


def test_searching_the_file_does_not_drop_its_locks(store: SQLiteStore) -> None:
    """Otherwise another process that closes the file would believe it is the last, and delete the write-ahead log."""

    def another_process() -> str:
        arguments = [sys.executable, "-c", READ_AND_CLOSE, str(store.path)]
        return subprocess.run(arguments, capture_output=True, text=True, check=True).stdout.strip()

    store.append([event(ANNA)])
    assert store._database.contains_any([b"anna"])
    assert another_process() == "(1,)"
    store.append([event(ANNA)])
    assert another_process() == "(2,)"


def test_only_the_owner_can_read_a_new_file(store: SQLiteStore) -> None:
    store.append([event(ANNA)])
    files = sorted(store.path.parent.glob("events.db*"))
    assert [file.name for file in files] == ["events.db", "events.db-shm", "events.db-wal"]
    assert [file.stat().st_mode & 0o777 for file in files] == [0o600] * 3


def test_writers_are_not_blocked_during_verification(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.append([event(ANNA, event_id="a")])
    assert store.delete_user(ANNA) == 1
    started, resume = threading.Event(), threading.Event()
    contains_any = store._database.contains_any

    def wait_and_search(patterns: list[bytes]) -> bool:
        started.set()
        assert resume.wait(20)
        return contains_any(patterns)

    monkeypatch.setattr(store._database, "contains_any", wait_and_search)
    with ThreadPoolExecutor(1) as pool:
        proof = pool.submit(store.verify_erasure, ANNA)
        assert started.wait(20)
        assert store.append([event(User("shop", "bert"))]) == [Status.ACCEPTED]
        assert store.delete_user(User("shop", "bert")) == 1
        resume.set()
        assert "no trace" in proof.result()


def test_writers_are_not_blocked_while_verification_waits_for_a_reader(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long read delays truncating the write-ahead log."""
    waiting, truncate_wal = threading.Event(), store._database.truncate_wal

    def set_and_truncate() -> None:
        waiting.set()
        truncate_wal()

    monkeypatch.setattr(store._database, "truncate_wal", set_and_truncate)
    store.append([event(ANNA)])
    other = sqlite3.connect(store.path, check_same_thread=False)
    other.execute("BEGIN")
    other.execute("SELECT count(*) FROM events").fetchone()
    store.delete_user(ANNA)
    with ThreadPoolExecutor(1) as pool:
        proof = pool.submit(store.verify_erasure, ANNA)
        assert waiting.wait(20)
        slowest = 0.0
        for _ in range(10):
            start_s = time.perf_counter()
            store.append([event(User("shop", "bert"))])
            slowest = max(slowest, time.perf_counter() - start_s)
        assert not proof.done()
        other.execute("COMMIT")
        assert "no trace" in proof.result()
    other.close()
    assert slowest < sqlite_connection.BUSY_MS / 1000 / 2


def test_a_trace_that_cannot_be_removed_is_an_error(store: SQLiteStore) -> None:
    store.append([event(ANNA)])
    other = sqlite3.connect(store.path)
    other.execute("CREATE TABLE kept AS SELECT body FROM events WHERE length(body) < 1000")
    other.close()
    store.delete_user(ANNA)
    with pytest.raises(StoreError, match="still contains traces of the deleted user"):
        store.verify_erasure(ANNA)


def test_new_events_of_a_deleted_user_are_not_an_error(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.append([event(ANNA)])
    store.delete_user(ANNA)
    store.append([event(ANNA)])
    monkeypatch.setattr(store._database, "vacuum", None)
    assert "has new events" in store.verify_erasure(ANNA)
    assert len(store.events_since(ANNA).events) == 1


def test_events_since_uses_an_index_and_reads_no_more_than_the_limit(store: SQLiteStore) -> None:
    plan = store._database.rows(f"EXPLAIN QUERY PLAN {sqlite.SINCE}", (1, 5, b"", 10))
    assert not [step for *_, step in plan if "TEMP B-TREE" in step or "SCAN" in step], plan


def test_data_of_other_users_and_items_cannot_look_like_a_trace(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a client could prevent the verification of a deletion by sending the id of the user in another field."""
    for name in ('["shop", "anna",', '["shop", "anna"]', '["shop","anna"]', "anna", '", "anna", "'):
        store.put_item("shop", name, {"title": name, name: name, "price": 1.5, "tags": ["shop", "anna", "x"]})
        store.put_item(name, "p1", {})
        store.append([(User("shop", "x" + name), UserEvent(name, 5, name, 1.0, name))])
    store.append([event(ANNA)])
    store.delete_user(ANNA)
    monkeypatch.setattr(store._database, "vacuum", None)
    assert "no trace" in store.verify_erasure(ANNA)
    assert [change.item_id for change in store.items_since(0)][::2][:2] == [
        '["shop", "anna",', '["shop", "anna"]'
    ]  # fmt: skip


def test_recent_users_uses_an_index_without_ids(store: SQLiteStore) -> None:
    plan = store._database.rows(f"EXPLAIN QUERY PLAN {sqlite.NEWEST}", (b"", 10))
    assert [step for *_, step in plan] == ["SEARCH users USING INDEX newest_users (tenant=?)"]
    store.append([event(User("little", "zoe")), *[event(User("shop", f"u{number}")) for number in range(50)]])
    store.delete_user(User("shop", "u49"))
    assert store.recent_users("little", 5) == ["zoe"]
    assert store.recent_users("shop", 2) == ["u48", "u47"]
    ((tenants,),) = store._database.rows("SELECT count(DISTINCT tenant) FROM users WHERE generation")
    assert tenants == 3  # the row of the deleted user has a random tenant


@contextmanager
def reading(store: SQLiteStore) -> Iterator[None]:
    """Another program reads the log in the block, and has not finished at its end."""
    with closing(sqlite3.connect(store.path)) as other:
        rows = other.execute("SELECT user_id FROM log")
        assert rows.fetchone()
        yield
        assert rows.fetchone()


def test_a_failed_write_does_not_make_later_ones_wait_for_a_reader(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_connection, "BUSY_MS", 100)
    with closing(SQLiteStore(store.path)) as store:
        store.append([event(ANNA)] * 1000)
        with reading(store):
            other = sqlite3.connect(store.path, isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreError, match="locked"):
                store.append([event(ANNA)])
            other.close()
            assert store.append([event(ANNA)]) == [Status.ACCEPTED]
            store.check()
            with closing(SQLiteStore(store.path)) as again:
                assert again.append([event(ANNA)]) == [Status.ACCEPTED]
            store.delete_user(ANNA)
            with pytest.raises(StoreError, match="being read without a pause"):
                store.verify_erasure(ANNA)


def test_the_log_is_written_again_after_a_failed_sync_if_readers_keep_it(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed fsync may lose bytes that a later fsync does not write, and events after such a gap would be lost."""
    store.append([event(ANNA)] * 1000)
    log = store.path.with_name("events.db-wal")
    written: dict[int, bytes] = {}
    write = os.pwrite
    monkeypatch.setattr(
        sqlite_files.os,
        "pwrite",
        lambda file, data, place: written.update({place: data}) or write(file, data, place),
    )
    with reading(store):
        before = log.read_bytes()
        store._database._wal_uncertain = True
        assert store.append([event(ANNA)]) == [Status.ACCEPTED]
        assert b"".join(written[place] for place in sorted(written)) == before
        written.clear()
        assert store.append([event(ANNA)]) == [Status.ACCEPTED]
        assert not written and log.read_bytes()[: len(before)] == before
    assert len(store.events_since(ANNA).events) == 1002


def replaced(path: Path) -> None:
    """Move another database over a file, as the restoration of a backup does."""
    other = path.with_name("backup.db")
    SQLiteStore(other).close()
    other.replace(path)


def renamed(path: Path) -> None:
    path.rename(path.with_name("elsewhere.db"))


def without_directory(path: Path) -> None:
    path.parent.rename(path.parent.with_name("moved"))


def emptied(path: Path) -> None:
    path.unlink()
    path.touch()


def truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def cut_to_nothing(path: Path) -> None:
    os.truncate(path, 0)


def overwritten_by_a_backup(path: Path) -> None:
    """Copy an older, smaller database over the file, which stays the same file."""
    backup = path.with_name("backup.db")
    SQLiteStore(backup).close()
    path.write_bytes(backup.read_bytes())


def overwritten_by_other_bytes(path: Path) -> None:
    path.write_bytes(b"x" * path.stat().st_size)


@pytest.mark.parametrize(
    "change", [truncated, cut_to_nothing, overwritten_by_a_backup, overwritten_by_other_bytes]
)
def test_a_file_that_was_truncated_or_overwritten_is_noticed_before_an_event_is_acknowledged(
    store: SQLiteStore, change: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    store.append([event(ANNA)] * 1000)
    store._database.truncate_wal()
    whole = store.path.read_bytes()
    change(store.path)
    for write in (lambda: store.append([event(ANNA)]), store.check):
        with pytest.raises(
            StoreError, match=r"the file was (truncated or )?overwritten .*restart the server"
        ):
            write()
    assert [record.message for record in caplog.records] == ["event log lost"]
    store.path.write_bytes(whole)
    assert store.append([event(ANNA)]) == [Status.ACCEPTED]
    assert len(store.events_since(ANNA).events) == 1001


@pytest.mark.parametrize("left", [0, 32, 5000])
def test_a_truncated_write_ahead_log_is_noticed_before_an_event_is_acknowledged(
    store: SQLiteStore, left: int, caplog: pytest.LogCaptureFixture
) -> None:
    store.append([event(ANNA)])
    store._database.truncate_wal()
    store.append([event(ANNA)])
    os.truncate(store.path.with_name("events.db-wal"), left)
    for write in (lambda: store.append([event(ANNA)]), store.check):
        with pytest.raises(StoreError, match=r"its write-ahead log was truncated .*restart the server"):
            write()
    assert [record.message for record in caplog.records] == ["event log lost"]
    store.close()
    with closing(SQLiteStore(store.path)) as after:  # what had been copied into the file is left
        assert len(after.events_since(ANNA).events) == 1
        assert after.append([event(ANNA)]) == [Status.ACCEPTED]


def test_work_of_other_processes_on_the_files_is_not_a_fault(store: SQLiteStore) -> None:
    """They empty the write-ahead log, cut it, and rewrite the file, which becomes smaller."""
    store.append([event(ANNA)] * 1000)
    sizes = []
    with closing(sqlite3.connect(store.path, isolation_level=None)) as other:
        for statement in ("PRAGMA wal_checkpoint(TRUNCATE)", "DELETE FROM events WHERE id < 900", "VACUUM"):
            other.execute(statement)
            assert store.append([event(ANNA)]) == [Status.ACCEPTED]
            store.check()
            sizes.append(store.path.stat().st_size)
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert store.append([event(ANNA)]) == [Status.ACCEPTED]
    assert store.path.stat().st_size < min(sizes)


@pytest.mark.parametrize("change", [Path.unlink, replaced, renamed, without_directory, emptied])
def test_a_file_that_was_removed_or_replaced_is_noticed_before_an_event_is_acknowledged(
    tmp_path: Path, change: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "data").mkdir()
    with closing(SQLiteStore(tmp_path / "data" / "events.db")) as store:
        store.append([event(ANNA)])
        store.events_since(ANNA)
        change(store.path)
        for _ in range(2):
            for write in (
                lambda: store.append([event(ANNA)]),
                lambda: store.delete_user(ANNA),
                lambda: store.put_item("shop", "p1", {}),
                store.check,
                store.vacuum,
            ):
                with pytest.raises(StoreError, match=r"the file was (removed|replaced) .*restart the server"):
                    write()
        assert len(store.events_since(ANNA).events) == 1  # a connection that is open can still read
    assert [record.message for record in caplog.records] == ["event log lost"]


def test_writing_goes_on_when_the_file_is_back_at_its_place(store: SQLiteStore) -> None:
    store.append([event(ANNA)])
    moved = store.path.rename(store.path.with_name("moved.db"))
    with pytest.raises(StoreError, match="the file was removed"):
        store.append([event(ANNA)])
    moved.rename(store.path)
    assert store.append([event(ANNA)]) == [Status.ACCEPTED]


def test_a_file_that_disappears_during_the_commit_is_noticed(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = sqlite._body
    monkeypatch.setattr(sqlite, "_body", lambda *arguments: store.path.unlink() or body(*arguments))
    with pytest.raises(StoreError, match="the file was removed"):
        store.append([event(ANNA)])


def test_a_link_to_another_file_is_noticed(tmp_path: Path) -> None:
    for name in ("one.db", "two.db"):
        SQLiteStore(tmp_path / name).close()
    link = tmp_path / "events.db"
    link.symlink_to("one.db")
    with closing(SQLiteStore(link)) as store:
        assert store.append([event(ANNA)]) == [Status.ACCEPTED]
        link.unlink()
        link.symlink_to("two.db")
        with pytest.raises(StoreError, match="the file was replaced"):
            store.append([event(ANNA)])


def test_acknowledged_events_are_saved_when_the_write_ahead_log_was_removed(
    store: SQLiteStore, tmp_path: Path
) -> None:
    store.append([event(ANNA)])
    (tmp_path / "events.db-wal").unlink()
    with pytest.raises(StoreError, match="its write-ahead log was removed"):
        store.append([event(ANNA)])
    copy = Path(shutil.copy(store.path, tmp_path / "copy.db"))  # as if the machine had stopped now
    with closing(SQLiteStore(copy)) as after:
        assert len(after.events_since(ANNA).events) == 1


def test_a_large_write_ahead_log_is_emptied_and_a_reader_that_prevents_it_is_reported(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sqlite_connection, "LARGE_LOG_BYTES", 50_000)
    monkeypatch.setattr(sqlite_connection, "ATTEMPT_S", 0.0)
    log = store.path.with_name("events.db-wal")
    store.append([event(ANNA)] * 1000)
    assert log.stat().st_size == 0
    with reading(store):
        store.append([event(ANNA)] * 1000)
        size = log.stat().st_size
        assert size > 50_000 and store.log_bytes() == size
        (warning,) = [record for record in caplog.records if record.message == "write-ahead log grows"]
        assert "end the reader" in warning.fields["error"]
    store.append([event(ANNA)])
    assert log.stat().st_size == 0
