"""The event log in PostgreSQL, for several server processes and machines.

The row of a user holds the place of their last event. Who appends locks it first, so that places become visible in their
order and without a gap, which a sequence would not promise. Indices hold numbers and keyed digests.
"""

import json
import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from reprise.server.store.event_store import FORGOTTEN_KEPT, StoreError, require_times
from reprise.server.store.postgres_connection import Connection, PostgresDatabase, committing
from reprise.server.store.postgres_schema import open_tables, write_anew
from reprise.server.store.pseudonyms import KeyedHasher
from reprise.server.store.records import ItemChange, Status, User, UserEvent, UserLog

Row: TypeAlias = tuple[bytes | None, int, int, UserEvent]
"""An event with its digest, the number of its user and its place."""

BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"
# Locks the users, in the order of the rows, and gives each so many places; who is unknown becomes known.
GIVE_PLACES = """
INSERT INTO reprise.users AS u (digest, generation, last_seq, tenant, user_id)
    SELECT decode(digest, 'hex'), generation, places, tenant, user_id FROM json_to_recordset(%s::json)
    AS offered (digest text, generation bigint, places bigint, tenant text, user_id text)
    ON CONFLICT (digest) DO UPDATE SET last_seq = u.last_seq + excluded.last_seq
    RETURNING digest, uid, last_seq
"""
TAKE_PLACES_BACK = """
UPDATE reprise.users AS u SET last_seq = u.last_seq - given.places
    FROM json_to_recordset(%s::json) AS given (uid bigint, places bigint) WHERE u.uid = given.uid
"""
KNOWN = "SELECT digest FROM reprise.events WHERE digest = ANY (%b::bytea[])"
ADD = """
INSERT INTO reprise.events (digest, uid, seq, item_id, time_ms, kind, value, event_id)
    SELECT decode(digest, 'hex'), uid, seq, item_id, time_ms, kind, value, event_id FROM json_to_recordset(%s::json)
    AS added (digest text, uid bigint, seq bigint, item_id text, time_ms bigint, kind text, value double precision,
              event_id text)
"""
# The limit stands inside, where the index ends after so many.
SINCE = """
SELECT u.generation, e.item_id, e.time_ms, e.kind, e.value, e.event_id, e.seq
    FROM reprise.users AS u LEFT JOIN LATERAL (
        SELECT * FROM reprise.events AS e
        WHERE e.uid = u.uid AND e.seq > CASE WHEN u.generation = %s THEN %s ELSE 0 END ORDER BY e.seq LIMIT %s) AS e ON true
    WHERE u.digest = %s ORDER BY e.seq
"""
# How many rows have the name of a user without being the user's, and whether the user is known: rows that came later.
LEFT = """
SELECT count(*) FILTER (WHERE digest <> %(digest)s), count(*) FILTER (WHERE digest = %(digest)s)
    FROM reprise.users WHERE tenant = %(tenant)s AND user_id = %(user_id)s
"""
# Who forgets holds the row of the counter until the commit: versions become visible in their order.
COUNT_FORGETTING = """
WITH counted AS (UPDATE reprise.meta SET value = (value::bigint + 1)::text WHERE name = 'forgotten' RETURNING value::bigint)
INSERT INTO reprise.forgotten (version, generation) SELECT counted.value, %s FROM counted RETURNING version
"""
FORGOTTEN = """
SELECT m.value::bigint, f.generation FROM reprise.meta AS m LEFT JOIN reprise.forgotten AS f ON f.version > %s
    WHERE m.name = 'forgotten' ORDER BY f.version
"""
PUT_ITEM = """
WITH counted AS (UPDATE reprise.meta SET value = (value::bigint + 1)::text WHERE name = 'items' RETURNING value::bigint)
INSERT INTO reprise.items (digest, version, tenant, item_id, body)
    SELECT %s, counted.value, %s, %s, %s::json FROM counted
    ON CONFLICT (digest) DO UPDATE SET version = excluded.version, body = excluded.body RETURNING version
"""


