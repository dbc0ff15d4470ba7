"""The answer log in PostgreSQL: answers, and the events that carry the id of an answer. Users are keyed hashes."""

import json
from collections.abc import Iterable, Iterator, Sequence

from psycopg.errors import InsufficientPrivilege

from reprise.server.store.answer_log import Answer, Response
from reprise.server.store.event_store import StoreError
from reprise.server.store.postgres_connection import Connection, PostgresDatabase
from reprise.server.store.pseudonyms import KeyedHasher
from reprise.server.store.records import User, UserEvent
from reprise.server.store.tables.answer_rows import PAGE, answer_body, answer_of

TABLES = """
CREATE TABLE IF NOT EXISTS reprise.answers (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, recommendation text COLLATE "C" NOT NULL UNIQUE, tenant bytea NOT NULL,
    time_ms bigint NOT NULL, digest bytea, body text NOT NULL);
CREATE INDEX IF NOT EXISTS answers_of_users ON reprise.answers (digest) WHERE digest IS NOT NULL;
CREATE TABLE IF NOT EXISTS reprise.responses (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, recommendation text COLLATE "C" NOT NULL, tenant bytea NOT NULL,
    time_ms bigint NOT NULL, digest bytea NOT NULL, item_id text COLLATE "C" NOT NULL, kind text COLLATE "C",
    value double precision);
CREATE INDEX IF NOT EXISTS responses_of_users ON reprise.responses (digest);
ALTER TABLE reprise.answers ALTER digest SET STATISTICS 0, ALTER body SET STATISTICS 0;
ALTER TABLE reprise.responses ALTER digest SET STATISTICS 0, ALTER item_id SET STATISTICS 0;
"""
PRESENT = "SELECT to_regclass('reprise.answers') IS NOT NULL AND to_regclass('reprise.responses') IS NOT NULL"
ADD = """
INSERT INTO reprise.answers (recommendation, tenant, time_ms, digest, body)
    SELECT recommendation, decode(tenant, 'hex'), time_ms, decode(digest, 'hex'), body FROM json_to_recordset(%s::json)
    AS added (recommendation text, tenant text, time_ms bigint, digest text, body text)
    ON CONFLICT (recommendation) DO NOTHING
"""
ADD_RESPONSES = """
INSERT INTO reprise.responses (recommendation, tenant, time_ms, digest, item_id, kind, value)
    SELECT recommendation, decode(tenant, 'hex'), time_ms, decode(digest, 'hex'), item_id, kind, value
    FROM json_to_recordset(%s::json) AS added (recommendation text, tenant text, time_ms bigint, digest text, item_id text,
                                               kind text, value double precision)
"""
READ = """
SELECT id, recommendation, time_ms, digest, body FROM reprise.answers
    WHERE tenant = %s AND id > %s AND time_ms >= %s AND time_ms < %s ORDER BY id LIMIT %s
"""
READ_RESPONSES = """
SELECT id, recommendation, time_ms, item_id, kind, value, digest FROM reprise.responses
    WHERE tenant = %s AND id > %s AND time_ms >= %s AND time_ms < %s ORDER BY id LIMIT %s
"""
TRIM = """
DELETE FROM reprise.answers
    WHERE time_ms < %s OR id <= (SELECT id FROM reprise.answers ORDER BY id DESC LIMIT 1 OFFSET %s)
"""
TRIM_RESPONSES = "DELETE FROM reprise.responses WHERE time_ms < %s"


def open_answers(database: PostgresDatabase, advisory_lock: int) -> bool:
    """Create the tables if they are missing, and return whether they are there.

    A database of an earlier version has none. If the role may not create them, the store works without an answer log.

    Raises:
        StoreError: the server does not respond.
    """
    with database.connection() as connection:
        ((present,),) = connection.execute(PRESENT).fetchall()
        if present:
            return True
        try:
            with connection.transaction():
                connection.execute("SELECT pg_advisory_xact_lock(%s)", (advisory_lock,))
                connection.execute(TABLES)
        except InsufficientPrivilege:
            return False
    return True


def require_answers(database: PostgresDatabase, present: bool) -> None:
    """Raise `StoreError` if the tables are missing."""
    if not present:
        raise StoreError(
            f"{database.name} has no answer log, and the role may not create the tables reprise.answers and "
            "reprise.responses; open the store once as another role, which then grants it SELECT, INSERT, DELETE on them, or "
            "serve with --no-answer-log"
        )


def append_answers(database: PostgresDatabase, hasher: KeyedHasher, answers: Sequence[Answer]) -> None:
    """See `KeepsAnswers`."""
    rows = [
        {
            "recommendation": one.recommendation_id,
            "tenant": hasher.tenant(one.tenant).hex(),
            "time_ms": one.time_ms,
            "digest": None if one.user is None else hasher.user(one.user).hex(),
            "body": answer_body(one),
        }
        for one in answers
    ]
    database.retry(lambda connection: connection.execute(ADD, (json.dumps(rows),)), idempotent=True)


def add_responses(
    connection: Connection, hasher: KeyedHasher, responses: Iterable[tuple[User, UserEvent]]
) -> None:
    """Add events that carry the id of an answer within a transaction."""
    rows = [
        {
            "recommendation": event.recommendation_id,
            "tenant": hasher.tenant(user.tenant).hex(),
            "time_ms": event.time_ms,
            "digest": hasher.user(user).hex(),
            "item_id": event.item_id,
            "kind": event.kind,
            "value": event.value,
        }
        for user, event in responses
    ]
    connection.execute(ADD_RESPONSES, (json.dumps(rows),))


def read_answers(
    database: PostgresDatabase, hasher: KeyedHasher, tenant: str, since_ms: int, before_ms: int
) -> Iterator[Answer]:
    """See `KeepsAnswers.answers`."""
    last = 0
    while rows := database.rows(READ, (hasher.tenant(tenant), last, since_ms, before_ms, PAGE)):
        for _, recommendation, time_ms, digest, body in rows:
            yield answer_of(recommendation, time_ms, tenant, bytes(digest or b"").hex(), body)
        last = rows[-1][0]


def read_responses(
    database: PostgresDatabase, hasher: KeyedHasher, tenant: str, since_ms: int, before_ms: int
) -> Iterator[Response]:
    """See `KeepsAnswers.responses`."""
    last = 0
    while rows := database.rows(READ_RESPONSES, (hasher.tenant(tenant), last, since_ms, before_ms, PAGE)):
        for _, recommendation, time_ms, item, kind, value, digest in rows:
            yield Response(recommendation, time_ms, item, kind, value, bytes(digest).hex())
        last = rows[-1][0]


def trim_answers(database: PostgresDatabase, before_ms: int, keep: int) -> int:
    """See `KeepsAnswers`."""

    def trim(connection: Connection) -> int:
        with connection.transaction():
            count = connection.execute(TRIM, (before_ms, keep)).rowcount
            return int(count + connection.execute(TRIM_RESPONSES, (before_ms,)).rowcount)

    return database.retry(trim, idempotent=True)


def delete_answers(connection: Connection, digest: bytes) -> None:
    """Delete the answers and responses of a user within a transaction."""
    for table in ("answers", "responses"):
        connection.execute(f"DELETE FROM reprise.{table} WHERE digest = %s", (digest,))
