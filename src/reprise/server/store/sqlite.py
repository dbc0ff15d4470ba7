"""The event log in a SQLite file: write-ahead log, one writer, and a commit for as many events as wait for it.

What a person did stands in two tables that only grow at their end, so no page of theirs is ever rearranged and no copy of a
row is left behind; all indices hold numbers and keyed digests. To forget is to overwrite in place.
"""

import json
import secrets
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path

from reprise.server.store.event_store import FORGOTTEN_KEPT, StoreError, StoreNotFoundError, require_times
from reprise.server.store.pseudonyms import KeyedHasher
from reprise.server.store.records import ItemChange, Status, User, UserEvent, UserLog
from reprise.server.store.sqlite_connection import SQLiteDatabase

FORMAT = 1

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
# The first division of a table moves rows that stay where they were as well, as stale bytes. Empty rows, never used, have it
# done before there is a person's row.
PRIMING = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40)
INSERT INTO users (digest, tenant, generation, name) SELECT randomblob(16), randomblob(16), 0, zeroblob(1000) FROM n;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40)
INSERT INTO events (digest, uid, seq, body) SELECT NULL, 0, i, zeroblob(1000) FROM n;
"""
SINCE = """
SELECT users.generation, events.seq, events.body FROM users LEFT JOIN events
    ON events.uid = users.uid AND events.seq > CASE WHEN users.generation = ? THEN ? ELSE 0 END
    WHERE users.digest = ? ORDER BY events.seq LIMIT ?
"""
NEWEST = "SELECT name FROM users WHERE tenant = ? ORDER BY uid DESC LIMIT ?"
FORGOTTEN = """
SELECT newest.version, forgotten.generation FROM (SELECT coalesce(max(version), 0) AS version FROM forgotten) AS newest
    LEFT JOIN forgotten ON forgotten.version > ? ORDER BY forgotten.version
