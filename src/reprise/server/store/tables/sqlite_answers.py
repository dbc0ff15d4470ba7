"""The answer log in a SQLite file: answers, and the events that carry the id of an answer. Users are keyed hashes."""

from collections.abc import Iterator, Sequence

from reprise.server.store.answer_log import Answer, Response
from reprise.server.store.pseudonyms import KeyedHasher
from reprise.server.store.records import User, UserEvent
from reprise.server.store.sqlite_connection import SQLiteDatabase, Writer
from reprise.server.store.tables.answer_rows import PAGE, answer_body, answer_of

TABLES = (
    """
CREATE TABLE IF NOT EXISTS answers (id INTEGER PRIMARY KEY, recommendation TEXT NOT NULL UNIQUE, tenant BLOB NOT NULL,
                                    time_ms INTEGER NOT NULL, user BLOB, body BLOB NOT NULL)
""",
    "CREATE INDEX IF NOT EXISTS answers_of_users ON answers (user) WHERE user IS NOT NULL",
    """
CREATE TABLE IF NOT EXISTS responses (id INTEGER PRIMARY KEY, recommendation TEXT NOT NULL, tenant BLOB NOT NULL,
                                      time_ms INTEGER NOT NULL, user BLOB NOT NULL, item TEXT NOT NULL, kind TEXT, value REAL)
""",
    "CREATE INDEX IF NOT EXISTS responses_of_users ON responses (user)",
)
ADD = "INSERT OR IGNORE INTO answers (recommendation, tenant, time_ms, user, body) VALUES (?, ?, ?, ?, ?)"
ADD_RESPONSE = """
INSERT INTO responses (recommendation, tenant, time_ms, user, item, kind, value) VALUES (?, ?, ?, ?, ?, ?, ?)
"""
READ = """
SELECT id, recommendation, time_ms, user, body FROM answers
    WHERE tenant = ? AND id > ? AND time_ms >= ? AND time_ms < ? ORDER BY id LIMIT ?
"""
READ_RESPONSES = """
SELECT id, recommendation, time_ms, item, kind, value, user FROM responses
    WHERE tenant = ? AND id > ? AND time_ms >= ? AND time_ms < ? ORDER BY id LIMIT ?
"""
TRIM = "DELETE FROM answers WHERE time_ms < ? OR id <= (SELECT id FROM answers ORDER BY id DESC LIMIT 1 OFFSET ?)"


def append_answers(database: SQLiteDatabase, hasher: KeyedHasher, answers: Sequence[Answer]) -> None:
    """See `KeepsAnswers`."""
    rows = [
        (
            one.recommendation_id, hasher.tenant(one.tenant), one.time_ms,
            None if one.user is None else hasher.user(one.user), answer_body(one).encode(),
        )
        for one in answers
    ]  # fmt: skip
    with database.transaction() as writer:
        writer.executemany(ADD, rows)


def add_response(writer: Writer, hasher: KeyedHasher, user: User, event: UserEvent) -> None:
    """Add an event that carries the id of an answer within a transaction."""
    writer.execute(
        ADD_RESPONSE,
        (
            event.recommendation_id, hasher.tenant(user.tenant), event.time_ms, hasher.user(user), event.item_id, event.kind,
            event.value,
        ),
    )  # fmt: skip


def read_answers(
    database: SQLiteDatabase, hasher: KeyedHasher, tenant: str, since_ms: int, before_ms: int
) -> Iterator[Answer]:
    """See `KeepsAnswers.answers`."""
    last = 0
    while rows := database.rows(READ, (hasher.tenant(tenant), last, since_ms, before_ms, PAGE)):
        for _, recommendation, time_ms, user, body in rows:
            yield answer_of(recommendation, time_ms, tenant, (user or b"").hex(), body)
        last = rows[-1][0]


def read_responses(
    database: SQLiteDatabase, hasher: KeyedHasher, tenant: str, since_ms: int, before_ms: int
) -> Iterator[Response]:
    """See `KeepsAnswers.responses`."""
    last = 0
    while rows := database.rows(READ_RESPONSES, (hasher.tenant(tenant), last, since_ms, before_ms, PAGE)):
        for _, recommendation, time_ms, item, kind, value, user in rows:
            yield Response(recommendation, time_ms, item, kind, value, user.hex())
        last = rows[-1][0]


def trim_answers(database: SQLiteDatabase, before_ms: int, keep: int) -> int:
    """See `KeepsAnswers`."""
    with database.transaction() as writer:
        count = writer.execute(TRIM, (before_ms, keep)).rowcount
        return int(count + writer.execute("DELETE FROM responses WHERE time_ms < ?", (before_ms,)).rowcount)


def delete_answers(writer: Writer, digest: bytes) -> None:
    """Delete the answers and responses of a user within a transaction. SQLite overwrites the bytes (`secure_delete`)."""
    for table in ("answers", "responses"):
        writer.execute(f"DELETE FROM {table} WHERE user = ?", (digest,))
