"""Digests: the same for the same thing of the same log, and for nothing else."""

from reprise.server.store.pseudonyms import BYTES, KeyedHasher
from reprise.server.store.records import NewEvent, User


def all_of(digests: KeyedHasher) -> list[bytes]:
    user, other = User("shop", "anna"), User("shopa", "nna")
    event = digests.event(NewEvent(user, "p1", 0, event_id="e"))
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


def test_an_event_id_is_known_within_its_tenant_whoever_sends_it() -> None:
    digests = KeyedHasher(b"a" * 32)
    anna, bert = (
        digests.event(NewEvent(User("shop", name), "p1", 0, event_id="e")) for name in ("anna", "bert")
    )
    assert anna == bert != digests.event(NewEvent(User("rival", "anna"), "p1", 0, event_id="e"))
    assert digests.event(NewEvent(User("shop", "anna"), "p1", 0)) is None