class PostgresStore:
    """See `EventStore`. As durable as the server: with `fsync` on, and on its standbys if it waits for them."""

    def __init__(self, address: str, create: bool = True) -> None:
        """Open the log in a database, or make one: its tables stand in the schema `reprise`.

        Args:
            address: `postgresql://user:password@host:port/database`, with all that libpq allows behind a `?`.
            create: Whether a log is made where there is none.

        Raises:
            ConfigError: the address cannot be read, or there is no log and none is to be made.
            StoreError: the server does not answer, does not let us in, or has something else there.
        """
        self._database = PostgresDatabase(address)
        self._digests = KeyedHasher(open_tables(self._database, create))
        self._database.open()

    def append(self, events: Sequence[tuple[User, UserEvent]]) -> list[Status]:
        """See `EventStore`. Two round trips, whatever the number of events.

        Where the connection is lost after the commit was sent, nobody knows whether it was done. If every event has an id
        they are offered again, and those that the lost commit added come back as `DUPLICATE`, which they are. Otherwise
        `StoreError` is raised, and the events may be in the log or not.
        """
        if not events:
            return []
        require_times(events)
        harmless = all(event.event_id is not None for _, event in events)
        return self._database.tried(lambda connection: self._add(connection, events), harmless)

    def since(self, user: User, generation: int = 0, seq: int = 0, limit: int | None = None) -> UserLog:
        """See `EventStore`."""
        assert limit is None or limit > 0, limit
        # one statement is one view of the tables: generation and events belong together
        rows = self._database.rows(SINCE, (generation, seq, limit, self._digests.user(user)))
        if not rows:
            return UserLog(0, [])
        return UserLog(rows[0][0], [UserEvent(*fields) for _, *fields in rows if fields[0] is not None])

    def forget(self, user: User) -> int:
        """See `EventStore`. The rows are gone when it returns; `scrub` takes the bytes that they leave in the files."""
        return self._database.tried(lambda connection: self._delete(connection, user), harmless=False)

    def prove_forgotten(self, user: User) -> str:
        """See `EventStore`. The time it takes grows with the number of users of the tenant, whose names are read."""

        def look(connection: Connection) -> tuple[int, int]:
            with connection.transaction():
                connection.execute("SET LOCAL statement_timeout = 0")
                names = {"digest": self._digests.user(user), **user._asdict()}
                ((left, known),) = connection.execute(LEFT, names).fetchall()
            return left, known

        left, known = self._database.tried(look, harmless=True)
        if left:
            raise StoreError(
                f"{self._database.where} still holds {left} rows of a user who is to be forgotten; ask again"
            )
        if known:
            return "the user has come back: events that came in since are stored, the rows of before were removed"
        return (
            "no row of this user is left in the database; bytes of deleted rows stay in its files until they are written over "
            "or scrubbed, and in its write-ahead log, archives and standbys until these are recycled"
        )

    def scrub(self) -> str:
        """Write the tables of people anew, without the bytes that deleted rows left behind; what was done, in words.

        VACUUM FULL: nobody else reads or writes the tables meanwhile, and it needs as much free space as they have. It needs
        the owner of the tables. The write-ahead log, archives, standbys and backups are not touched.

        Raises:
            StoreError: it was not done, or some deleted rows are still seen by another session, and kept.
        """
        return write_anew(self._database)

    def forgotten_since(self, version: int) -> tuple[int, list[int]]:
        """See `EventStore`."""
        rows = self._database.rows(FORGOTTEN, (version,))
        return rows[0][0], [generation for _, generation in rows if generation is not None]

    def recent_users(self, tenant: str, limit: int) -> list[str]:
        """See `EventStore`. Those who were new in the same batch come in any order."""
        found = "SELECT user_id FROM reprise.users WHERE tenant = %s ORDER BY uid DESC LIMIT %s"
        return [user_id for (user_id,) in self._database.rows(found, (tenant, limit))]

    def put_item(self, tenant: str, item_id: str, values: Mapping[str, object]) -> int:
        """See `EventStore`."""
        body = json.dumps(values, ensure_ascii=False, allow_nan=False)
        # said again after a lost connection it is the same thing with a later version
        digest = self._digests.item(tenant, item_id)
        ((version,),) = self._database.rows(PUT_ITEM, (digest, tenant, item_id, body))
        return int(version)

    def items_since(self, version: int) -> list[ItemChange]:
        """See `EventStore`."""
        found = "SELECT version, tenant, item_id, body FROM reprise.items WHERE version > %s ORDER BY version"
        return [ItemChange(*row) for row in self._database.rows(found, (version,))]

    def check(self) -> None:
        """See `EventStore`."""
        self._database.rows("UPDATE reprise.meta SET value = value WHERE name = 'format' RETURNING 1", ())

    def close(self) -> None:
        """See `EventStore`."""
        self._database.close()

    def _add(self, connection: Connection, events: Sequence[tuple[User, UserEvent]]) -> list[Status]:
        """One transaction in two round trips."""
        digests = [self._digests.event(user.tenant, event.event_id) for user, event in events]
        first = {digest: place for place, digest in reversed([*enumerate(digests)]) if digest is not None}
        fresh = [digest is None or first[digest] == place for place, digest in enumerate(digests)]
        offered = Counter(user for (user, _), new in zip(events, fresh, strict=True) if new)
        # everybody locks users in the same order, so that no two wait for each other
        users = sorted((self._digests.user(user), user) for user in offered)
        with connection.pipeline():
            connection.execute(BEGIN)
            places = connection.execute(GIVE_PLACES, (_users_as_rows(users, offered),))
            # a statement of its own, which sees what those committed for whom the lock had to wait
            known = connection.execute(KNOWN, (sorted(first),)) if first else None
        seen = {digest for (digest,) in known} if known is not None else set()
        given = {digest: (uid, last) for digest, uid, last in places}
        uids = {user: given[digest][0] for digest, user in users}
        ends = {user: given[digest][1] for digest, user in users}
        lasts = {user: ends[user] - offered[user] for user in ends}
        rows: list[Row] = []
        statuses = []
        for (user, event), digest, new in zip(events, digests, fresh, strict=True):
            accepted = new and digest not in seen
            statuses.append(Status.ACCEPTED if accepted else Status.DUPLICATE)
            if accepted:
                lasts[user] += 1
                rows.append((digest, uids[user], lasts[user], event))
        back = {uids[user]: ends[user] - last for user, last in lasts.items() if last < ends[user]}
        self._commit(connection, rows, back)
        return statuses

    def _commit(self, connection: Connection, rows: Sequence[Row], back: Mapping[int, int]) -> None:
        """The second round trip. Another's event of the same id in between is a unique violation, which undoes all."""
        with committing(), connection.pipeline():
            connection.execute(ADD, (_events_as_rows(rows),))
            if back:
                given = [{"uid": uid, "places": places} for uid, places in back.items()]
                connection.execute(TAKE_PLACES_BACK, (json.dumps(given),))
            done = connection.execute("COMMIT")
        assert done.statusmessage == "COMMIT", done.statusmessage

    def _delete(self, connection: Connection, user: User) -> int:
        """How many events a user had, who is removed."""
        connection.execute(BEGIN)
        found = connection.execute(
            "DELETE FROM reprise.users WHERE digest = %s RETURNING uid, generation",
            (self._digests.user(user),),
        ).fetchone()
        count = 0
        if found:
            uid, generation = found
            # a statement of its own: it sees the events of those whose commit the first one waited for
            count = connection.execute("DELETE FROM reprise.events WHERE uid = %s", (uid,)).rowcount
            ((version,),) = connection.execute(COUNT_FORGETTING, (generation,))
            old = version - FORGOTTEN_KEPT
            connection.execute("DELETE FROM reprise.forgotten WHERE version <= %s", (old,))
        with committing():
            connection.execute("COMMIT")
        return count


def _users_as_rows(users: Sequence[tuple[bytes, User]], places: Mapping[User, int]) -> str:
    rows = [
        {
            "digest": digest.hex(),
            "generation": 2**61 + secrets.randbits(61),
            "places": places[user],
            **user._asdict(),
        }
        for digest, user in users
    ]
    return json.dumps(rows, ensure_ascii=False)


def _events_as_rows(rows: Sequence[Row]) -> str:
    """One document: it takes less time than arrays of columns on both sides. In one order for everybody, as the users are."""
    told = [
        {
            "digest": None if digest is None else digest.hex(),
            "uid": uid,
            "seq": seq,
            "item_id": event.item_id,
            "time_ms": event.time_ms,
            "kind": event.kind,
            "value": event.value,
            "event_id": event.event_id,
        }
        for digest, uid, seq, event in sorted(rows, key=lambda row: row[0] or b"")
    ]
    return json.dumps(told, ensure_ascii=False, allow_nan=False)
