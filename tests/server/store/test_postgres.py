"""The event store in PostgreSQL, tested with a real server."""

import logging
import re
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from reprise.errors import ConfigError
from reprise.server.store import postgres, postgres_connection
from reprise.server.store.event_store import StoreError
from reprise.server.store.opening import open_store
from reprise.server.store.postgres import PostgresStore
from reprise.server.store.postgres_connection import CommitUnknownError
from reprise.server.store.records import Status, User, UserEvent
from reprise.testing.store_contract import check_store

ANNA, BERT = User("shop", "anna"), User("shop", "bert")
ACCEPTED, DUPLICATE = Status.ACCEPTED, Status.DUPLICATE


@pytest.fixture
def store(postgres_address: str) -> Iterator[PostgresStore]:
    with closing(PostgresStore(postgres_address)) as store:
        yield store


@pytest.fixture
def other(store: PostgresStore, postgres_address: str) -> Iterator[psycopg.Connection]:
    """Another session of the same database."""
    with psycopg.connect(postgres_address, autocommit=True) as connection:
        yield connection


def event(user: User, item: str = "p1", event_id: str | None = None) -> tuple[User, UserEvent]:
    return user, UserEvent(item, 1_700_000_000_000, event_id=event_id)


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "the condition did not become true"
        time.sleep(0.01)


def can_write(store: PostgresStore) -> bool:
    try:
        store.check()
    except StoreError:
        return False
    return True


def assert_no_gaps(store: PostgresStore, user: User) -> None:
    seqs = [found.seq for found in store.events_since(user).events]
    assert seqs == list(range(1, len(seqs) + 1))


def test_the_store_keeps_the_contract(postgres_address: str) -> None:
    check_store(lambda: PostgresStore(postgres_address))


def test_the_store_is_opened_by_its_address(postgres_address: str) -> None:
    with closing(open_store(postgres_address)) as store:
        assert isinstance(store, PostgresStore)
        store.check()


def test_without_create_a_missing_store_is_an_error(postgres_address: str) -> None:
    with pytest.raises(ConfigError, match="no event log at PostgreSQL database 'test_"):
        open_store(postgres_address, create=False)
    with psycopg.connect(postgres_address) as other:
        assert other.execute("SELECT 1 FROM pg_namespace WHERE nspname = 'reprise'").fetchall() == []
    open_store(postgres_address).close()
    open_store(postgres_address, create=False).close()


def test_tables_that_were_created_again_get_no_events(
    store: PostgresStore, other: psycopg.Connection, postgres_address: str
) -> None:
    store.append([event(ANNA)])
    other.execute("DROP SCHEMA reprise CASCADE")
    with pytest.raises(StoreError, match="does not exist"):
        store.append([event(ANNA)])
    with closing(PostgresStore(postgres_address)) as new:
        new.append([event(ANNA)])
        for write in (lambda: store.append([event(ANNA)]), lambda: store.delete_user(ANNA), store.check):
            with pytest.raises(StoreError, match=r"were replaced .* Restart the server"):
                write()
        new.check()
        assert len(new.events_since(ANNA).events) == 1


