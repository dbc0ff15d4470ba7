"""The event store in PostgreSQL, for several server processes and machines.

The row of a user holds the `seq` of the user's last event. A writer locks this row first, so the numbers become visible in
order and without gaps. A PostgreSQL sequence would not guarantee that. Indices hold numbers and keyed hashes only.
"""

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from reprise.data.erased_users import ErasedUsers
from reprise.server.store.answer_log import FOREVER_MS, Answer, Response
from reprise.server.store.event_store import (
    DELETIONS_KEPT,
    LATEST_EVENTS,
    StoreError,
    is_repetition,
    require_times,
)
from reprise.server.store.postgres_compaction import compact_tables
from reprise.server.store.postgres_connection import Connection, PostgresDatabase, committing
from reprise.server.store.postgres_schema import ADVISORY_LOCK, open_states, open_tables, vacuum_tables
from reprise.server.store.pseudonyms import KeyedHasher
from reprise.server.store.records import Compaction, ItemChange, Status, StoredState, User, UserEvent, UserLog
from reprise.server.store.tables import postgres_answers, postgres_erasures, postgres_items, postgres_states
from reprise.server.store.tables.postgres_rows import Row, events_as_json, users_as_json
from reprise.server.store.user_position import UserPosition

# not READ WRITE: a service that makes a full database read-only by its default must be obeyed, and seen by `check`
BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED"
# Locks the users in the order of the rows and reserves `count` sequence numbers for each. Unknown users are added.
RESERVE_SEQS = """
INSERT INTO reprise.users AS u (digest, generation, last_seq, tenant, user_id)
    SELECT decode(digest, 'hex'), generation, count, tenant, user_id FROM json_to_recordset(%s::json)
    AS offered (digest text, generation bigint, count bigint, tenant text, user_id text)
    ON CONFLICT (digest) DO UPDATE SET last_seq = u.last_seq + excluded.last_seq
    RETURNING digest, uid, last_seq
"""
# A user without events was added by this transaction, for an event that turned out to be known.
DELETE_EMPTY_USERS = "DELETE FROM reprise.users WHERE uid = ANY (%s) AND last_seq = 0"
RELEASE_SEQS = """
UPDATE reprise.users AS u SET last_seq = u.last_seq - unused.count
    FROM json_to_recordset(%s::json) AS unused (uid bigint, count bigint) WHERE u.uid = unused.uid
"""
KNOWN_EVENTS = """
SELECT e.digest, u.tenant, u.user_id, e.item_id, e.time_ms, e.kind, e.value
    FROM reprise.events AS e JOIN reprise.users AS u USING (uid) WHERE e.digest = ANY (%b::bytea[])
"""
LAST_TIMES = """
SELECT u.digest, coalesce(max(latest.time_ms), 0) FROM reprise.users AS u LEFT JOIN LATERAL (
    SELECT time_ms FROM reprise.events AS e WHERE e.uid = u.uid ORDER BY e.seq DESC LIMIT %s) AS latest ON true
    WHERE u.digest = ANY (%b::bytea[]) GROUP BY u.digest
"""
INSERT_EVENTS = """
INSERT INTO reprise.events (digest, uid, seq, item_id, time_ms, kind, value, event_id)
    SELECT decode(digest, 'hex'), uid, seq, item_id, time_ms, kind, value, event_id FROM json_to_recordset(%s::json)
    AS added (digest text, uid bigint, seq bigint, item_id text, time_ms bigint, kind text, value double precision,
              event_id text)
"""
# The limit is in the inner query, so that the scan of the index stops there.
SINCE = """
SELECT u.generation, e.item_id, e.time_ms, e.kind, e.value, e.event_id, e.seq
    FROM reprise.users AS u LEFT JOIN LATERAL (
        SELECT * FROM reprise.events AS e
        WHERE e.uid = u.uid AND e.seq > CASE WHEN u.generation = %s THEN %s ELSE 0 END ORDER BY e.seq LIMIT %s) AS e ON true
    WHERE u.digest = %s ORDER BY e.seq
"""
ALL_EVENTS = """
SELECT e.uid, e.seq, u.user_id, e.item_id, e.time_ms, e.kind, e.value, e.event_id
    FROM reprise.events AS e JOIN reprise.users AS u USING (uid)
    WHERE u.tenant = %s AND (e.uid, e.seq) > (%s, %s) ORDER BY e.uid, e.seq LIMIT %s
"""
PAGE = 10_000
"""Number of events that one query of `all_events` reads."""
# Counts rows with the id of the user and another hash, which are an error, and rows of the user, which are newer events.
REMAINING = """
SELECT count(*) FILTER (WHERE digest <> %(digest)s), count(*) FILTER (WHERE digest = %(digest)s)
    FROM reprise.users WHERE tenant = %(tenant)s AND user_id = %(user_id)s
"""
# Updating the counter locks its row until the commit, so versions become visible in order.
COUNT_DELETION = """
WITH counted AS (UPDATE reprise.meta SET value = (value::bigint + 1)::text WHERE name = 'forgotten' RETURNING value::bigint)
INSERT INTO reprise.forgotten (version, generation) SELECT counted.value, %s FROM counted RETURNING version
"""
DELETIONS = """
SELECT m.value::bigint, f.generation FROM reprise.meta AS m LEFT JOIN reprise.forgotten AS f ON f.version > %s
    WHERE m.name = 'forgotten' ORDER BY f.version
"""
SECRET = "SELECT value FROM reprise.meta WHERE name = 'secret'"
CHECK = "UPDATE reprise.meta SET value = value WHERE name = 'secret' RETURNING value"


