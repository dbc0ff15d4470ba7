"""The event log in PostgreSQL, on a real server."""

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
from reprise.server.store.postgres_connection import UnsureError
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
    """A session beside the store."""
    with psycopg.connect(postgres_address, autocommit=True) as connection:
        yield connection


def event(user: User, item: str = "p1", event_id: str | None = None) -> tuple[User, UserEvent]:
    return user, UserEvent(item, 1_700_000_000_000, event_id=event_id)


def until(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.01)


def assert_no_gap(store: PostgresStore, user: User) -> None:
    seqs = [found.seq for found in store.since(user).events]
    assert seqs == list(range(1, len(seqs) + 1))


def test_it_keeps_the_contract(postgres_address: str) -> None:
    check_store(lambda: PostgresStore(postgres_address))


def test_it_is_opened_by_its_address(postgres_address: str) -> None:
    with closing(open_store(postgres_address)) as store:
        assert isinstance(store, PostgresStore)
        store.check()


def test_where_none_is_to_be_made_there_must_be_one(postgres_address: str) -> None:
    with pytest.raises(ConfigError, match="there is no event log at PostgreSQL database 'test_"):
        open_store(postgres_address, create=False)
    with psycopg.connect(postgres_address) as other:
        assert other.execute("SELECT 1 FROM pg_namespace WHERE nspname = 'reprise'").fetchall() == []
    open_store(postgres_address).close()
    open_store(postgres_address, create=False).close()


def test_several_who_open_an_empty_database_at_once_make_one_log(postgres_address: str) -> None:
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


def test_two_processes_that_offer_the_same_events_add_each_once(
    store: PostgresStore, postgres_address: str
) -> None:
    """For other users, too, and in other orders: nobody waits for ever, and exactly one is told that it was accepted."""
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
    found = [found.event_id for user in users for found in store.since(user).events]
    assert sorted(found, key=lambda name: int(name or "")) == [str(number) for number in range(1000)]
    for user in users:
        assert_no_gap(store, user)


def test_an_event_that_another_adds_at_the_same_moment_is_a_duplicate(
    store: PostgresStore, other: psycopg.Connection
) -> None:
    """For another user, so that no lock on a row keeps the two apart."""
    store.append([event(BERT)])
    first = event(ANNA, event_id="a")
    with ThreadPoolExecutor(1) as pool, other.transaction():
        other.execute(
            "INSERT INTO reprise.events (digest, uid, seq, item_id, time_ms) SELECT %s, uid, 2, 'p2', 5 FROM reprise.users",
            (store._digests.event("shop", "a"),),
        )
        answer = pool.submit(store.append, [event(ANNA), first, event(ANNA)])
        waits = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%%INSERT%%events%%'"
        with psycopg.connect(other.info.dsn, autocommit=True) as watcher:
            until(lambda: watcher.execute(waits).fetchone() is not None)
        other.execute("COMMIT")
        assert answer.result() == [ACCEPTED, DUPLICATE, ACCEPTED]
        other.execute("BEGIN")
    assert [found.seq for found in store.since(ANNA).events] == [1, 2]


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_server_that_restarts_under_load_loses_and_doubles_nothing(
    store: PostgresStore,
    postgres_server: Any,
    mode: str,
) -> None:
    users = [User("shop", f"u{number}") for number in range(6)]
    done = threading.Event()

    def add(worker: int) -> tuple[list[str], list[str]]:
        """Names of events that were acknowledged, and of those of which nothing is known."""
        known, unknown = [], []
        for place in range(100_000):
            if done.is_set():
                break
            names = [f"{worker} {place} {number}" for number in range(5)]
            # every other batch has an event without an id, whose fate may stay unknown
            ids = [*names[:4], names[4] if place % 2 else None]
            batch = [
                event(users[(worker + number) % 6], name, event_id)
                for number, (name, event_id) in enumerate(zip(names, ids, strict=True))
            ]
            try:
                store.append(batch)
            except StoreError:
                unknown += names
            else:
                known += names
        return known, unknown

    with ThreadPoolExecutor(4) as pool:
        workers = [pool.submit(add, worker) for worker in range(4)]
        for _ in range(3):
            time.sleep(0.5)
            postgres_server.restart(mode)
        time.sleep(0.5)
        done.set()
        answers = [worker.result() for worker in workers]
    known = [name for names, _ in answers for name in names]
    unknown = {name for _, names in answers for name in names}
    found = Counter(found.item_id for user in users for found in store.since(user).events)
    assert len(known) > 50
    assert max(found.values()) == 1
    assert set(known) <= set(found) <= set(known) | unknown
    for user in users:
        assert_no_gap(store, user)
    assert store.append([event(ANNA)]) == [ACCEPTED]


