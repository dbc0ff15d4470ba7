"""The contract of a store with a queue of erased users: a part of the contract of an event store."""

import time

from reprise.server.store.event_store import Compactable, EventStore, KeepsErasures
from reprise.server.store.records import User, UserEvent

ANNA, BERT, UNUSUAL = User("shop", "anna"), User("shop", "bert"), User("shop", "Zoë 'x'; -- \"y\" \\ 🛒")
NAMESAKE = User("rival", "anna")
EVENT = UserEvent("p1", 1_700_000_000_000)


def check_erasures(store: EventStore, other: EventStore) -> None:
    """Check the contract of `KeepsErasures` with two handles of one store, if the store has a queue of erased users.

    Raises:
        AssertionError: the store breaks the contract; the message says how.
    """
    if not isinstance(store, KeepsErasures) or not isinstance(other, KeepsErasures):
        return
    forever_ms = time.time_ns() // 1_000_000 + 86_400_000
    for tenant in ("shop", "rival"):
        store.purge_erased(forever_ms, tenant)
        empty = other.erased_users(tenant)
        assert len(empty) == 0 and empty.newest_ms is None, "an empty queue must have no users and no time"
    store.append([(ANNA, EVENT), (BERT, EVENT), (NAMESAKE, EVENT)])
    before_ms = time.time_ns() // 1_000_000
    store.delete_user(ANNA)
    store.delete_user(UNUSUAL)
    for handle in (store, other):
        queue = handle.erased_users("shop")
        assert ANNA.user_id in queue, "a deleted user must be in the queue of every handle"
        assert UNUSUAL.user_id in queue, (
            "a user without events in the store must be in the queue after a deletion"
        )
        assert BERT.user_id not in queue and len(queue) == 2, (
            "a user who was not deleted must not be in the queue"
        )
        assert queue.newest_ms is not None and before_ms <= queue.newest_ms <= forever_ms, (
            "the time of the queue must be that of the newest deletion"
        )
        assert ANNA.user_id not in handle.erased_users("rival"), "the queues of tenants must be separate"
    store.append([(ANNA, EVENT)])
    assert ANNA.user_id in other.erased_users("shop"), "a deleted user with new events must stay in the queue"
    other.delete_user(ANNA)
    assert len(store.erased_users("shop")) == 2, "a user who is deleted again must be in the queue once"
    if isinstance(store, Compactable):
        for _ in store.compact(forever_ms, "shop"):
            pass
        assert BERT.user_id not in other.erased_users("shop"), "a compaction must not add users to the queue"
    store.delete_user(NAMESAKE)
    assert store.purge_erased(before_ms, "shop") == 0, "a purge must keep users who were deleted later"
    assert store.purge_erased(forever_ms, "shop") == 2, "a purge must return the number of removed users"
    for handle in (store, other):
        assert len(handle.erased_users("shop")) == 0, "purged users must not be in the queue"
        assert NAMESAKE.user_id in handle.erased_users("rival"), "a purge must not affect other tenants"
    assert store.purge_erased(forever_ms, "rival") == 1, "each tenant must be purged on its own"
