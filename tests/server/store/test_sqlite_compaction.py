"""Deletion of old events from a SQLite file: no copies of rows stay behind, and the space is used again."""

import random
import re
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from reprise.server.store import sqlite_compaction
from reprise.server.store.records import Status, User, UserEvent
from reprise.server.store.sqlite import SQLiteStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SQLiteStore]:
    with closing(SQLiteStore(tmp_path / "events.db")) as store:
        yield store


def compact(store: SQLiteStore, before_ms: int, **options: object) -> tuple[int, int]:
    *_, last = store.compact(before_ms, **options)  # type: ignore[arg-type]
    return last.events, last.users


def fill(store: SQLiteStore, first: int, count: int, generator: random.Random) -> list[int]:
    """Append events with the times `first` and later, most of them in order, by users of two tenants; return the times."""
    times_ms: list[int] = []
    for start in range(first, first + count, 100):
        batch = []
        for number in range(start, min(start + 100, first + count)):
            user = User(generator.choice(("shop", "rival")), f"person-{generator.randrange(300):05}")
            times_ms.append(number // 2 if generator.random() < 0.02 else number)
            item = f"item-{number:09}-" + "x" * generator.choice((0, 0, 50, 3000))
            batch.append((user, UserEvent(item, times_ms[-1], event_id=f"token-{number:09}")))
        store.append(batch)
    return times_ms


def rows(store: SQLiteStore) -> int:
    ((count,),) = store._database.rows("SELECT count(*) FROM events WHERE uid <> 0")
    return int(count)


@pytest.mark.parametrize("seed", range(2))
def test_deletions_can_be_verified_without_rewriting_the_file_after_compactions(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Freed rows leave no copies of other rows, which the verification of a later deletion would find."""
    generator = random.Random(seed)
    deleted = 0
    for round_ in range(3):
        fill(store, 6000 * round_, 6000, generator)
        events, _ = compact(store, 6000 * round_ + 3000)
        deleted += events
    assert rows(store) < 18_000 - deleted + 1500  # the rows are freed, not only overwritten
    compact(store, 16_500, tenant="shop")  # leaves many short runs between the events of the other tenant
    store._database.truncate_wal()
    found = Counter(re.findall(rb"token-\d{9}", store.path.read_bytes()))
    left = {
        event.event_id.encode()
        for tenant in ("shop", "rival")
        for number in range(300)
        for event in store.events_since(User(tenant, f"person-{number:05}")).events
        if event.event_id is not None
    }
    assert left == set(found) and set(found.values()) == {1}
    monkeypatch.setattr(store._database, "vacuum", None)
    for number in range(0, 300, 30):
        user = User("rival", f"person-{number:05}")
        store.delete_user(user)
        assert "no trace" in store.verify_erasure(user)


def test_new_events_use_the_space_of_deleted_ones(store: SQLiteStore) -> None:
    generator = random.Random(0)
    sizes = []
    for round_ in range(5):
        fill(store, 4000 * round_, 4000, generator)
        store._database.truncate_wal()
        sizes.append(store.path.stat().st_size)
        compact(store, 4000 * round_ + 3000)
    assert sizes[-1] < 1.7 * sizes[0]
    assert "rewritten" in store.vacuum()
    assert store.path.stat().st_size < sizes[0]


def test_a_compaction_that_was_stopped_is_finished_by_the_next_one(store: SQLiteStore) -> None:
    times_ms = fill(store, 0, 5000, random.Random(0))
    steps = store.compact(4000)
    first, second = next(steps), next(steps)
    steps.close()
    assert 0 < first.events < second.events and 0 < first.share < second.share < 1
    assert second.events + compact(store, 4000)[0] == sum(time_ms < 4000 for time_ms in times_ms)
    assert compact(store, 4000) == (0, 0)


def test_events_are_appended_and_read_during_a_compaction(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_compaction, "ROWS_PER_STEP", 50)
    anna = User("shop", "anna")
    store.append([(anna, UserEvent("p0", number)) for number in range(2000)])
    with closing(SQLiteStore(store.path)) as other, ThreadPoolExecutor(1) as pool:
        compacting = pool.submit(compact, other, 1000)
        added = 0
        while not compacting.done() or added < 5:
            assert store.append([(anna, UserEvent("p1", 5000))]) == [Status.ACCEPTED]
            added += 1
            events = store.events_since(anna).events
            assert [event.time_ms for event in events[-added:]] == [5000] * added
        assert compacting.result() == (1000, 1)
    left = store.events_since(anna).events
    assert len(left) == 1000 + added and min(event.time_ms or 0 for event in left) == 1000


def test_reading_the_events_of_a_user_skips_deleted_ones_also_with_a_limit(store: SQLiteStore) -> None:
    anna = User("shop", "anna")
    times = [9, 1, 8, 2, 7]
    store.append([(anna, UserEvent(f"p{time_ms}", time_ms)) for time_ms in times])
    assert compact(store, 5) == (2, 1)
    log = store.events_since(anna, limit=2)
    assert [event.item_id for event in log.events] == ["p9", "p8"]
    assert [
        event.item_id for event in store.events_since(anna, log.generation, log.events[-1].seq).events
    ] == ["p7"]
    assert store.delete_user(anna) == 3  # the overwritten events do not count
