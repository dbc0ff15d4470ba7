"""States of users in PostgreSQL: a cache next to the log, one row per user."""

from collections.abc import Sequence

from reprise.server.store.postgres_connection import Connection, PostgresDatabase
from reprise.server.store.pseudonyms import KeyedHasher
from reprise.server.store.records import StoredState, User

LOAD = """
SELECT s.generation, s.seq, s.body FROM reprise.users AS u JOIN reprise.states AS s USING (uid)
    WHERE u.digest = %s AND s.model = %s AND s.generation = u.generation
"""
# Locks the users, so that a deletion at the same time comes before or after: nothing is stored for a deleted user. No older
# state replaces a newer one.
SAVE = """
INSERT INTO reprise.states AS s (uid, generation, seq, model, body)
    SELECT uid, generation, %s, %s, %b FROM reprise.users WHERE digest = %s AND generation = %s FOR SHARE
    ON CONFLICT (uid) DO UPDATE SET generation = excluded.generation, seq = excluded.seq, model = excluded.model,
        body = excluded.body WHERE s.model <> excluded.model OR s.seq < excluded.seq
"""
DROP = "DELETE FROM reprise.states WHERE uid IN (SELECT uid FROM reprise.states WHERE model <> %s LIMIT %s)"


def load_state(database: PostgresDatabase, hasher: KeyedHasher, user: User, model: str) -> StoredState | None:
    """See `KeepsStates`."""
    rows = database.rows(LOAD, (hasher.user(user), model))
    return StoredState(user, rows[0][0], rows[0][1], model, bytes(rows[0][2])) if rows else None


def save_states(database: PostgresDatabase, hasher: KeyedHasher, states: Sequence[StoredState]) -> None:
    """See `KeepsStates`."""
    # in the order of the hashes, as all writers lock users, which prevents deadlocks
    rows = sorted((hasher.user(one.user), one) for one in states)

    def save(connection: Connection) -> None:
        with connection.transaction(), connection.pipeline():
            for digest, one in rows:
                connection.execute(SAVE, (one.seq, one.model, one.body, digest, one.generation))

    database.retry(save, idempotent=True)


def drop_states(database: PostgresDatabase, model: str, limit: int) -> int:
    """See `KeepsStates`."""

    def drop(connection: Connection) -> int:
        with connection.transaction():
            return connection.execute(DROP, (model, limit)).rowcount

    return database.retry(drop, idempotent=True)
