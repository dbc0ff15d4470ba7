"""Keyed hashes that replace ids in the indices of a store. Without the key they do not reveal the ids."""

from reprise.data.erased_users import ErasedUsers, hash_erased
from reprise.keyed_hash import keyed_hash
from reprise.server.store.records import User


class KeyedHasher:
    """The keyed hashes of one store."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def user(self, user: User) -> bytes:
        """Return the keyed hash of a user."""
        return keyed_hash(self._key, *user)

    def tenant(self, tenant: str) -> bytes:
        """Return the keyed hash of a tenant."""
        return keyed_hash(self._key, "tenant", tenant, "")

    def event(self, tenant: str, event_id: str | None) -> bytes | None:
        """Return the keyed hash of an event id, which is unique within its tenant; None for an event without an id."""
        return None if event_id is None else keyed_hash(self._key, "event", tenant, event_id)

    def item(self, tenant: str, item_id: str) -> bytes:
        """Return the keyed hash of an item of a tenant."""
        return keyed_hash(self._key, "item", tenant, item_id)

    def erased(self, user: User) -> bytes:
        """Return the keyed hash of a user in the queue of erased users, which differs from that in the index of users."""
        return hash_erased(self._key, *user)

    def erased_users(self, tenant: str, digests: frozenset[bytes], newest_ms: int | None) -> ErasedUsers:
        """Return the queue of a tenant, given the keyed hashes in it and the time of its newest entry."""
        return ErasedUsers(digests, self._key, tenant, newest_ms)