def test_concurrent_opens_of_an_empty_database_create_one_store(postgres_address: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        stores = list(pool.map(PostgresStore, [postgres_address] * 8))
    stores[0].append([event(ANNA, event_id="a")])
    assert [store.append([event(ANNA, event_id="a")]) for store in stores] == [[DUPLICATE]] * 8
    for store in stores:
        store.close()


PROCESS = """
import random, sys
from reprise.server.store.records import User, UserEvent
from reprise.server.store.postgres import PostgresStore
store, generator = PostgresStore(sys.argv[1]), random.Random(sys.argv[2])
numbers = list(range(1000))
generator.shuffle(numbers)
for start in range(0, 1000, 25):
    batch = [(User("shop", f"u{generator.randrange(10)}"), UserEvent(f"p{number}", 5, event_id=str(number)))
             for number in numbers[start : start + 25]]
    print(*(number for number, status in zip(numbers[start : start + 25], store.append(batch)) if status == "accepted"))
store.close()
"""


def test_two_processes_that_append_the_same_events_store_each_once(
    store: PostgresStore, postgres_address: str
) -> None:
    """Users and order differ between the processes. No deadlock occurs, and each id is accepted exactly once."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, postgres_address, seed], stdout=subprocess.PIPE, text=True
        )
        for seed in "12"
    ]
    accepted = [number for process in processes for number in process.communicate()[0].split()]
    assert [process.returncode for process in processes] == [0, 0]
    assert sorted(accepted, key=int) == [str(number) for number in range(1000)]
    users = [User("shop", f"u{number}") for number in range(10)]
    found = [found.event_id for user in users for found in store.events_since(user).events]
    assert sorted(found, key=lambda name: int(name or "")) == [str(number) for number in range(1000)]
    for user in users:
        assert_no_gaps(store, user)


def test_an_event_id_that_another_session_inserts_concurrently_is_a_conflict(
    store: PostgresStore, other: psycopg.Connection
) -> None:
    """The other session uses another user, so no row lock separates the two."""
    store.append([event(BERT)])
    first = event(ANNA, event_id="a")
    with ThreadPoolExecutor(1) as pool, other.transaction():
        other.execute(
            "INSERT INTO reprise.events (digest, uid, seq, item_id, time_ms) SELECT %s, uid, 2, 'p2', 5 FROM reprise.users",
            (store._hasher.event("shop", "a"),),
        )
        appending = pool.submit(store.append, [event(ANNA), first, event(ANNA)])
        waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%%INSERT%%events%%'"
        with psycopg.connect(other.info.dsn, autocommit=True) as watcher:
            wait_until(lambda: watcher.execute(waiting).fetchone() is not None)
        other.execute("COMMIT")
        assert appending.result() == [ACCEPTED, Status.CONFLICT, ACCEPTED]
        other.execute("BEGIN")
    assert [found.seq for found in store.events_since(ANNA).events] == [1, 2]


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_restarts_of_the_server_under_load_lose_and_duplicate_no_event(
    store: PostgresStore,
    postgres_server: Any,
    mode: str,
) -> None:
    users = [User("shop", f"u{number}") for number in range(6)]
    done = threading.Event()

    def append(worker: int) -> tuple[list[str], list[str]]:
        """Append batches until `done`; return the events that were confirmed, and those whose fate is unknown."""
        confirmed, unknown = [], []
        for number in range(100_000):
            if done.is_set():
                break
            names = [f"{worker} {number} {index}" for index in range(5)]
            # every other batch has an event without an id, so it cannot be repeated
            ids = [*names[:4], names[4] if number % 2 else None]
            batch = [
                event(users[(worker + index) % 6], name, event_id)
                for index, (name, event_id) in enumerate(zip(names, ids, strict=True))
            ]
            try:
                store.append(batch)
            except StoreError:
                unknown += names
            else:
                confirmed += names
        return confirmed, unknown

    with ThreadPoolExecutor(4) as pool:
        workers = [pool.submit(append, worker) for worker in range(4)]
        for _ in range(3):
            time.sleep(0.5)
            postgres_server.restart(mode)
        time.sleep(0.5)
        done.set()
        results = [worker.result() for worker in workers]
    confirmed = [name for names, _ in results for name in names]
    unknown = {name for _, names in results for name in names}
    found = Counter(found.item_id for user in users for found in store.events_since(user).events)
    assert len(confirmed) > 50
    assert max(found.values()) == 1
    assert set(confirmed) <= set(found) <= set(confirmed) | unknown
    for user in users:
        assert_no_gaps(store, user)
    assert store.append([event(ANNA)]) == [ACCEPTED]


def test_lost_connections_are_replaced_without_an_error(
    store: PostgresStore, other: psycopg.Connection
) -> None:
    terminate = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE application_name = 'reprise' AND datname = current_database()"
    )
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda _: store.append([event(BERT)]), range(30)))
    assert len(other.execute(terminate).fetchall()) > 1
    assert store.append([event(ANNA)]) == [ACCEPTED]
    other.execute(terminate)
    assert len(store.events_since(ANNA).events) == 1
    other.execute(terminate)
    assert store.delete_user(ANNA) == 1


def test_a_database_that_is_read_only_for_a_while_gets_no_events_and_is_used_again(
    store: PostgresStore, other: psycopg.Connection
) -> None:
    """A standby refuses writes, and so does a database that a service made read-only because its disk is full."""
    store.append([event(ANNA)])
    other.execute(f"ALTER DATABASE {other.info.dbname} SET default_transaction_read_only = on")
    other.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'reprise'")
    for write in (
        lambda: store.append([event(ANNA)]),
        lambda: store.delete_user(ANNA),
        lambda: store.put_item("shop", "p1", {}),
        lambda: list(store.compact(2_000_000_000_000)),
        store.check,
    ):
        with pytest.raises(StoreError, match="in a read-only transaction"):
            write()
    assert len(store.events_since(ANNA).events) == 1
    other.execute("SET default_transaction_read_only = off")
    other.execute(f"ALTER DATABASE {other.info.dbname} RESET default_transaction_read_only")
    wait_until(lambda: can_write(store))
    assert store.append([event(ANNA)]) == [ACCEPTED]


def test_no_event_is_acknowledged_while_the_server_is_stopped(
    store: PostgresStore, postgres_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store._database._pool, "timeout", 0.5)
    store.append([event(ANNA, event_id="a")])
    with postgres_server.stopped():
        for write in (lambda: store.append([event(ANNA, event_id="b")]), store.check):
            with pytest.raises(StoreError, match="PostgreSQL database 'test_"):
                write()
    wait_until(lambda: can_write(store))
    assert store.append([event(ANNA, event_id="b")]) == [ACCEPTED]
    assert [found.event_id for found in store.events_since(ANNA).events] == ["a", "b"]


def test_an_unknown_commit_is_repeated_only_if_every_event_has_an_id(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit, lost = store._insert_and_commit, []

    def commit_and_lose(*arguments: object) -> None:
        commit(*arguments)  # type: ignore[arg-type]
        if not lost:
            lost.append(True)
            raise CommitUnknownError

    monkeypatch.setattr(store, "_insert_and_commit", commit_and_lose)
    assert store.append([event(ANNA, "p1", "a"), event(ANNA, "p2", "b")]) == [DUPLICATE, DUPLICATE]
    lost.clear()
    with pytest.raises(
        StoreError, match="connection was lost during the commit, which may have succeeded or not"
    ):
        store.append([event(ANNA, "p3", "c"), event(ANNA, "p4")])
    assert [found.item_id for found in store.events_since(ANNA).events] == ["p1", "p2", "p3", "p4"]
    assert_no_gaps(store, ANNA)


def test_a_lock_timeout_is_an_error_and_stores_nothing(
    postgres_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = postgres_connection.SETTINGS.replace(f"'{postgres_connection.LOCK_MS}'", "'100'")
    assert quick != postgres_connection.SETTINGS
    monkeypatch.setattr(postgres_connection, "SETTINGS", quick)
    with closing(PostgresStore(postgres_address)) as store, psycopg.connect(postgres_address) as other:
        store.append([event(ANNA)])
        other.execute("SELECT 1 FROM reprise.users FOR UPDATE")
        with pytest.raises(StoreError, match="lock timeout"):
            store.append([event(BERT), event(ANNA)])
        other.rollback()
        assert store.events_since(BERT) == (0, [])
        assert store.append([event(BERT), event(ANNA)]) == [ACCEPTED] * 2


def test_commits_are_synchronous_whatever_the_settings_of_the_database(
    store: PostgresStore, other: psycopg.Connection, postgres_address: str
) -> None:
    for setting, expected in (("off", "on"), ("local", "on"), ("remote_apply", "remote_apply")):
        other.execute(f"ALTER DATABASE {other.info.dbname} SET synchronous_commit = {setting}")
        with closing(PostgresStore(postgres_address)) as again:
            assert again._database.rows("SHOW synchronous_commit", ()) == [(expected,)]


def test_a_server_without_fsync_causes_a_warning(
    postgres_server: Any,
    postgres_address: str,
) -> None:
    postgres_server.execute("ALTER SYSTEM SET fsync = off")
    postgres_server.control("reload")
    try:
        wait_until(lambda: postgres_server.execute("SHOW fsync") == [("off",)])
        with pytest.warns(UserWarning, match="fsync off and can lose committed events"):
            PostgresStore(postgres_address).close()
    finally:
        postgres_server.execute("ALTER SYSTEM RESET fsync")
        postgres_server.control("reload")


def traces_in(directory: Path, traces: list[bytes]) -> set[bytes]:
    """Return the traces that the bytes of the files in a directory contain."""
    content = b"\0".join(file.read_bytes() for file in directory.iterdir() if file.is_file())
    return {trace for trace in traces if trace in content}


def test_no_bytes_of_a_deleted_user_remain_after_a_vacuum(
    store: PostgresStore,
    other: psycopg.Connection,
    postgres_server: Any,
) -> None:
    """This covers tables, indices, TOAST tables and the samples of ANALYZE: every file of the database is searched."""
    user = User("shop", "person-4711-somewhere")
    events = [
        (user, UserEvent(f"item-{n:05}-secret", n, f"kind-{n:05}", 0.5, f"token-{n:05}")) for n in range(100)
    ]
    events.append(event(user, "long-secret-" + "".join(map(str, range(4000)))))
    store.append(events)
    store.append([event(User("shop", f"bystander-{n:05}"), f"item-of-{n}", f"t{n}") for n in range(300)])
    other.execute("ANALYZE")
    store.append(events[:5])
    other.execute("CHECKPOINT")
    traces = [user.user_id.encode(), store._hasher.user(user), b"long-secret-"]
    for user, one in events[:100]:
        digest = store._hasher.event(user.tenant, one.event_id)
        assert digest is not None and one.kind is not None and one.event_id is not None
        traces += [one.item_id.encode(), one.kind.encode(), one.event_id.encode(), digest]
    ((oid,),) = other.execute("SELECT oid FROM pg_database WHERE datname = current_database()")
    files = postgres_server.data / "base" / str(oid)
    assert traces_in(files, traces) == set(traces)  # otherwise the test would prove nothing
    assert store.delete_user(user) == 101
    proof = store.verify_erasure(user)
    assert "no row of this user is left" in proof and "until PostgreSQL reuses the space or a vacuum" in proof
    other.execute("CHECKPOINT")
    assert traces_in(files, traces)  # as the proof says
    assert store.vacuum() == "the tables were rewritten and their old files deleted"
    assert traces_in(files, traces) == set()
    assert traces_in(files, [b"bystander-00017", b"item-of-17"]) == {b"bystander-00017", b"item-of-17"}
    assert len(store.events_since(User("shop", "bystander-00017")).events) == 1
    assert store.append([events[0]]) == [ACCEPTED]


def test_a_vacuum_fails_if_another_session_keeps_deleted_rows(
    store: PostgresStore, other: psycopg.Connection
) -> None:
    store.append([event(ANNA)])
    other.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    other.execute("SELECT 1")
    store.delete_user(ANNA)
    with pytest.raises(StoreError, match="keeps 1 deleted rows that an older transaction can still see"):
        store.vacuum()
    other.execute("COMMIT")
    assert "rewritten" in store.vacuum()


def test_concurrent_deletions_and_appends_leave_no_orphaned_events(
    store: PostgresStore, other: psycopg.Connection
) -> None:
    def append(number: int) -> None:
        store.append([event(ANNA, f"p{number}", f"a{number}"), event(BERT)])

    with ThreadPoolExecutor(4) as pool:
        appends = [pool.submit(append, number) for number in range(200)]
        deleted = sum(store.delete_user(ANNA) for _ in range(50))
        for one in appends:
            one.result()
    assert deleted + len(store.events_since(ANNA).events) == 200
    assert_no_gaps(store, ANNA)
    orphans = "SELECT count(*) FROM reprise.events WHERE uid NOT IN (SELECT uid FROM reprise.users)"
    assert other.execute(orphans).fetchall() == [(0,)]
    assert len(store.events_since(BERT).events) == 200


def test_a_remaining_row_is_an_error_and_a_new_event_is_not(
    store: PostgresStore, other: psycopg.Connection
) -> None:
    store.append([event(ANNA)])
    assert store.delete_user(ANNA) == 1
    assert "no row of this user is left" in store.verify_erasure(ANNA)
    store.append([event(ANNA)])
    assert "has new events" in store.verify_erasure(ANNA)
    other.execute("UPDATE reprise.users SET digest = 'stray'")
    with pytest.raises(StoreError, match="still contains 1 rows of the deleted user"):
        store.verify_erasure(ANNA)


def test_the_log_view_has_the_columns_of_an_event_log(
    store: PostgresStore, other: psycopg.Connection
) -> None:
    """The view is for training a new model. It does not contain deleted users."""
    store.append([(ANNA, UserEvent("p1", 5, "click", 2.0, "a")), event(BERT)])
    store.delete_user(BERT)
    columns = "tenant, user_id, item_id, timestamp, kind, value, event_id, seq"
    assert other.execute(f"SELECT {columns} FROM reprise.log").fetchall() == [
        ("shop", "anna", "p1", 5, "click", 2.0, "a", 1)
    ]


def test_queries_use_indices(store: PostgresStore, other: psycopg.Connection) -> None:
    """Checked with many users, and with one user with many events."""
    other.execute(
        "INSERT INTO reprise.users (digest, generation, last_seq, tenant, user_id) "
        "SELECT decode(md5(n::text), 'hex'), 1, 0, 'shop', 'u' || n FROM generate_series(1, 20000) AS n"
    )
    other.execute(
        "INSERT INTO reprise.events (uid, seq, item_id, time_ms, digest) "
        "SELECT uid, 1, 'p1', 5, decode(md5('e' || uid), 'hex') FROM reprise.users"
    )
    store.append([event(ANNA, event_id=str(number)) for number in range(10_000)])
    other.execute("ANALYZE")

    def plan(query: str, parameters: tuple[object, ...]) -> str:
        return "\n".join(line for (line,) in other.execute(f"EXPLAIN {query}", parameters))

    digest, known = store._hasher.user(ANNA), store._hasher.event("shop", "5")
    plans = [
        plan(postgres.SINCE, (1, 990, None, digest)),
        plan(postgres.KNOWN_EVENTS, ([known],)),
        plan("SELECT user_id FROM reprise.users WHERE tenant = %s ORDER BY uid DESC LIMIT %s", ("shop", 10)),
    ]
    for found, index in zip(plans, ("events_pkey", "known_events", "newest_users"), strict=True):
        assert index in found and "Seq Scan" not in found, found
    assert "Index Cond: ((uid = u.uid) AND (seq > CASE" in plans[0]
    assert "Sort" not in plans[2]
    read = plan(f"(ANALYZE, TIMING OFF) {postgres.SINCE}", (0, 0, 10, digest))
    assert max(map(int, re.findall(r"actual rows=(\d+)", read))) == 10, read  # the scan stops at the limit
    assert store.recent_users("shop", 2) == ["anna", "u20000"]


def test_a_schema_of_another_program_is_an_error_and_not_changed(
    postgres_server: Any,
    postgres_address: str,
) -> None:
    name = postgres_address.rpartition("/test_")[2].partition("?")[0]
    postgres_server.execute(
        "CREATE SCHEMA reprise; CREATE TABLE reprise.accounts (name text)", f"test_{name}"
    )
    with pytest.raises(StoreError, match=r"schema reprise of another program \(tables \['accounts'\]\)"):
        PostgresStore(postgres_address)
    postgres_server.execute("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    with pytest.raises(StoreError, match="has the encoding LATIN1; create a database with ENCODING 'UTF8'"):
        PostgresStore(postgres_server.address("latin"))
    postgres_server.execute("DROP DATABASE latin")
    with pytest.raises(StoreError, match='database "nowhere" does not exist'):
        PostgresStore(postgres_server.address("nowhere"))


def test_a_store_of_another_format_is_an_error(
    store: PostgresStore, other: psycopg.Connection, postgres_address: str
) -> None:
    other.execute("UPDATE reprise.meta SET value = '2' WHERE name = 'format'")
    with pytest.raises(StoreError, match="has format 2, but this version of reprise reads format 1"):
        PostgresStore(postgres_address)


def test_missing_privileges_are_an_error_that_names_them(
    postgres_server: Any,
    postgres_address: str,
) -> None:
    postgres_server.execute("CREATE ROLE guest LOGIN")
    as_guest = postgres_address.replace("//postgres:@", "//guest@")
    try:
        with pytest.raises(
            StoreError, match="GRANT CREATE ON DATABASE to it, or open the store once as another role"
        ):
            PostgresStore(as_guest)
        PostgresStore(postgres_address).close()
        with pytest.raises(StoreError, match="permission denied for schema reprise"):
            PostgresStore(as_guest)
        with psycopg.connect(postgres_address, autocommit=True) as owner:
            owner.execute("GRANT USAGE ON SCHEMA reprise TO guest")
            owner.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA reprise TO guest")
            with closing(PostgresStore(as_guest)) as store:
                assert store.append([event(ANNA, event_id="a")]) == [ACCEPTED]
                store.put_item("shop", "p1", {"price": 2})
                store.check()
                assert store.delete_user(ANNA) == 1
                with pytest.raises(StoreError, match="run the vacuum as the owner of the tables"):
                    store.vacuum()
            owner.execute("DROP OWNED BY guest")
    finally:
        postgres_server.execute("DROP ROLE guest")


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://anna:s3cret@127.0.0.1:1/shop",
        "postgresql://127.0.0.1:1/shop?user=anna&password=s3cret",
        "postgresql://anna:s3cret@x@127.0.0.1:1/shop",
        "postgresql://anna:x@s3cret@127.0.0.1:1/shop",
        "postgresql://anna:s3cret/x@127.0.0.1:1/shop",
        "postgresql://anna:1/s3cret@127.0.0.1:1/shop",
        "postgresql://anna:s3cret?x@127.0.0.1:1/shop",
        "postgresql://anna:s3cret%zz@127.0.0.1:1/shop",
        "postgresql://anna:x@127.0.0.1:1/shop?pasword=s3cret",
    ],
)
def test_errors_do_not_show_the_password(address: str) -> None:
    with pytest.raises((StoreError, ConfigError)) as caught:
        open_store(address)
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))
    assert "refused" in str(caught.value) or "write postgresql://user:password@host" in str(caught.value)


def test_errors_do_not_show_personal_data(
    store: PostgresStore, other: psycopg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    """PostgreSQL puts the whole row into the detail of its errors, and psycopg into their text."""
    caplog.set_level(logging.DEBUG)
    person = User("shop", "person-4711")
    store.append([event(person)])
    other.execute("ALTER TABLE reprise.users ADD CHECK (user_id <> 'secret-4712'), ADD CHECK (last_seq < 2)")
    other.execute("ALTER TABLE reprise.events ADD CHECK (item_id <> 'secret-item')")
    other.execute("ALTER TABLE reprise.items ADD CHECK (item_id <> 'secret-item')")
    other.execute(
        "CREATE FUNCTION no() RETURNS trigger AS 'BEGIN RAISE ''no'' USING DETAIL = OLD; END' LANGUAGE plpgsql"
    )
    other.execute("CREATE TRIGGER no BEFORE DELETE ON reprise.users FOR EACH ROW EXECUTE FUNCTION no()")
    with pytest.raises(psycopg.Error, match="person-4711"):  # otherwise the test would prove nothing
        other.execute("UPDATE reprise.users SET last_seq = 5")
    rejected_user, item = User("shop", "secret-4712"), "secret-item"
    rejected_event = event(BERT, item, "secret-event")
    for number, fails in enumerate(
        (
            lambda: store.append([event(person)]),
            lambda: store.append([event(rejected_user)]),
            lambda: store.append([rejected_event]),
            lambda: store.put_item("shop", item, {}),
            lambda: store.delete_user(person),
        )
    ):
        with pytest.raises(StoreError) as caught:
            fails()
        logging.getLogger("app").error("failure %d", number, exc_info=caught.value)
    assert "failure 4" in caplog.text and "StoreError: PostgreSQL database" in caplog.text
    assert "4711" not in caplog.text and "secret" not in caplog.text


def test_without_psycopg_the_error_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("reprise.server.store.postgres")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ConfigError, match=r'PostgreSQL needs psycopg: pip install "reprise\[postgres\]"'):
        open_store("postgresql://127.0.0.1/shop")
