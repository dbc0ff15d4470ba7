"""The queue of erased users in a SQLite file: one row for each user, with a keyed hash and no id."""

from reprise.data.erased_users import ErasedUsers
from reprise.server.store.pseudonyms import KeyedHasher
from reprise.server.store.records import User
from reprise.server.store.sqlite_connection import SQLiteDatabase, Writer

TABLE = """
CREATE TABLE IF NOT EXISTS erased (digest BLOB PRIMARY KEY, tenant BLOB NOT NULL, time_ms INTEGER NOT NULL) WITHOUT ROWID
"""
ADD = """
INSERT INTO erased (digest, tenant, time_ms) VALUES (?, ?, ?)
    ON CONFLICT (digest) DO UPDATE SET time_ms = max(time_ms, excluded.time_ms)
"""


def add_erased(writer: Writer, hasher: KeyedHasher, user: User, time_ms: int) -> None:
    """Add a user to the queue within a transaction; a user in it gets the later time."""
    writer.execute(ADD, (hasher.erased(user), hasher.tenant(user.tenant), time_ms))


def erased_users(database: SQLiteDatabase, hasher: KeyedHasher, tenant: str) -> ErasedUsers:
    """See `KeepsErasures`."""
    rows = database.rows("SELECT digest, time_ms FROM erased WHERE tenant = ?", (hasher.tenant(tenant),))
    newest_ms = max((time_ms for _, time_ms in rows), default=None)
    return hasher.erased_users(tenant, frozenset(digest for digest, _ in rows), newest_ms)


def purge_erased(database: SQLiteDatabase, hasher: KeyedHasher, before_ms: int, tenant: str) -> int:
    """See `KeepsErasures`."""
    with database.transaction() as writer:
        return writer.execute(
            "DELETE FROM erased WHERE time_ms < ? AND tenant = ?", (before_ms, hasher.tenant(tenant))
        ).rowcount
