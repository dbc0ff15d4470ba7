"""Digests: the same for the same thing of the same log, and for nothing else."""

from reprise.server.store.pseudonyms import BYTES, KeyedHasher
from reprise.server.store.records import User


def all_of(digests: KeyedHasher) -> list[bytes]:
    user, other = User("shop", "anna"), User("shopa", "nna")
    event = digests.event("shop", "e")
    assert event is not None
    return [
        digests.user(user), digests.user(other), digests.user(User("tenant", "shop")), digests.tenant("shop"),
        digests.item("shop", "anna"), digests.item("shop", "e"), event,
    ]  # fmt: skip


def test_no_two_things_and_no_two_logs_have_the_same() -> None:
    first, second = all_of(KeyedHasher(b"a" * 32)), all_of(KeyedHasher(b"b" * 32))
    assert len({*first, *second}) == len(first) + len(second)
    assert all(len(digest) == BYTES for digest in first)
    assert first == all_of(KeyedHasher(b"a" * 32))


def test_hashes_of_event_ids_differ_between_tenants() -> None:
    digests = KeyedHasher(b"a" * 32)
    assert digests.event("shop", "e") != digests.event("rival", "e")
    assert digests.event("shop", None) is None
