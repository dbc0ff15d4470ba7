"""Keyed hashes: deterministic for one key, and different for different ids and keys."""

from reprise.server.store.pseudonyms import BYTES, KeyedHasher
from reprise.server.store.records import User


def hashes(hasher: KeyedHasher) -> list[bytes]:
    """Return hashes of ids that would collide if their kinds or parts were confused."""
    user, other = User("shop", "anna"), User("shopa", "nna")
    event = hasher.event("shop", "e")
    assert event is not None
    return [
        hasher.user(user), hasher.user(other), hasher.user(User("tenant", "shop")), hasher.tenant("shop"),
        hasher.item("shop", "anna"), hasher.item("shop", "e"), event,
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