def test_lost_connections_are_made_again_without_anybody_noticing(
    store: PostgresStore, other: psycopg.Connection
) -> None:
    end = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE application_name = 'reprise' AND datname = current_database()"
    )
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda _: store.append([event(BERT)]), range(30)))
    assert len(other.execute(end).fetchall()) > 1
    assert store.append([event(ANNA)]) == [ACCEPTED]
    other.execute(end)
    assert len(store.since(ANNA).events) == 1
    other.execute(end)
    assert store.forget(ANNA) == 1


def test_a_commit_of_unknown_fate_is_tried_again_only_where_that_is_harmless(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit, lost = store._commit, []

    def commit_and_lose(*arguments: object) -> None:
        commit(*arguments)  # type: ignore[arg-type]
        if not lost:
            lost.append(True)
            raise UnsureError

    monkeypatch.setattr(store, "_commit", commit_and_lose)
    assert store.append([event(ANNA, "p1", "a"), event(ANNA, "p2", "b")]) == [DUPLICATE, DUPLICATE]
    lost.clear()
    with pytest.raises(
        StoreError, match="connection was lost while it committed; it may have been done or not"
    ):
        store.append([event(ANNA, "p3", "c"), event(ANNA, "p4")])
    assert [found.item_id for found in store.since(ANNA).events] == ["p1", "p2", "p3", "p4"]
    assert_no_gap(store, ANNA)


def test_who_is_locked_for_too_long_is_an_error_and_nothing_is_half_done(
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
        assert store.since(BERT) == (0, [])
        assert store.append([event(BERT), event(ANNA)]) == [ACCEPTED] * 2


def test_what_is_confirmed_is_on_the_disk_whatever_the_database_says(
    store: PostgresStore, other: psycopg.Connection, postgres_address: str
) -> None:
    for said, kept in (("off", "on"), ("local", "on"), ("remote_apply", "remote_apply")):
        other.execute(f"ALTER DATABASE {other.info.dbname} SET synchronous_commit = {said}")
        with closing(PostgresStore(postgres_address)) as again:
            assert again._database.rows("SHOW synchronous_commit", ()) == [(kept,)]


def test_a_server_without_fsync_is_warned_of(
    postgres_server: Any,
    postgres_address: str,
) -> None:
    postgres_server.execute("ALTER SYSTEM SET fsync = off")
    postgres_server.control("reload")
    try:
        until(lambda: postgres_server.execute("SHOW fsync") == [("off",)])
        with pytest.warns(UserWarning, match="fsync off and may lose what it confirmed"):
            PostgresStore(postgres_address).close()
    finally:
        postgres_server.execute("ALTER SYSTEM RESET fsync")
        postgres_server.control("reload")


def traces_in(files: Path, traces: list[bytes]) -> set[bytes]:
    """Which of these parts stand in the bytes of the files of a folder."""
    content = b"\0".join(file.read_bytes() for file in files.iterdir() if file.is_file())
    return {trace for trace in traces if trace in content}


def test_nobody_who_was_forgotten_is_left_in_the_bytes_once_it_is_scrubbed(
    store: PostgresStore,
    other: psycopg.Connection,
    postgres_server: Any,
) -> None:
    """Tables, indices, what is too long for a row, and the samples of ANALYZE: every file of the database is looked at."""
    user = User("shop", "person-4711-somewhere")
    events = [
        (user, UserEvent(f"item-{n:05}-secret", n, f"kind-{n:05}", 0.5, f"token-{n:05}")) for n in range(100)
    ]
    events.append(event(user, "long-secret-" + "".join(map(str, range(4000)))))
    store.append(events)
    store.append([event(User("shop", f"stranger-{n:05}"), f"item-of-{n}", f"t{n}") for n in range(300)])
    other.execute("ANALYZE")
    store.append(events[:5])
    other.execute("CHECKPOINT")
    traces = [user.user_id.encode(), store._digests.user(user), b"long-secret-"]
    for user, told in events[:100]:
        digest = store._digests.event(user.tenant, told.event_id)
        assert digest is not None and told.kind is not None and told.event_id is not None
        traces += [told.item_id.encode(), told.kind.encode(), told.event_id.encode(), digest]
    ((oid,),) = other.execute("SELECT oid FROM pg_database WHERE datname = current_database()")
    files = postgres_server.data / "base" / str(oid)
    assert traces_in(files, traces) == set(traces)  # the test looks in the right place
    assert store.forget(user) == 101
    proof = store.prove_forgotten(user)
    assert "no row of this user is left" in proof and "until they are written over or scrubbed" in proof
    other.execute("CHECKPOINT")
    assert traces_in(files, traces)  # as it is said
    assert store.scrub() == "the tables were written anew, and their old files are gone"
    assert traces_in(files, traces) == set()
    assert traces_in(files, [b"stranger-00017", b"item-of-17"]) == {b"stranger-00017", b"item-of-17"}
    assert len(store.since(User("shop", "stranger-00017")).events) == 1
    assert store.append([events[0]]) == [ACCEPTED]


def test_to_scrub_says_so_if_another_session_keeps_deleted_rows(
    store: PostgresStore, other: psycopg.Connection
) -> None:
    store.append([event(ANNA)])
    other.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    other.execute("SELECT 1")
    store.forget(ANNA)
    with pytest.raises(
        StoreError, match="keeps 1 deleted rows that an older transaction elsewhere still sees"
    ):
        store.scrub()
    other.execute("COMMIT")
    assert "written anew" in store.scrub()


def test_forgetting_and_appending_at_once_leave_nothing_behind(
    store: PostgresStore, other: psycopg.Connection
) -> None:
    def add(place: int) -> None:
        store.append([event(ANNA, f"p{place}", f"a{place}"), event(BERT)])

    with ThreadPoolExecutor(4) as pool:
        added = [pool.submit(add, place) for place in range(200)]
        forgotten = sum(store.forget(ANNA) for _ in range(50))
        for answer in added:
            answer.result()
    assert forgotten + len(store.since(ANNA).events) == 200
    assert_no_gap(store, ANNA)
    orphans = "SELECT count(*) FROM reprise.events WHERE uid NOT IN (SELECT uid FROM reprise.users)"
    assert other.execute(orphans).fetchall() == [(0,)]
    assert len(store.since(BERT).events) == 200


def test_a_row_that_is_left_is_an_error_and_one_who_came_back_is_not(
    store: PostgresStore, other: psycopg.Connection
) -> None:
    store.append([event(ANNA)])
    assert store.forget(ANNA) == 1
    assert "no row of this user is left" in store.prove_forgotten(ANNA)
    store.append([event(ANNA)])
    assert "has come back" in store.prove_forgotten(ANNA)
    other.execute("UPDATE reprise.users SET digest = 'stray'")
    with pytest.raises(StoreError, match="still holds 1 rows of a user who is to be forgotten"):
        store.prove_forgotten(ANNA)


def test_the_log_can_be_read_as_a_table(store: PostgresStore, other: psycopg.Connection) -> None:
    """For training again: one view with the columns of a log, without those who were forgotten."""
    store.append([(ANNA, UserEvent("p1", 5, "click", 2.0, "a")), event(BERT)])
    store.forget(BERT)
    columns = "tenant, user_id, item_id, timestamp, kind, value, event_id, seq"
    assert other.execute(f"SELECT {columns} FROM reprise.log").fetchall() == [
        ("shop", "anna", "p1", 5, "click", 2.0, "a", 1)
    ]


def test_questions_are_answered_from_indices(store: PostgresStore, other: psycopg.Connection) -> None:
    """Of many users and of one with many events."""
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

    digest, known = store._digests.user(ANNA), store._digests.event("shop", "5")
    plans = [
        plan(postgres.SINCE, (1, 990, None, digest)),
        plan(postgres.KNOWN, ([known],)),
        plan("SELECT user_id FROM reprise.users WHERE tenant = %s ORDER BY uid DESC LIMIT %s", ("shop", 10)),
    ]
    for found, index in zip(plans, ("events_pkey", "known_events", "newest_users"), strict=True):
        assert index in found and "Seq Scan" not in found, found
    assert "Index Cond: ((uid = u.uid) AND (seq > CASE" in plans[0]
    assert "Sort" not in plans[2]
    read = plan(f"(ANALYZE, TIMING OFF) {postgres.SINCE}", (0, 0, 10, digest))
    assert max(map(int, re.findall(r"actual rows=(\d+)", read))) == 10, read  # it ends after so many
    assert store.recent_users("shop", 2) == ["anna", "u20000"]


def test_a_database_of_something_else_is_left_alone(
    postgres_server: Any,
    postgres_address: str,
) -> None:
    name = postgres_address.rpartition("/test_")[2].partition("?")[0]
    postgres_server.execute(
        "CREATE SCHEMA reprise; CREATE TABLE reprise.accounts (name text)", f"test_{name}"
    )
    with pytest.raises(StoreError, match=r"schema reprise of something else \(tables \['accounts'\]\)"):
        PostgresStore(postgres_address)
    postgres_server.execute("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    with pytest.raises(StoreError, match="has the encoding LATIN1; make one with ENCODING 'UTF8'"):
        PostgresStore(postgres_server.address("latin"))
    postgres_server.execute("DROP DATABASE latin")
    with pytest.raises(StoreError, match='database "nowhere" does not exist'):
        PostgresStore(postgres_server.address("nowhere"))


def test_a_log_of_a_later_version_is_not_touched(
    store: PostgresStore, other: psycopg.Connection, postgres_address: str
) -> None:
    other.execute("UPDATE reprise.meta SET value = '2' WHERE name = 'format'")
    with pytest.raises(StoreError, match="has format 2, this version of reprise reads 1"):
        PostgresStore(postgres_address)


def test_a_role_is_told_which_rights_it_needs(
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
                assert store.forget(ANNA) == 1
                with pytest.raises(StoreError, match="the owner of the tables may scrub"):
                    store.scrub()
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
def test_no_error_shows_a_password(address: str) -> None:
    with pytest.raises((StoreError, ConfigError)) as caught:
        open_store(address)
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))
    assert "refused" in str(caught.value) or "write postgresql://user:password@host" in str(caught.value)


def test_nothing_that_is_printed_of_an_error_shows_a_user(
    store: PostgresStore, other: psycopg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    """PostgreSQL tells the whole row, in the details of its error, and psycopg in its text."""
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
    with pytest.raises(psycopg.Error, match="person-4711"):  # the test looks in the right place
        other.execute("UPDATE reprise.users SET last_seq = 5")
    stranger, item = User("shop", "secret-4712"), "secret-item"
    offered = event(BERT, item, "secret-event")
    for number, fails in enumerate(
        (
            lambda: store.append([event(person)]),
            lambda: store.append([event(stranger)]),
            lambda: store.append([offered]),
            lambda: store.put_item("shop", item, {}),
            lambda: store.forget(person),
        )
    ):
        with pytest.raises(StoreError) as caught:
            fails()
        logging.getLogger("app").error("failure %d", number, exc_info=caught.value)
    assert "failure 4" in caplog.text and "StoreError: PostgreSQL database" in caplog.text
    assert "4711" not in caplog.text and "secret" not in caplog.text


def test_without_psycopg_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("reprise.server.store.postgres")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ConfigError, match=r'PostgreSQL needs psycopg: pip install "reprise\[postgres\]"'):
        open_store("postgresql://127.0.0.1/shop")
