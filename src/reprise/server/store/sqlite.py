"""The event store in a SQLite file.

Two tables hold personal data. Rows are only added at their ends, so SQLite never rearranges their pages and leaves no copies
of rows behind. Indices hold numbers and keyed hashes only. A deletion overwrites rows in place.
"""

import json
import secrets
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from reprise.data.erased_users import ErasedUsers
from reprise.server.store.answer_log import FOREVER_MS, Answer, Response
from reprise.server.store.event_store import (
    DELETIONS_KEPT,
    LATEST_EVENTS,
    StoreError,
    StoreNotFoundError,
    is_repetition,
    require_times,
)
from reprise.server.store.pseudonyms import KeyedHasher
from reprise.server.store.records import Compaction, ItemChange, Status, StoredState, User, UserEvent, UserLog
from reprise.server.store.sqlite_compaction import compact_file
from reprise.server.store.sqlite_connection import SQLiteDatabase
from reprise.server.store.tables import sqlite_answers, sqlite_erasures, sqlite_states
from reprise.server.store.user_position import UserPosition

FORMAT = 1
"""Version of the file format."""

SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE forgotten (version INTEGER PRIMARY KEY, generation INTEGER NOT NULL);
CREATE TABLE users (uid INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, tenant BLOB NOT NULL, generation INTEGER NOT NULL,
                    name BLOB NOT NULL);
CREATE INDEX newest_users ON users (tenant, uid);
CREATE TABLE events (id INTEGER PRIMARY KEY, digest BLOB UNIQUE, uid INTEGER NOT NULL, seq INTEGER NOT NULL,
                     body BLOB NOT NULL);
CREATE UNIQUE INDEX history ON events (uid, seq);
CREATE TABLE items (name BLOB PRIMARY KEY, version INTEGER NOT NULL UNIQUE, body BLOB NOT NULL) WITHOUT ROWID;
CREATE VIEW log AS SELECT
    json_extract(CAST(body AS TEXT), '$[0]') AS tenant, json_extract(CAST(body AS TEXT), '$[1]') AS user_id,
    json_extract(CAST(body AS TEXT), '$[2]') AS item_id, json_extract(CAST(body AS TEXT), '$[3]') AS timestamp,
    json_extract(CAST(body AS TEXT), '$[4]') AS kind, json_extract(CAST(body AS TEXT), '$[5]') AS value,
    json_extract(CAST(body AS TEXT), '$[6]') AS event_id, seq
    FROM events WHERE substr(body, 1, 1) = x'5b';
"""
# The first page split of a table copies rows and leaves the old bytes behind. These empty rows cause that split before the
# first row with personal data.
PRIMING = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40)
INSERT INTO users (digest, tenant, generation, name) SELECT randomblob(16), randomblob(16), 0, zeroblob(1000) FROM n;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40)
INSERT INTO events (digest, uid, seq, body) SELECT NULL, 0, i, zeroblob(1000) FROM n;
"""
SINCE = """
SELECT users.generation, events.seq, events.body FROM users LEFT JOIN events
    ON events.uid = users.uid AND events.seq > CASE WHEN users.generation = ? THEN ? ELSE 0 END
    AND substr(events.body, 1, 1) = x'5b'
    WHERE users.digest = ? ORDER BY events.seq LIMIT ?
"""
LAST_TIME = """
SELECT coalesce(max(json_extract(CAST(body AS TEXT), '$[3]')), 0)
    FROM (SELECT body FROM events WHERE uid = ? ORDER BY seq DESC LIMIT ?) WHERE substr(body, 1, 1) = x'5b'
"""
ALL_EVENTS = "SELECT id, body FROM events WHERE id > ? AND substr(body, 1, 1) = x'5b' ORDER BY id LIMIT ?"
PAGE = 10_000
"""Number of events that one query of `all_events` reads."""
NEWEST = "SELECT name FROM users WHERE tenant = ? ORDER BY uid DESC LIMIT ?"
DELETIONS = """
SELECT newest.version, forgotten.generation FROM (SELECT coalesce(max(version), 0) AS version FROM forgotten) AS newest
    LEFT JOIN forgotten ON forgotten.version > ? ORDER BY forgotten.version
"""
# The row stays as a record of the deletion, with the body `null`.
DELETE_ITEM = """
UPDATE items SET version = (SELECT max(version) + 1 FROM items), body = ? WHERE name = ? AND body <> ?
"""


