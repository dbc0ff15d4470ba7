"""Keyed hashes: deterministic for one key, and different for different ids and keys."""

from reprise.keyed_hash import BYTES
from reprise.server.store.pseudonyms import KeyedHasher
from reprise.server.store.records import User


def hashes(hasher: KeyedHasher) -> list[bytes]:
    """Return hashes of ids that would collide if their kinds or parts were confused."""
    user, other = User("shop", "anna"), User("shopa", "nna")
    event = hasher.event("shop", "e")
    assert event is not None
    return [
        hasher.user(user), hasher.user(other), hasher.user(User("tenant", "shop")), hasher.tenant("shop"),
        hasher.item("shop", "anna"), hasher.item("shop", "e"), event, hasher.erased(user), hasher.erased(other),
    ]  # fmt: skip


def test_hashes_differ_between_ids_and_between_keys() -> None:
    first, second = hashes(KeyedHasher(b"a" * 32)), hashes(KeyedHasher(b"b" * 32))
    assert len({*first, *second}) == len(first) + len(second)
    assert all(len(one) == BYTES for one in first)
    assert first == hashes(KeyedHasher(b"a" * 32))


def test_hashes_of_event_ids_differ_between_tenants() -> None:
    hasher = KeyedHasher(b"a" * 32)
    assert hasher.event("shop", "e") != hasher.event("rival", "e")
    assert hasher.event("shop", None) is None


def test_hashes_of_existing_stores_do_not_change() -> None:
    hasher = KeyedHasher(b"a" * 32)
    event = hasher.event("shop", "e")
    assert hasher.user(User("shop", "anna")).hex() == "554b63da8b162085f3332661cc6bdb8f"
    assert event is not None and event.hex() == "618ef1057abfe631a0eab419b02fb9a9"
