"""Keyed hashes that replace ids: in the indices of an event store, in the queue of erased users, and in a log."""

from hashlib import blake2b

BYTES = 16
"""Length of a keyed hash, in bytes."""


def keyed_hash(key: bytes, *parts: str) -> bytes:
    """Return the keyed BLAKE2b hash of some texts (RFC 7693, keyed mode), [BYTES]. Without the key it does not reveal them.

    The parts are joined with NUL characters. Ids contain no NUL, so different parts give different inputs.

    Args:
        key: At most 64 bytes.
        *parts: Texts. The first one says what the others mean, so that hashes of two kinds of id are not related.
    """
    return blake2b("\0".join(parts).encode(), key=key, digest_size=BYTES).digest()
