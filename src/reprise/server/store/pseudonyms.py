"""Keyed digests: what stands in the indices of a log instead of ids. Without its secret they tell nobody anything."""

from hashlib import blake2b

from reprise.server.store.records import User

BYTES = 16


class KeyedHasher:
    """Those of one log. No id has a NUL in it, so no two things have the same parts."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def user(self, user: User) -> bytes:
        """Of a user."""
        return self._of(*user)

    def tenant(self, tenant: str) -> bytes:
        """Of a tenant."""
        return self._of("tenant", tenant, "")

    def event(self, tenant: str, event_id: str | None) -> bytes | None:
        """Return the keyed hash of an event id, which is unique within its tenant; None for an event without an id."""
        return None if event_id is None else self._of("event", tenant, event_id)

    def item(self, tenant: str, item_id: str) -> bytes:
        """Of an item of which a tenant said something."""
        return self._of("item", tenant, item_id)

    def _of(self, *parts: str) -> bytes:
        return blake2b("\0".join(parts).encode(), key=self._secret, digest_size=BYTES).digest()