class PostgresStore:
    """An `EventStore` in PostgreSQL. It is as durable as the database server, which needs `fsync` on."""

    def __init__(self, address: str, create: bool = True) -> None:
        """Open the store in a database, or create it. Its tables are in the schema `reprise`.

        Args:
            address: `postgresql://user:password@host:port/database`, followed by `?` and any options of libpq.
            create: Whether to create missing tables.

        Raises:
            ConfigError: the address is malformed, or the tables are missing and `create` is false.
            StoreError: the server does not respond or denies access, or the schema belongs to another program.
        """
        self._database = PostgresDatabase(address)
        secret = open_tables(self._database, create)
        self._secret, self._hasher = secret.hex(), KeyedHasher(secret)
        self._keeps_states = open_states(self._database)
        postgres_erasures.open_erasures(self._database, ADVISORY_LOCK)
        self._keeps_answers = postgres_answers.open_answers(self._database, ADVISORY_LOCK)
        self._database.open()

    def append(self, events: Sequence[tuple[User, UserEvent]]) -> list[Status]:
        """See `EventStore`. Takes two round trips for any number of events.

        If the connection is lost after the commit was sent, it is unknown whether the commit succeeded. If every event has an
        id, the events are sent again, and those that the first commit stored get the status `DUPLICATE`. Otherwise this
        raises `StoreError`, and the events may be in the log or not.
        """
        if not events:
            return []
        require_times(events)
        idempotent = all(event.event_id is not None for _, event in events)
        return self._database.retry(lambda connection: self._append(connection, events), idempotent)

    def events_since(
        self, user: User, generation: int = 0, seq: int = 0, limit: int | None = None
    ) -> UserLog:
        """See `EventStore`."""
        assert limit is None or limit > 0, limit
        # one statement reads one snapshot, so the events belong to the generation
        rows = self._database.rows(SINCE, (generation, seq, limit, self._hasher.user(user)))
        if not rows:
            return UserLog(0, [])
        return UserLog(rows[0][0], [UserEvent(*fields) for _, *fields in rows if fields[0] is not None])

    def delete_user(self, user: User) -> int:
        """See `EventStore`. The bytes of the deleted rows stay in the files of the database until `vacuum`."""
        return self._database.retry(lambda connection: self._delete(connection, user), idempotent=False)

    def erased_users(self, tenant: str) -> ErasedUsers:
        """See `KeepsErasures`."""
        return postgres_erasures.erased_users(self._database, self._hasher, tenant)

    def purge_erased(self, before_ms: int, tenant: str) -> int:
        """See `KeepsErasures`."""
        return postgres_erasures.purge_erased(self._database, self._hasher, before_ms, tenant)

    def compact(
        self, before_ms: int, tenant: str | None = None, dry_run: bool = False
    ) -> Iterator[Compaction]:
        """See `Compactable`. PostgreSQL's autovacuum makes the space available to new rows."""
        return compact_tables(self._database, BEGIN, before_ms, tenant, dry_run, _erase_user)

    def verify_erasure(self, user: User) -> str:
        """See `EventStore`. Reads the ids of all users of the tenant, so the time is proportional to their number."""

        def count_rows(connection: Connection) -> tuple[int, int]:
            with connection.transaction():
                connection.execute("SET LOCAL statement_timeout = 0")
                parameters = {"digest": self._hasher.user(user), **user._asdict()}
                ((remaining, new),) = connection.execute(REMAINING, parameters).fetchall()
            return remaining, new

        remaining, new = self._database.retry(count_rows, idempotent=True)
        if remaining:
            raise StoreError(
                f"{self._database.name} still contains {remaining} rows of the deleted user; repeat the deletion"
            )
        if new:
            return "the user has new events; the deleted rows were removed"
        return (
            "no row of this user is left in the database; bytes of deleted rows stay in its files until PostgreSQL reuses the "
            "space or a vacuum rewrites the tables, and in its write-ahead log, archives and standbys until these are recycled"
        )

    def vacuum(self) -> str:
        """Rewrite the tables with personal data, without the bytes of deleted rows; describe the result.

        This runs `VACUUM FULL` as the owner of the tables. It locks the tables, and needs as much free disk space as they
        have. The write-ahead log, archives, standbys and backups are not changed.

        Raises:
            StoreError: it failed, or deleted rows were kept because another session can still see them.
        """
        return vacuum_tables(self._database)

    def deletions_since(self, version: int) -> tuple[int, list[int]]:
        """See `EventStore`."""
        rows = self._database.rows(DELETIONS, (version,))
        return rows[0][0], [generation for _, generation in rows if generation is not None]

    def recent_users(self, tenant: str, limit: int) -> list[str]:
        """See `EventStore`. Users that were added in one batch are in no particular order."""
        query = "SELECT user_id FROM reprise.users WHERE tenant = %s ORDER BY uid DESC LIMIT %s"
        return [user_id for (user_id,) in self._database.rows(query, (tenant, limit))]

    def put_item(self, tenant: str, item_id: str, values: Mapping[str, object]) -> int:
        """See `EventStore`."""
        return postgres_items.put_item(self._database, self._hasher, tenant, item_id, values)

    def delete_item(self, tenant: str, item_id: str) -> int | None:
        """See `EventStore`."""
        return postgres_items.delete_item(self._database, self._hasher, tenant, item_id)

    def items_since(self, version: int) -> list[ItemChange]:
        """See `EventStore`."""
        return postgres_items.items_since(self._database, version)

    def load_state(self, user: User, model: str) -> StoredState | None:
        """See `KeepsStates`."""
        if not self._keeps_states:
            return None
        return postgres_states.load_state(self._database, self._hasher, user, model)

    def save_states(self, states: Sequence[StoredState]) -> None:
        """See `KeepsStates`."""
        if self._keeps_states:
            postgres_states.save_states(self._database, self._hasher, states)

    def drop_states(self, model: str, limit: int) -> int:
        """See `KeepsStates`."""
        return postgres_states.drop_states(self._database, model, limit) if self._keeps_states else 0

    def all_events(self, tenant: str) -> Iterator[tuple[str, UserEvent]]:
        """See `ListsEvents`. Events are in the order of users, and of their `seq`."""
        uid, seq = 0, 0
        while rows := self._database.rows(ALL_EVENTS, (tenant, uid, seq, PAGE)):
            for *_, user_id, item_id, time_ms, kind, value, event_id in rows:
                yield user_id, UserEvent(item_id, time_ms, kind, value, event_id)
            uid, seq = rows[-1][:2]

    def append_answers(self, answers: Sequence[Answer]) -> None:
        """See `KeepsAnswers`."""
        postgres_answers.require_answers(self._database, self._keeps_answers)
        postgres_answers.append_answers(self._database, self._hasher, answers)

    def answers(self, tenant: str, since_ms: int = 0, before_ms: int = FOREVER_MS) -> Iterator[Answer]:
        """See `KeepsAnswers`."""
        postgres_answers.require_answers(self._database, self._keeps_answers)
        return postgres_answers.read_answers(self._database, self._hasher, tenant, since_ms, before_ms)

    def responses(self, tenant: str, since_ms: int = 0, before_ms: int = FOREVER_MS) -> Iterator[Response]:
        """See `KeepsAnswers`."""
        postgres_answers.require_answers(self._database, self._keeps_answers)
        return postgres_answers.read_responses(self._database, self._hasher, tenant, since_ms, before_ms)

    def user_hash(self, user: User) -> str:
        """See `KeepsAnswers`."""
        return self._hasher.user(user).hex()

    def trim_answers(self, before_ms: int, keep: int) -> int:
        """See `KeepsAnswers`."""
        postgres_answers.require_answers(self._database, self._keeps_answers)
        return postgres_answers.trim_answers(self._database, before_ms, keep)

    def check(self) -> None:
        """See `EventStore`."""
        self._require_same_store(self._database.rows(CHECK, ()))

    def close(self) -> None:
        """See `EventStore`."""
        self._database.close()

    def _append(self, connection: Connection, events: Sequence[tuple[User, UserEvent]]) -> list[Status]:
        """Append events in one transaction with two round trips."""
        hashes = [self._hasher.event(user.tenant, event.event_id) for user, event in events]
        positions, ends, known = self._reserve(connection, events, hashes)
        rows: list[Row] = []
        responses: list[tuple[User, UserEvent]] = []
        statuses = []
        for (user, event), one in zip(events, hashes, strict=True):
            if one is not None and one in known:
                repeated = is_repetition((user, event), known[one])
                statuses.append(Status.DUPLICATE if repeated else Status.CONFLICT)
                continue
            new = positions[user].append(event)
            if one is not None:
                known[one] = user, new
            rows.append((one, positions[user].uid, new.seq, new))
            if event.recommendation_id is not None and self._keeps_answers:
                responses.append((user, new))
            statuses.append(Status.ACCEPTED)
        # for example: 3 numbers reserved and 1 duplicate found, so 1 number is released
        unused = {one.uid: ends[one.uid] - one.seq for one in positions.values() if one.seq < ends[one.uid]}
        self._insert_and_commit(connection, rows, unused, responses)
        return statuses

    def _reserve(
        self, connection: Connection, events: Sequence[tuple[User, UserEvent]], hashes: Sequence[bytes | None]
    ) -> tuple[dict[User, UserPosition], dict[int, int], dict[bytes, tuple[User, UserEvent]]]:
        """Begin a transaction and lock the users, in the first round trip.

        Returns:
            The position of each user; the last `seq` that is reserved, by row id of the user; and the stored events whose ids
            were offered, by hash.
        """
        first = {one: index for index, one in reversed([*enumerate(hashes)]) if one is not None}
        new = [one is None or first[one] == index for index, one in enumerate(hashes)]
        counts = Counter(user for (user, _), is_new in zip(events, new, strict=True) if is_new)
        # all writers lock users in the same order, which prevents deadlocks
        users = sorted((self._hasher.user(user), user) for user in counts)
        assigned = {user for user, event in events if event.time_assigned}
        digests = [digest for digest, user in users if user in assigned]
        with connection.pipeline():
            connection.execute(BEGIN)
            secret = connection.execute(SECRET)
            reserved = connection.execute(RESERVE_SEQS, (users_as_json(users, counts),))
            # separate statements: they see what other writers committed while this one waited for the locks
            stored = connection.execute(KNOWN_EVENTS, (sorted(first),)) if first else None
            times = connection.execute(LAST_TIMES, (LATEST_EVENTS, digests)) if digests else None
        self._require_same_store(secret.fetchall())
        uid_and_end = {digest: (uid, last_seq) for digest, uid, last_seq in reserved}
        last_ms: dict[bytes, int] = {} if times is None else dict(times.fetchall())
        positions = {}
        for digest, user in users:
            uid, end = uid_and_end[digest]
            positions[user] = UserPosition(uid, end - counts[user], last_ms.get(digest))
        known = {row[0]: (User(*row[1:3]), UserEvent(*row[3:])) for row in stored or ()}
        return positions, dict(uid_and_end.values()), known

    def _insert_and_commit(
        self,
        connection: Connection,
        rows: Sequence[Row],
        unused: Mapping[int, int],
        responses: Sequence[tuple[User, UserEvent]],
    ) -> None:
        """Insert the rows and responses, release the unused numbers, and commit, in the second round trip.

        If another writer has stored an event with the same id meanwhile, the unique index rejects the whole transaction.
        """
        with committing(), connection.pipeline():
            connection.execute(INSERT_EVENTS, (events_as_json(rows),))
            if responses:
                postgres_answers.add_responses(connection, self._hasher, responses)
            if unused:
                released = [{"uid": uid, "count": count} for uid, count in unused.items()]
                connection.execute(RELEASE_SEQS, (json.dumps(released),))
                connection.execute(DELETE_EMPTY_USERS, ([*unused],))
            commit = connection.execute("COMMIT")
        assert commit.statusmessage == "COMMIT", commit.statusmessage

    def _delete(self, connection: Connection, user: User) -> int:
        """Delete a user and the user's events in one transaction; return the number of events."""
        connection.execute(BEGIN)
        self._require_same_store(connection.execute(SECRET).fetchall())
        # an unknown user too: logs outside the store may hold events of the user
        now_ms = time.time_ns() // 1_000_000
        postgres_erasures.add_erased(self._database, connection, self._hasher, user, now_ms)
        if self._keeps_answers:
            postgres_answers.delete_answers(connection, self._hasher.user(user))
        found = connection.execute(
            "DELETE FROM reprise.users WHERE digest = %s RETURNING uid, generation",
            (self._hasher.user(user),),
        ).fetchone()
        count = 0
        if found:
            uid, generation = found
            # a separate statement: it sees the events of writers whose commit the first one waited for
            count = connection.execute("DELETE FROM reprise.events WHERE uid = %s", (uid,)).rowcount
            if self._keeps_states:
                connection.execute("DELETE FROM reprise.states WHERE uid = %s", (uid,))
            _count_deletion(connection, generation)
        with committing():
            connection.execute("COMMIT")
        return count

    def _require_same_store(self, rows: Sequence[tuple[str]]) -> None:
        """Raise `StoreError` if the tables were deleted and created again, given the secret that they hold now.

        The hashes of the new tables have another key: with the old one, a user would get a second row.
        """
        if rows != [(self._secret,)]:
            raise StoreError(
                f"{self._database.name}: the tables of the event log were replaced while the server was running; nothing is "
                "written any more. Restart the server to use the new ones"
            )


def _erase_user(connection: Connection, uid: int, generation: int) -> None:
    """Delete the row of a user and count the deletion."""
    connection.execute("DELETE FROM reprise.users WHERE uid = %s", (uid,))
    _count_deletion(connection, generation)


def _count_deletion(connection: Connection, generation: int) -> None:
    ((version,),) = connection.execute(COUNT_DELETION, (generation,))
    connection.execute("DELETE FROM reprise.forgotten WHERE version <= %s", (version - DELETIONS_KEPT,))
