"""The contract of an event store for item changes: their order, their versions and their deletion."""

from reprise.server.store.event_store import Compactable, EventStore


def check_item_changes(store: EventStore, other: EventStore) -> None:
    """Check that the last change of each item is kept."""
    start = max((change.version for change in store.items_since(0)), default=0)
    first = store.put_item("shop", "p1", {"title": "Läufer", "price": 2.5, "available": True, "size": None})
    second = other.put_item("shop", "p1", {"price": 3})
    third = store.put_item("rival", "p1", {"price": 4})
    assert start < first < second < third, "versions must grow, whichever handle changes an item"
    changes = [change[1:] for change in other.items_since(start)]
    assert changes == [("shop", "p1", {"price": 3}), ("rival", "p1", {"price": 4})], (
        "items_since must return only the last change of each item"
    )
    assert store.items_since(third) == [], "items_since must return only later changes"


def check_item_deletions(store: EventStore, other: EventStore) -> None:
    """Check that changes of items can be deleted, and that all readers receive the deletions."""
    start = store.put_item("shop", "p1", {"title": "One"})
    store.put_item("shop", "p2", {"title": "Two"})
    deleted = other.delete_item("shop", "p1")
    assert deleted is not None and deleted > start, "a deletion must get a version of its own"
    for handle in (store, other):
        changes = [change[1:] for change in handle.items_since(start)]
        assert changes == [("shop", "p2", {"title": "Two"}), ("shop", "p1", None)], (
            "items_since must return a deletion as a change without values"
        )
    for handle in (store, other):
        assert handle.delete_item("shop", "p1") is None, "a second deletion must change nothing"
        assert handle.delete_item("rival", "p2") is None, "a deletion must not affect another tenant"
        assert handle.delete_item("shop", "never changed") is None, "an item without changes must be accepted"
    again = store.put_item("shop", "p1", {"price": 5})
    assert again > deleted, "versions must grow after a deletion"
    assert [change[1:] for change in other.items_since(deleted)] == [("shop", "p1", {"price": 5})], (
        "an item must be changeable after a deletion"
    )
    if isinstance(store, Compactable):
        assert (store.delete_item("shop", "p1") or 0) > again, "a changed item must be deleted"
        list(store.compact(0))
        assert [change.values for change in other.items_since(again)] == [None], (
            "a compaction must keep new deletions of items"
        )
