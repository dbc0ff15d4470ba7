"""States of users in a SQLite file: a cache next to the log, one row per user. A state contains numbers and no user ids."""

from collections.abc import Sequence

from reprise.server.store.pseudonyms import KeyedHasher
from reprise.server.store.records import StoredState, User
from reprise.server.store.sqlite_connection import SQLiteDatabase, Writer

TABLE = """
CREATE TABLE IF NOT EXISTS states (uid INTEGER PRIMARY KEY, generation INTEGER NOT NULL, seq INTEGER NOT NULL,
                                   model TEXT NOT NULL, body BLOB NOT NULL)
"""
LOAD = """
SELECT states.generation, states.seq, states.body FROM users JOIN states USING (uid)
    WHERE users.digest = ? AND states.model = ? AND states.generation = users.generation
"""
# nothing is stored for a user who was deleted in the meantime, and no older state replaces a newer one
SAVE = """
INSERT INTO states (uid, generation, seq, model, body)
    SELECT uid, generation, ?, ?, ? FROM users WHERE digest = ? AND generation = ?
    ON CONFLICT (uid) DO UPDATE SET generation = excluded.generation, seq = excluded.seq, model = excluded.model,
        body = excluded.body WHERE states.model <> excluded.model OR states.seq < excluded.seq
"""
DROP = "DELETE FROM states WHERE uid IN (SELECT uid FROM states WHERE model <> ? LIMIT ?)"


def load_state(database: SQLiteDatabase, hasher: KeyedHasher, user: User, model: str) -> StoredState | None:
    """See `KeepsStates`."""
    rows = database.rows(LOAD, (hasher.user(user), model))
    return StoredState(user, rows[0][0], rows[0][1], model, rows[0][2]) if rows else None


def save_states(database: SQLiteDatabase, hasher: KeyedHasher, states: Sequence[StoredState]) -> None:
    """See `KeepsStates`."""
    rows = [
        (state.seq, state.model, state.body, hasher.user(state.user), state.generation) for state in states
    ]
    with database.transaction() as writer:
        writer.executemany(SAVE, rows)


def drop_states(database: SQLiteDatabase, model: str, limit: int) -> int:
    """See `KeepsStates`."""
    with database.transaction() as writer:
        return writer.execute(DROP, (model, limit)).rowcount


def delete_state(writer: Writer, uid: int) -> None:
    """Delete the state of a user within a transaction. SQLite overwrites the bytes (`secure_delete`)."""
    writer.execute("DELETE FROM states WHERE uid = ?", (uid,))
