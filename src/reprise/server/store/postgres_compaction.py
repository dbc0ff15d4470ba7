"""Deletion of old events from PostgreSQL, in small transactions over a few users each."""

import json
import secrets
from collections.abc import Callable, Iterator, Sequence

from reprise.server.store.event_store import ITEM_CHANGES_KEPT
from reprise.server.store.postgres_connection import Connection, PostgresDatabase, committing
from reprise.server.store.postgres_schema import has_states
from reprise.server.store.records import Compaction

USERS_PER_STEP = 200
"""Maximum number of users that one transaction locks."""
EVENTS_PER_STEP = 5_000
"""Maximum number of events that one transaction deletes."""

USERS = """
SELECT uid FROM reprise.users WHERE uid > %s AND (%s::text IS NULL OR tenant = %s) ORDER BY uid LIMIT %s
"""
OLD = "SELECT uid, count(*) FROM reprise.events WHERE uid = ANY (%s) AND time_ms < %s GROUP BY uid"
# all writers lock users in the same order, which prevents deadlocks
LOCK = "SELECT uid, generation FROM reprise.users WHERE uid = ANY (%s) ORDER BY digest FOR UPDATE"
DELETE = """
DELETE FROM reprise.events WHERE (uid, seq) IN (
    SELECT uid, seq FROM reprise.events WHERE uid = ANY (%s) AND time_ms < %s LIMIT %s)
"""
WITH_EVENTS = """
SELECT uid FROM unnest(%s::bigint[]) AS locked (uid)
    WHERE EXISTS (SELECT 1 FROM reprise.events AS e WHERE e.uid = locked.uid)
"""
NEW_GENERATIONS = """
UPDATE reprise.users AS u SET generation = new.generation
    FROM json_to_recordset(%s::json) AS new (uid bigint, generation bigint) WHERE u.uid = new.uid
"""

FORGET_ITEMS = """
DELETE FROM reprise.items WHERE body::text = 'null' AND version <= (
    SELECT value::bigint FROM reprise.meta WHERE name = 'items') - %s RETURNING version
"""

EraseUser = Callable[[Connection, int, int], None]
"""Deletes the row of a user who has no events left, given the row id and the generation."""


def compact_tables(
    database: PostgresDatabase,
    begin: str,
    before_ms: int,
    tenant: str | None,
    dry_run: bool,
    erase_user: EraseUser,
) -> Iterator[Compaction]:
    """See `Compactable.compact`."""
    ((last,),) = database.rows("SELECT coalesce(max(uid), 0) FROM reprise.users", ())
    count, user_count, position = 0, 0, 0
    while users := database.rows(USERS, (position, tenant, tenant, USERS_PER_STEP)):
        uids = [uid for (uid,) in users]
        old = database.rows(OLD, (uids, before_ms))
        user_count += len(old)
        if dry_run:
            count += sum(events for _, events in old)
        elif old:
            count += _delete_all(database, begin, [uid for uid, _ in old], before_ms, erase_user)
        position = uids[-1]
        yield Compaction(count, user_count, min(1.0, position / last))
    if not dry_run:
        database.rows(FORGET_ITEMS, (ITEM_CHANGES_KEPT,))
    yield Compaction(count, user_count, 1.0)


def _delete_all(
    database: PostgresDatabase, begin: str, users: Sequence[int], before_ms: int, erase_user: EraseUser
) -> int:
    """Delete the old events of users in as many transactions as needed; return their number."""

    def step(connection: Connection) -> int:
        connection.execute(begin)
        return _delete(connection, users, before_ms, erase_user)

    count = 0
    while True:
        deleted = database.retry(step, idempotent=True)
        count += deleted
        if deleted < EVENTS_PER_STEP:
            return count


def _delete(connection: Connection, users: Sequence[int], before_ms: int, erase_user: EraseUser) -> int:
    """Delete old events of users and give the users a new generation, so that no state with these events is used."""
    generations: dict[int, int] = dict(connection.execute(LOCK, ([*users],)).fetchall())
    # a separate statement: it sees the events of writers whose commit the first one waited for
    deleted = connection.execute(DELETE, ([*generations], before_ms, EVENTS_PER_STEP)).rowcount
    kept = {uid for (uid,) in connection.execute(WITH_EVENTS, ([*generations],))}
    new = [{"uid": uid, "generation": 2**61 + secrets.randbits(61)} for uid in kept]
    connection.execute(NEW_GENERATIONS, (json.dumps(new),))
    if has_states(connection):  # those with the deleted events
        connection.execute("DELETE FROM reprise.states WHERE uid = ANY (%s)", ([*generations],))
    for uid, generation in generations.items():
        if uid not in kept:
            erase_user(connection, uid, generation)
    with committing():
        connection.execute("COMMIT")
    return deleted