"""


class SQLiteStore:
    """See `EventStore`. One thread at a time writes; any number read beside it."""

    def __init__(self, path: str | Path, create: bool = True) -> None:
        """Open a file, or make a new one, which nobody but its owner may read.

        Raises:
            ConfigError: there is no event log, and `create` is false.
            StoreError: it cannot be opened, or is something else.
        """
        self.path = Path(path)
        if not create and not (self.path.exists() and self.path.stat().st_size):
            raise StoreNotFoundError(self.path)
        self._database = SQLiteDatabase(self.path)
        try:
            with self._database.writing() as writer:
                self._digests = KeyedHasher(self._prepare(writer, create))
        except BaseException:
            self.close()
            raise

    def append(self, events: Sequence[tuple[User, UserEvent]]) -> list[Status]:
        """See `EventStore`."""
        require_times(events)
        with self._database.transaction() as writer:
            places: dict[User, tuple[int, int]] = {}
            statuses = []
            for user, event in events:
                if user not in places:
                    places[user] = self._place(writer, user)
                uid, last = places[user]
                row = (self._digests.event(user.tenant, event.event_id), uid, last + 1, _body(user, event))
                added = writer.execute(
                    "INSERT INTO events (digest, uid, seq, body) VALUES (?, ?, ?, ?) ON CONFLICT (digest) DO NOTHING",
                    row,
                ).rowcount
                places[user] = uid, last + added
                statuses.append(Status.ACCEPTED if added else Status.DUPLICATE)
        return statuses

    def since(self, user: User, generation: int = 0, seq: int = 0, limit: int | None = None) -> UserLog:
        """See `EventStore`."""
        assert limit is None or limit > 0, limit
        most = -1 if limit is None else limit  # -1 is no limit
        # one statement is one view of the file: generation and events belong together
        rows = self._database.rows(SINCE, (generation, seq, self._digests.user(user), most))
        if not rows:
            return UserLog(0, [])
        return UserLog(rows[0][0], [_event(place, body) for _, place, body in rows if body is not None])

    def forget(self, user: User) -> int:
        """See `EventStore`."""
        with self._database.transaction() as writer:
            found = writer.execute(
                "SELECT uid, generation FROM users WHERE digest = ?", (self._digests.user(user),)
            ).fetchone()
            if found is None:
                return 0
            uid, generation = found
            # same lengths: the rows are overwritten where they lie
            count = writer.execute(
                "UPDATE events SET body = zeroblob(length(body)), "
                "digest = CASE WHEN digest IS NULL THEN NULL ELSE randomblob(16) END WHERE uid = ?",
                (uid,),
            ).rowcount
            writer.execute(
                "UPDATE users SET name = zeroblob(length(name)), digest = randomblob(16), tenant = randomblob(16) "
                "WHERE uid = ?",
                (uid,),
            )
            (version,) = writer.execute("SELECT coalesce(max(version), 0) + 1 FROM forgotten").fetchone()
            writer.execute("INSERT INTO forgotten VALUES (?, ?)", (version, generation))
            writer.execute("DELETE FROM forgotten WHERE version <= ?", (version - FORGOTTEN_KEPT,))
        return count

    def prove_forgotten(self, user: User) -> str:
        """See `EventStore`. The time it takes grows with the file, which is read whole, in small parts.

        Where a trace is found all the same, of another program's hand, the file is written anew: then who writes waits.
        """
        traces = [_name(user)[:-1] + end for end in (b",", b"]")]
        for rewritten in (False, True):
            if rewritten:
                self._database.write_anew()
            self._database.empty_log()
            if not self._database.holds(traces):
                size = self.path.stat().st_size
                return f"no trace of the id in the {size} bytes of the database, whose write-ahead log was emptied"
            if self._database.rows("SELECT 1 FROM users WHERE digest = ?", (self._digests.user(user),)):
                return "the user has come back: events that came in since are stored, those of before were overwritten"
        raise StoreError(f"{self.path} still holds traces of a user who is to be forgotten; ask again")

    def forgotten_since(self, version: int) -> tuple[int, list[int]]:
        """See `EventStore`."""
        rows = self._database.rows(FORGOTTEN, (version,))
        return rows[0][0], [generation for _, generation in rows if generation is not None]

    def scrub(self) -> str:
        """See `EventStore`. To forget overwrites already; this gives the room of those rows back."""
        with self._database.writing() as writer:
            writer.execute("DELETE FROM events WHERE substr(body, 1, 1) = x'00' AND uid <> 0")
            writer.execute("DELETE FROM users WHERE substr(name, 1, 1) = x'00' AND generation <> 0")
            writer.execute("VACUUM")
        self._database.empty_log()
        return f"{self.path} was written anew and its write-ahead log emptied"

    def recent_users(self, tenant: str, limit: int) -> list[str]:
        """See `EventStore`."""
        rows = self._database.rows(NEWEST, (self._digests.tenant(tenant), limit))
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

    def items_since(self, version: int) -> list[ItemChange]:
        """See `EventStore`."""
        found = "SELECT version, name, body FROM items WHERE version > ? ORDER BY version"
        return [
            ItemChange(place, tenant, item_id, json.loads(body))
            for place, name, body in self._database.rows(found, (version,))
            for tenant, item_id in [json.loads(name)]
        ]

    def check(self) -> None:
        """See `EventStore`."""
        with self._database.transaction() as writer:
            # something new each time: what a row has already is not written again
            writer.execute("INSERT OR REPLACE INTO meta VALUES ('checked', randomblob(8))")

    def close(self) -> None:
        """See `EventStore`."""
        self._database.close()

    def _prepare(self, writer: sqlite3.Connection, create: bool) -> bytes:
        """Make the tables where there are none; the secret of the digests."""
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
                f"{self.path} is a SQLite file of something else (tables {sorted(tables)}); name another"
            )
        facts = dict(writer.execute("SELECT name, value FROM meta"))
        writer.execute("COMMIT")
        if facts["format"] != str(FORMAT).encode():
            raise StoreError(
                f"{self.path} has format {facts['format'].decode()}, this version of reprise reads {FORMAT}"
            )
        return bytes(facts["secret"])

    def _place(self, writer: sqlite3.Connection, user: User) -> tuple[int, int]:
        """The number of a user, who is added where there is none, and the place of their last event."""
        digest = self._digests.user(user)
        found = writer.execute("SELECT uid FROM users WHERE digest = ?", (digest,)).fetchone()
        if found is None:
            row = (digest, self._digests.tenant(user.tenant), 2**62 + secrets.randbits(61), _name(user))
            added = writer.execute(
                "INSERT INTO users (digest, tenant, generation, name) VALUES (?, ?, ?, ?)", row
            )
            assert added.lastrowid is not None
            return added.lastrowid, 0
        (last,) = writer.execute("SELECT coalesce(max(seq), 0) FROM events WHERE uid = ?", found).fetchone()
        return found[0], last


def _name(user: User) -> bytes:
    """As it stands in the rows of people, and is looked for where somebody was forgotten."""
    return json.dumps([*user], ensure_ascii=False).encode()


def _compact(told: object) -> bytes:
    """JSON that can hold no name of a user: it has no space after a comma, and quotes within a string are escaped."""
    return json.dumps(told, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _body(user: User, event: UserEvent) -> bytes:
    fields = [*user, event.item_id, event.time_ms, event.kind, event.value, event.event_id]
    return json.dumps(fields, ensure_ascii=False, allow_nan=False).encode()


def _event(seq: int, body: bytes) -> UserEvent:
    _, _, item_id, time_ms, kind, value, event_id = json.loads(body)
    return UserEvent(item_id, time_ms, kind, value, event_id, seq)
