"""Deletion of old events from a SQLite file, and reuse of their space.

Events are overwritten in place, as the events of deleted users are, so that no copy of a row stays behind. Afterwards rows
are freed where a long run of them is overwritten. SQLite then rearranges the pages of that run only: rows next to the run
are kept, so that pages with other events do not take part, which would leave copies of their rows.
"""

import secrets
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterator

from reprise.server.store.event_store import ITEM_CHANGES_KEPT
from reprise.server.store.records import Compaction
from reprise.server.store.sqlite_connection import SQLiteDatabase
from reprise.server.store.tables import sqlite_states

ROWS_PER_STEP = 1_000
"""Number of rows that one transaction reads."""
KEPT_BYTES = 20_480
"""Bytes of overwritten rows that are kept at both ends of a run. SQLite balances a page with one neighbour on each side, so
this is more than the three pages that a row can affect."""
LOCAL_BYTES = 489
"""Smallest part of a long row that SQLite stores in the page of the row; the rest is on pages of its own."""

TIME = "CASE WHEN substr(body, 1, 1) = x'5b' THEN json_extract(CAST(body AS TEXT), '$[3]') END"
TENANT = "CASE WHEN substr(body, 1, 1) = x'5b' THEN json_extract(CAST(body AS TEXT), '$[0]') END"
OLD = f"""
SELECT id, uid FROM events
    WHERE id > :start AND id <= :end AND {TIME} < :before_ms AND (:tenant IS NULL OR {TENANT} = :tenant)
"""
OVERWRITE = """
UPDATE events SET body = zeroblob(length(body)),
    digest = CASE WHEN digest IS NULL THEN NULL ELSE randomblob(16) END WHERE id = ?
"""
HAS_EVENTS = "SELECT 1 FROM events WHERE uid = ? AND substr(body, 1, 1) = x'5b' ORDER BY seq DESC LIMIT 1"
SCAN = """
SELECT id, substr(body, 1, 1) = x'00' AND uid <> 0, min(length(body), ?) FROM events WHERE id > ? ORDER BY id LIMIT ?
"""

FORGET_ITEMS = """
DELETE FROM items WHERE body = CAST('null' AS BLOB) AND version <= (SELECT max(version) FROM items) - ?
"""

EraseUser = Callable[[sqlite3.Connection, int, int], None]
"""Deletes the row of a user who has no events left, given the row id and the generation."""


def compact_file(
    database: SQLiteDatabase, before_ms: int, tenant: str | None, dry_run: bool, erase_user: EraseUser
) -> Iterator[Compaction]:
    """See `Compactable.compact`."""
    ((last,),) = database.rows("SELECT coalesce(max(id), 0) FROM events")
    count, users = 0, set[int]()
    for start in range(0, last, ROWS_PER_STEP):
        start_s = time.monotonic()
        parameters = {"start": start, "end": start + ROWS_PER_STEP, "before_ms": before_ms, "tenant": tenant}
        found = database.rows(OLD, parameters)
        if found and not dry_run:
            with database.transaction() as writer:
                found = writer.execute(OLD, parameters).fetchall()
                _overwrite(writer, found, erase_user)
            _let_others_write(start_s)
        count += len(found)
        users |= {uid for _, uid in found}
        yield Compaction(count, len(users), 0.8 * min(1.0, (start + ROWS_PER_STEP) / last))
    if not dry_run:
        with database.transaction() as writer:
            writer.execute(FORGET_ITEMS, (ITEM_CHANGES_KEPT,))
        for done in _free_runs(database, last):
            yield Compaction(count, len(users), 0.8 + 0.2 * done)
    yield Compaction(count, len(users), 1.0)


def _overwrite(writer: sqlite3.Connection, found: list[tuple[int, int]], erase_user: EraseUser) -> None:
    """Overwrite events, delete the stored states of their users, and give the users a new generation.

    With the new generation, no process uses a state that has read these events.
    """
    writer.executemany(OVERWRITE, [(row_id,) for row_id, _ in found])
    for uid in {uid for _, uid in found}:
        sqlite_states.delete_state(writer, uid)
        if writer.execute(HAS_EVENTS, (uid,)).fetchone():
            new = 2**62 + secrets.randbits(61)
            writer.execute("UPDATE users SET generation = ? WHERE uid = ?", (new, uid))
        else:
            (generation,) = writer.execute("SELECT generation FROM users WHERE uid = ?", (uid,)).fetchone()
            erase_user(writer, uid, generation)


def _free_runs(database: SQLiteDatabase, last: int) -> Iterator[float]:
    """Delete the rows inside long runs of overwritten rows; yield the share of the rows that was looked at."""
    position, from_start = 0, 0
    at_end: deque[tuple[int, int]] = deque()
    end_bytes = 0
    while rows := database.rows(SCAN, (LOCAL_BYTES, position, ROWS_PER_STEP)):
        inside = []
        for row_id, overwritten, size in rows:
            if not overwritten:
                from_start, end_bytes = 0, 0
                at_end.clear()
            elif from_start < KEPT_BYTES:
                from_start += size
            else:
                at_end.append((row_id, size))
                end_bytes += size
                while end_bytes - at_end[0][1] >= KEPT_BYTES:
                    removed, removed_bytes = at_end.popleft()
                    end_bytes -= removed_bytes
                    inside.append((removed,))
        if inside:
            start_s = time.monotonic()
            with database.transaction() as writer:
                writer.executemany("DELETE FROM events WHERE id = ?", inside)
            _let_others_write(start_s)
        position = rows[-1][0]
        yield min(1.0, position / max(1, last))


def _let_others_write(start_s: float) -> None:
    """Pause for as long as the last step took: servers that use the file get half of the time."""
    time.sleep(time.monotonic() - start_s)