class SQLiteStore:
    """An `EventStore` in a SQLite file. One thread writes at a time; other threads can read meanwhile."""

    def __init__(self, path: str | Path, create: bool = True) -> None:
        """Open a file, or create one that only its owner can read and write.

        Args:
            path: Path of the file.
            create: Whether to create a missing file.

        Raises:
            ConfigError: the file is missing, and `create` is false.
            StoreError: the file cannot be opened, or is not an event store.
        """
        self.path = Path(path)
        if not create and not (self.path.exists() and self.path.stat().st_size):
            raise StoreNotFoundError(self.path)
        self._database = SQLiteDatabase(self.path)
        try:
            with self._database.writer() as writer:
                self._hasher = KeyedHasher(self._prepare(writer, create))
        except BaseException:
            self.close()
            raise

    def append(self, events: Sequence[tuple[User, UserEvent]]) -> list[Status]:
        """See `EventStore`."""
        require_times(events)
        statuses = []
        with self._database.transaction() as writer:
            positions: dict[User, UserPosition] = {}
            for user, event in events:
                digest = self._hasher.event(user.tenant, event.event_id)
                known = None
                if digest is not None:
                    known = writer.execute("SELECT body FROM events WHERE digest = ?", (digest,)).fetchone()
                if known is not None:
                    repeated = is_repetition((user, event), (_user(*known), _event(0, *known)))
                    statuses.append(Status.DUPLICATE if repeated else Status.CONFLICT)
                    continue
                if user not in positions:
                    positions[user] = self._find_or_add(writer, user)
                position = positions[user]
                if event.time_assigned and position.last_ms is None:
                    (position.last_ms,) = writer.execute(LAST_TIME, (position.uid, LATEST_EVENTS)).fetchone()
                stored = position.append(event)
                writer.execute(
                    "INSERT INTO events (digest, uid, seq, body) VALUES (?, ?, ?, ?)",
                    (digest, position.uid, stored.seq, _body(user, stored)),
                )
                if event.recommendation_id is not None:
                    sqlite_answers.add_response(writer, self._hasher, user, stored)
                statuses.append(Status.ACCEPTED)
        return statuses

    def events_since(
        self, user: User, generation: int = 0, seq: int = 0, limit: int | None = None
    ) -> UserLog:
        """See `EventStore`."""
        assert limit is None or limit > 0, limit
        sql_limit = -1 if limit is None else limit
        # one statement reads one snapshot, so the events belong to the generation
        rows = self._database.rows(SINCE, (generation, seq, self._hasher.user(user), sql_limit))
        if not rows:
            return UserLog(0, [])
        return UserLog(rows[0][0], [_event(row_seq, body) for _, row_seq, body in rows if body is not None])

    def delete_user(self, user: User) -> int:
        """See `EventStore`."""
        with self._database.transaction() as writer:
            # an unknown user too: logs outside the store may hold events of the user
            sqlite_erasures.add_erased(writer, self._hasher, user, time.time_ns() // 1_000_000)
            sqlite_answers.delete_answers(writer, self._hasher.user(user))
            found = writer.execute(
                "SELECT uid, generation FROM users WHERE digest = ?", (self._hasher.user(user),)
            ).fetchone()
            if found is None:
                return 0
            uid, generation = found
            # the new values have the same lengths, so SQLite overwrites the rows in place
            count = writer.execute(
                "UPDATE events SET body = zeroblob(length(body)), "
                "digest = CASE WHEN digest IS NULL THEN NULL ELSE randomblob(16) END "
                "WHERE uid = ? AND substr(body, 1, 1) = x'5b'",
                (uid,),
            ).rowcount
            sqlite_states.delete_state(writer, uid)
            _erase_user(writer, uid, generation)
        return count

    def erased_users(self, tenant: str) -> ErasedUsers:
        """See `KeepsErasures`."""
        return sqlite_erasures.erased_users(self._database, self._hasher, tenant)

    def purge_erased(self, before_ms: int, tenant: str) -> int:
        """See `KeepsErasures`."""
        return sqlite_erasures.purge_erased(self._database, self._hasher, before_ms, tenant)

    def compact(
        self, before_ms: int, tenant: str | None = None, dry_run: bool = False
    ) -> Iterator[Compaction]:
        """See `Compactable`. The file does not shrink, but new events use the space of the deleted ones.

        The time is proportional to the number of all events.
        """
        return compact_file(self._database, before_ms, tenant, dry_run, _erase_user)

    def verify_erasure(self, user: User) -> str:
        """See `EventStore`. Searches all bytes of the file, so the time is proportional to the size of the file.

        If a trace is found, for instance one that another program left, the file is rewritten, which blocks writers.
        """
        traces = [_name(user)[:-1] + end for end in (b",", b"]")]
        for rewritten in (False, True):
            if rewritten:
                self._database.vacuum()
            self._database.truncate_wal()
            if not self._database.contains_any(traces):
                size = self.path.stat().st_size
                return f"no trace of the user id in the {size} bytes of the database; the write-ahead log was emptied"
            if self._database.rows("SELECT 1 FROM users WHERE digest = ?", (self._hasher.user(user),)):
                return "the user has new events; the deleted events were overwritten"
        raise StoreError(f"{self.path} still contains traces of the deleted user; repeat the deletion")

    def deletions_since(self, version: int) -> tuple[int, list[int]]:
        """See `EventStore`."""
        rows = self._database.rows(DELETIONS, (version,))
        return rows[0][0], [generation for _, generation in rows if generation is not None]

    def vacuum(self) -> str:
        """See `EventStore`. Deletions overwrite the bytes already; this also frees the space of the overwritten rows."""
        with self._database.writer() as writer:
            writer.execute("DELETE FROM events WHERE substr(body, 1, 1) = x'00' AND uid <> 0")
            writer.execute("DELETE FROM users WHERE substr(name, 1, 1) = x'00' AND generation <> 0")
            writer.execute("VACUUM")
        self._database.truncate_wal()
        return f"{self.path} was rewritten and its write-ahead log emptied"

    def recent_users(self, tenant: str, limit: int) -> list[str]:
        """See `EventStore`."""
        rows = self._database.rows(NEWEST, (self._hasher.tenant(tenant), limit))
        return [json.loads(name)[1] for (name,) in rows]

    def put_item(self, tenant: str, item_id: str, values: Mapping[str, object]) -> int:
        """See `EventStore`."""
        row = _compact([tenant, item_id]), _compact(values)
        with self._database.transaction() as writer:
            (version,) = writer.execute("SELECT coalesce(max(version), 0) + 1 FROM items").fetchone()
            writer.execute(
                "INSERT OR REPLACE INTO items (name, body, version) VALUES (?, ?, ?)", (*row, version)
            )
        return int(version)

    def delete_item(self, tenant: str, item_id: str) -> int | None:
        """See `EventStore`."""
        name = _compact([tenant, item_id])
        with self._database.transaction() as writer:
            changed = writer.execute(DELETE_ITEM, (_compact(None), name, _compact(None))).rowcount
            (version,) = writer.execute("SELECT coalesce(max(version), 0) FROM items").fetchone()
        return int(version) if changed else None

    def items_since(self, version: int) -> list[ItemChange]:
        """See `EventStore`."""
        query = "SELECT version, name, body FROM items WHERE version > ? ORDER BY version"
        return [
            ItemChange(row_version, tenant, item_id, json.loads(body))
            for row_version, name, body in self._database.rows(query, (version,))
            for tenant, item_id in [json.loads(name)]
        ]

    def load_state(self, user: User, model: str) -> StoredState | None:
        """See `KeepsStates`."""
        return sqlite_states.load_state(self._database, self._hasher, user, model)

    def save_states(self, states: Sequence[StoredState]) -> None:
        """See `KeepsStates`."""
        sqlite_states.save_states(self._database, self._hasher, states)

    def drop_states(self, model: str, limit: int) -> int:
        """See `KeepsStates`."""
        return sqlite_states.drop_states(self._database, model, limit)

    def all_events(self, tenant: str) -> Iterator[tuple[str, UserEvent]]:
        """See `ListsEvents`."""
        last = 0
        while rows := self._database.rows(ALL_EVENTS, (last, PAGE)):
            for _, body in rows:
                user = _user(body)
                if user.tenant == tenant:
                    yield user.user_id, _event(0, body)
            last = rows[-1][0]

    def append_answers(self, answers: Sequence[Answer]) -> None:
        """See `KeepsAnswers`."""
        sqlite_answers.append_answers(self._database, self._hasher, answers)

    def answers(self, tenant: str, since_ms: int = 0, before_ms: int = FOREVER_MS) -> Iterator[Answer]:
        """See `KeepsAnswers`."""
        return sqlite_answers.read_answers(self._database, self._hasher, tenant, since_ms, before_ms)

    def responses(self, tenant: str, since_ms: int = 0, before_ms: int = FOREVER_MS) -> Iterator[Response]:
        """See `KeepsAnswers`."""
        return sqlite_answers.read_responses(self._database, self._hasher, tenant, since_ms, before_ms)

    def user_hash(self, user: User) -> str:
        """See `KeepsAnswers`."""
        return self._hasher.user(user).hex()

    def trim_answers(self, before_ms: int, keep: int) -> int:
        """See `KeepsAnswers`."""
        return sqlite_answers.trim_answers(self._database, before_ms, keep)

    def check(self) -> None:
        """See `EventStore`."""
        with self._database.transaction() as writer:
            # a random value, because SQLite does not write a page that stays the same
            writer.execute("INSERT OR REPLACE INTO meta VALUES ('checked', randomblob(8))")

    def log_bytes(self) -> int:
        """Return the size of the write-ahead log after the last commit, in bytes."""
        return self._database.files.log_bytes

    def close(self) -> None:
        """See `EventStore`."""
        self._database.close()

    def _prepare(self, writer: sqlite3.Connection, create: bool) -> bytes:
        """Create the tables if there are none; return the key of the keyed hashes."""
        writer.execute("BEGIN IMMEDIATE")
        tables = {name for (name,) in writer.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not tables and not create:
            raise StoreNotFoundError(self.path)
        if not tables:
            for statement in (SCHEMA + PRIMING).split(";"):
                writer.execute(statement)
            facts = {"format": str(FORMAT).encode(), "secret": secrets.token_bytes(32)}
            writer.executemany("INSERT INTO meta VALUES (?, ?)", facts.items())
        elif "meta" not in tables:
            raise StoreError(
                f"{self.path} is a SQLite file of another program (tables {sorted(tables)}); name another file"
            )
        facts = dict(writer.execute("SELECT name, value FROM meta"))
        for table in (
            sqlite_states.TABLE,
            sqlite_erasures.TABLE,
            *sqlite_answers.TABLES,
        ):  # files of earlier versions have none
            writer.execute(table)
        writer.execute("COMMIT")
        if facts["format"] != str(FORMAT).encode():
            raise StoreError(
                f"{self.path} has format {facts['format'].decode()}, but this version of reprise reads format {FORMAT}; "
                "use the version of reprise that wrote the file"
            )
        return bytes(facts["secret"])

    def _find_or_add(self, writer: sqlite3.Connection, user: User) -> UserPosition:
        """Return the position of a user in the log. An unknown user is added."""
        digest = self._hasher.user(user)
        found = writer.execute("SELECT uid FROM users WHERE digest = ?", (digest,)).fetchone()
        if found is None:
            row = (digest, self._hasher.tenant(user.tenant), 2**62 + secrets.randbits(61), _name(user))
            added = writer.execute(
                "INSERT INTO users (digest, tenant, generation, name) VALUES (?, ?, ?, ?)", row
            )
            assert added.lastrowid is not None
            return UserPosition(added.lastrowid, 0)
        (last_seq,) = writer.execute(
            "SELECT coalesce(max(seq), 0) FROM events WHERE uid = ?", found
        ).fetchone()
        return UserPosition(found[0], last_seq)


def _erase_user(writer: sqlite3.Connection, uid: int, generation: int) -> None:
    """Overwrite the row of a user and count the deletion. The new values have the same lengths as the old ones."""
    writer.execute(
        "UPDATE users SET name = zeroblob(length(name)), digest = randomblob(16), tenant = randomblob(16) WHERE uid = ?",
        (uid,),
    )
    (version,) = writer.execute("SELECT coalesce(max(version), 0) + 1 FROM forgotten").fetchone()
    writer.execute("INSERT INTO forgotten VALUES (?, ?)", (version, generation))
    writer.execute("DELETE FROM forgotten WHERE version <= ?", (version - DELETIONS_KEPT,))


def _name(user: User) -> bytes:
    """Encode a user as the rows with personal data contain it. `verify_erasure` searches for these bytes."""
    return json.dumps([*user], ensure_ascii=False).encode()


def _compact(value: object) -> bytes:
    r"""Encode a value as JSON that can never contain an encoded user.

    An encoded user has a space after its comma; compact JSON has spaces only inside strings, where quotes are escaped. So an
    item with the title `["shop", "anna"]`, encoded as `"[\"shop\", \"anna\"]"`, is not a trace of the user anna.
    """
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _body(user: User, event: UserEvent) -> bytes:
    fields = [*user, event.item_id, event.time_ms, event.kind, event.value, event.event_id]
    return json.dumps(fields, ensure_ascii=False, allow_nan=False).encode()


def _user(body: bytes) -> User:
    return User(*json.loads(body)[:2])


def _event(seq: int, body: bytes) -> UserEvent:
    _, _, item_id, time_ms, kind, value, event_id = json.loads(body)
    return UserEvent(item_id, time_ms, kind, value, event_id, seq)
