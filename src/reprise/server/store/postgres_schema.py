"""The tables of the event log in PostgreSQL: made once, looked at on opening, written anew to forget the last bytes."""

import secrets
import warnings
from collections.abc import Sequence

from psycopg.errors import Diagnostic, InsufficientPrivilege, InvalidSchemaName, UndefinedTable

from reprise.server.store.event_store import StoreError, StoreNotFoundError
from reprise.server.store.postgres_connection import Connection, PostgresDatabase

FORMAT = "1"
OPENING = 0x5E6153E
"""The advisory lock under which the tables are made."""
SCRUB_LOCK_MS = 60_000

# What a person did must not lie in the samples that ANALYZE takes of a column, which outlive the row: STATISTICS 0.
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


def open_tables(database: PostgresDatabase, create: bool) -> bytes:
    """Make the tables where there are none, if that is wanted; the secret of the digests.

    Raises:
        ConfigError: there are none, and none are to be made.
        StoreError: there is something else, it may not be made, or the server does not answer.
    """
    with database.connected() as connection:
        encoding, fsync = connection.execute(
            "SELECT current_setting('server_encoding'), current_setting('fsync')"
        ).fetchall()[0]
        if encoding != "UTF8":
            raise StoreError(f"{database.where} has the encoding {encoding}; make one with ENCODING 'UTF8'")
        if fsync != "on":
            warnings.warn(
                f"{database.where}: the server runs with fsync off and may lose what it confirmed",
                stacklevel=3,
            )
        try:
            facts = _facts(connection)
            if not facts and not create:
                raise StoreNotFoundError(database.where)
            facts = facts or _make(database, connection)
        except InsufficientPrivilege as error:
            raise StoreError(
                f"{database.where}: the role may not make or use the schema reprise ({error.diag.message_primary}); "
                "GRANT CREATE ON DATABASE to it, or open the store once as another role, which then grants it USAGE ON SCHEMA "
                "reprise and SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA reprise"
            ) from None
    if facts["format"] != FORMAT:
        raise StoreError(
            f"{database.where} has format {facts['format']}, this version of reprise reads {FORMAT}"
        )
    return bytes.fromhex(facts["secret"])


def write_anew(database: PostgresDatabase) -> str:
    """Write the tables of people without the bytes that deleted rows left in them; what was done, in words.

    Raises:
        StoreError: it was not done, or some deleted rows are still seen by another session, and kept.
    """
    told: list[tuple[str | None, str | None, str | None]] = []

    def hear(notice: Diagnostic) -> None:
        told.append((notice.severity_nonlocalized, notice.message_primary, notice.message_detail))

    with database.connected() as connection:
        connection.execute("SELECT set_config('statement_timeout', '0', false)")
        connection.execute("SELECT set_config('lock_timeout', %s, false)", (str(SCRUB_LOCK_MS),))
        connection.add_notice_handler(hear)
        for table in ("reprise.users", "reprise.events"):
            connection.execute(f"VACUUM (FULL, VERBOSE) {table}")
        _refuse_half_done(database, told)
        try:
            connection.execute("CHECKPOINT")
        except InsufficientPrivilege:
            return "the tables were written anew; their old files go with the next checkpoint of the server"
    return "the tables were written anew, and their old files are gone"


def _facts(connection: Connection) -> dict[str, str]:
    """What the log says of itself; nothing if there is none."""
    try:
        return dict(connection.execute("SELECT name, value FROM reprise.meta").fetchall())
    except (UndefinedTable, InvalidSchemaName):
        return {}


def _make(database: PostgresDatabase, connection: Connection) -> dict[str, str]:
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (OPENING,))
        tables = [
            name
            for (name,) in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'reprise'")
        ]
        if "meta" in tables:  # another process was faster
            return _facts(connection)
        if tables:
            raise StoreError(
                f"{database.where} has a schema reprise of something else (tables {sorted(tables)}); name another database"
            )
        connection.execute(SCHEMA)
        facts = {"format": FORMAT, "secret": secrets.token_hex(32), "items": "0", "forgotten": "0"}
        for fact in facts.items():
            connection.execute("INSERT INTO reprise.meta VALUES (%s, %s)", fact)
    return facts


def _refuse_half_done(
    database: PostgresDatabase, told: Sequence[tuple[str | None, str | None, str | None]]
) -> None:
    """VACUUM only warns where it may not touch a table, and only mentions the deleted rows that it had to keep."""
    for severity, message, detail in told:
        if severity == "WARNING":
            raise StoreError(f"{database.where}: {message}; the owner of the tables may scrub")
        first = (detail or "0").split()[0]  # in every language their number comes first
        if first.isdigit() and int(first):
            raise StoreError(
                f"{database.where} keeps {first} deleted rows that an older transaction elsewhere still sees; end it, ask again"
            )
