"""The tables of the event store in PostgreSQL: creating, checking and vacuuming them."""

import secrets
import warnings
from collections.abc import Sequence
from typing import TypeAlias

from psycopg.errors import Diagnostic, InsufficientPrivilege, InvalidSchemaName, UndefinedTable

from reprise.server.store.event_store import StoreError, StoreNotFoundError
from reprise.server.store.postgres_connection import Connection, PostgresDatabase

Notice: TypeAlias = tuple[str | None, str | None, str | None]
"""Severity, message and detail of a notice of the server."""
FORMAT = "1"
"""Version of the tables."""
ADVISORY_LOCK = 0x5E6153E
"""Number of the advisory lock that protects the creation of the tables."""
VACUUM_LOCK_MS = 60_000
"""Time limit of a vacuum for waiting for a lock."""

# STATISTICS 0: ANALYZE stores samples of column values, which would outlive deleted rows with personal data.
SCHEMA = """
CREATE SCHEMA IF NOT EXISTS reprise;
CREATE TABLE reprise.meta (name text COLLATE "C" PRIMARY KEY, value text NOT NULL);
CREATE TABLE reprise.users (
    uid bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, digest bytea NOT NULL UNIQUE, generation bigint NOT NULL,
    last_seq bigint NOT NULL, tenant text COLLATE "C" NOT NULL, user_id text COLLATE "C" NOT NULL) WITH (fillfactor = 80);
CREATE INDEX newest_users ON reprise.users (tenant, uid);
CREATE TABLE reprise.events (
    uid bigint NOT NULL, seq bigint NOT NULL, time_ms bigint NOT NULL, value double precision, digest bytea,
    item_id text COLLATE "C" NOT NULL, kind text COLLATE "C", event_id text COLLATE "C", PRIMARY KEY (uid, seq));
CREATE UNIQUE INDEX known_events ON reprise.events (digest) WHERE digest IS NOT NULL;
CREATE TABLE reprise.forgotten (version bigint PRIMARY KEY, generation bigint NOT NULL);
CREATE TABLE reprise.items (
    digest bytea PRIMARY KEY, version bigint NOT NULL UNIQUE, tenant text NOT NULL, item_id text NOT NULL,
    body json NOT NULL);
ALTER TABLE reprise.users ALTER digest SET STATISTICS 0, ALTER tenant SET STATISTICS 0, ALTER user_id SET STATISTICS 0;
ALTER TABLE reprise.events ALTER time_ms SET STATISTICS 0, ALTER value SET STATISTICS 0, ALTER digest SET STATISTICS 0,
    ALTER item_id SET STATISTICS 0, ALTER kind SET STATISTICS 0, ALTER event_id SET STATISTICS 0;
CREATE VIEW reprise.log AS SELECT
    tenant, user_id, item_id, time_ms AS "timestamp", kind, value, event_id, seq
    FROM reprise.events JOIN reprise.users USING (uid);
"""

STATES = """
CREATE TABLE IF NOT EXISTS reprise.states (
    uid bigint PRIMARY KEY, generation bigint NOT NULL, seq bigint NOT NULL, model text COLLATE "C" NOT NULL,
    body bytea NOT NULL);
ALTER TABLE reprise.states ALTER body SET STORAGE EXTERNAL, ALTER body SET STATISTICS 0;
"""
STATES_PRIVILEGES = """
SELECT bool_and(has_table_privilege('reprise.states', one)) FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS one
"""


def open_tables(database: PostgresDatabase, create: bool) -> bytes:
    """Check the tables, or create missing ones; return the key of the keyed hashes.

    Raises:
        ConfigError: the tables are missing, and `create` is false.
        StoreError: the schema belongs to another program, may not be created, or the server does not respond.
    """
    with database.connection() as connection:
        encoding, fsync = connection.execute(
            "SELECT current_setting('server_encoding'), current_setting('fsync')"
        ).fetchall()[0]
        if encoding != "UTF8":
            raise StoreError(
                f"{database.name} has the encoding {encoding}; create a database with ENCODING 'UTF8'"
            )
        if fsync != "on":
            warnings.warn(
                f"{database.name}: the server runs with fsync off and can lose committed events; turn fsync on",
                stacklevel=3,
            )
        try:
            facts = _facts(connection)
            if not facts and not create:
                raise StoreNotFoundError(database.name)
            facts = facts or _create(database, connection)
        except InsufficientPrivilege as error:
            raise StoreError(
                f"{database.name}: the role may not create or use the schema reprise ({error.diag.message_primary}); "
                "GRANT CREATE ON DATABASE to it, or open the store once as another role, which then grants it USAGE ON SCHEMA "
                "reprise and SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA reprise"
            ) from None
    if facts["format"] != FORMAT:
        raise StoreError(
            f"{database.name} has format {facts['format']}, but this version of reprise reads format {FORMAT}; "
            "use the version of reprise that created it"
        )
    return bytes.fromhex(facts["secret"])


