"""Keyed hashes that replace ids in the indices of a store. Without the key they do not reveal the ids."""

from hashlib import blake2b

from reprise.server.store.records import User

BYTES = 16


class KeyedHasher:
    """The keyed hashes of one store.

    The parts of a hash are joined with NUL characters. Ids contain no NUL, so different parts give different inputs.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def user(self, user: User) -> bytes:
        """Return the keyed hash of a user."""
        return self._hash(*user)

    def tenant(self, tenant: str) -> bytes:
        """Return the keyed hash of a tenant."""
        return self._hash("tenant", tenant, "")

    def event(self, tenant: str, event_id: str | None) -> bytes | None:
        """Return the keyed hash of an event id, which is unique within its tenant; None for an event without an id."""
        return None if event_id is None else self._hash("event", tenant, event_id)

    def item(self, tenant: str, item_id: str) -> bytes:
        """Return the keyed hash of an item of a tenant."""
        return self._hash("item", tenant, item_id)

    def _hash(self, *parts: str) -> bytes:
        return blake2b("\0".join(parts).encode(), key=self._key, digest_size=BYTES).digest()
