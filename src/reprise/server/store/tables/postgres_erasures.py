"""The queue of erased users in PostgreSQL: one row for each user, with a keyed hash and no id."""

from psycopg.errors import InsufficientPrivilege, UndefinedTable

from reprise.data.erased_users import ErasedUsers
from reprise.server.store.event_store import StoreError
from reprise.server.store.postgres_connection import Connection, PostgresDatabase
from reprise.server.store.pseudonyms import KeyedHasher
from reprise.server.store.records import User

TABLE = """
CREATE TABLE IF NOT EXISTS reprise.erased (digest bytea PRIMARY KEY, tenant bytea NOT NULL, time_ms bigint NOT NULL);
ALTER TABLE reprise.erased ALTER digest SET STATISTICS 0, ALTER tenant SET STATISTICS 0;
"""
ADD = """
INSERT INTO reprise.erased AS e (digest, tenant, time_ms) VALUES (%s, %s, %s)
    ON CONFLICT (digest) DO UPDATE SET time_ms = greatest(e.time_ms, excluded.time_ms)
"""
PURGE = "DELETE FROM reprise.erased WHERE time_ms < %s AND tenant = %s RETURNING digest"
PRESENT = "SELECT to_regclass('reprise.erased') IS NOT NULL"


def open_erasures(database: PostgresDatabase, advisory_lock: int) -> None:
    """Create the table of the queue if it is missing; a database of an earlier version has none.

    Without the right to create it, a deletion fails later, because it could not be remembered.

    Raises:
        StoreError: The server does not respond.
    """
    with database.connection() as connection:
        ((present,),) = connection.execute(PRESENT).fetchall()
        if present:
            return
        try:
            with connection.transaction():
                connection.execute("SELECT pg_advisory_xact_lock(%s)", (advisory_lock,))
                connection.execute(TABLE)
        except InsufficientPrivilege:
            return


def add_erased(
    database: PostgresDatabase, connection: Connection, hasher: KeyedHasher, user: User, time_ms: int
) -> None:
    """Add a user to the queue within a transaction; a user in it gets the later time.

    Raises:
        StoreError: The table is missing, because the role may not create it.
    """
    try:
        connection.execute(ADD, (hasher.erased(user), hasher.tenant(user.tenant), time_ms))
    except UndefinedTable:
        raise _missing(database) from None


def erased_users(database: PostgresDatabase, hasher: KeyedHasher, tenant: str) -> ErasedUsers:
    """See `KeepsErasures`."""
    _require_table(database)
    query = "SELECT digest, time_ms FROM reprise.erased WHERE tenant = %s"
    rows = database.rows(query, (hasher.tenant(tenant),))
    newest_ms = max((time_ms for _, time_ms in rows), default=None)
    return hasher.erased_users(tenant, frozenset(bytes(digest) for digest, _ in rows), newest_ms)


def purge_erased(database: PostgresDatabase, hasher: KeyedHasher, before_ms: int, tenant: str) -> int:
    """See `KeepsErasures`."""
    _require_table(database)
    return len(database.rows(PURGE, (before_ms, hasher.tenant(tenant))))


def _require_table(database: PostgresDatabase) -> None:
    if database.rows(PRESENT, ()) != [(True,)]:
        raise _missing(database)


def _missing(database: PostgresDatabase) -> StoreError:
    return StoreError(
        f"{database.name} has no queue of erased users, and the role may not create the table reprise.erased, so nothing was "
        "deleted; open the store once as another role, which then grants it SELECT, INSERT, UPDATE, DELETE ON reprise.erased"
    )