def open_states(database: PostgresDatabase) -> bool:
    """Create the table of states if it is missing, and return whether there is one.

    A database of an earlier version has none. If the role may not create it, the store works without stored states.

    Raises:
        StoreError: the table exists, and the role may not use it.
    """
    with database.connection() as connection:
        if not has_states(connection):
            try:
                with connection.transaction():
                    connection.execute("SELECT pg_advisory_xact_lock(%s)", (ADVISORY_LOCK,))
                    connection.execute(STATES)
            except InsufficientPrivilege:
                return False
        ((allowed,),) = connection.execute(STATES_PRIVILEGES).fetchall()
    if not allowed:
        raise StoreError(
            f"{database.name}: the role may not use the table reprise.states; "
            "GRANT SELECT, INSERT, UPDATE, DELETE ON reprise.states to it"
        )
    return True


def has_states(connection: Connection) -> bool:
    """Return whether the table of states exists."""
    ((found,),) = connection.execute("SELECT to_regclass('reprise.states') IS NOT NULL").fetchall()
    return bool(found)


def vacuum_tables(database: PostgresDatabase) -> str:
    """Rewrite the tables with personal data, without the bytes of deleted rows; describe the result.

    Raises:
        StoreError: it failed, or deleted rows were kept because another session can still see them.
    """
    notices: list[Notice] = []

    def add_notice(notice: Diagnostic) -> None:
        notices.append((notice.severity_nonlocalized, notice.message_primary, notice.message_detail))

    with database.connection() as connection:
        connection.execute("SELECT set_config('statement_timeout', '0', false)")
        connection.execute("SELECT set_config('lock_timeout', %s, false)", (str(VACUUM_LOCK_MS),))
        connection.add_notice_handler(add_notice)
        tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'reprise' AND tablename = ANY (%s)"
        for (table,) in connection.execute(
            tables, (["users", "events", "states", "answers", "responses"],)
        ).fetchall():
            connection.execute(f"VACUUM (FULL, VERBOSE) reprise.{table}")
        _check_notices(database, notices)
        try:
            connection.execute("CHECKPOINT")
        except InsufficientPrivilege:
            return (
                "the tables were rewritten; their old files are deleted at the next checkpoint of the server"
            )
    return "the tables were rewritten and their old files deleted"


def _facts(connection: Connection) -> dict[str, str]:
    """Return the table `meta`; empty if there is none."""
    try:
        return dict(connection.execute("SELECT name, value FROM reprise.meta").fetchall())
    except (UndefinedTable, InvalidSchemaName):
        return {}


def _create(database: PostgresDatabase, connection: Connection) -> dict[str, str]:
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (ADVISORY_LOCK,))
        tables = [
            name
            for (name,) in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'reprise'")
        ]
        if "meta" in tables:  # another process has created the tables meanwhile
            return _facts(connection)
        if tables:
            raise StoreError(
                f"{database.name} has a schema reprise of another program (tables {sorted(tables)}); name another database"
            )
        connection.execute(SCHEMA)
        facts = {"format": FORMAT, "secret": secrets.token_hex(32), "items": "0", "forgotten": "0"}
        for fact in facts.items():
            connection.execute("INSERT INTO reprise.meta VALUES (%s, %s)", fact)
    return facts


def _check_notices(database: PostgresDatabase, notices: Sequence[Notice]) -> None:
    """Raise `StoreError` if VACUUM skipped a table (reported as a warning) or kept deleted rows (reported as a detail)."""
    for severity, message, detail in notices:
        if severity == "WARNING":
            raise StoreError(f"{database.name}: {message}; run the vacuum as the owner of the tables")
        kept = (detail or "0").split()[0]  # the detail starts with the number of rows, in every language
        if kept.isdigit() and int(kept):
            raise StoreError(
                f"{database.name} keeps {kept} deleted rows that an older transaction can still see; end it and try again"
            )
