"""The body of a request for encrypted scores: a JSON header with what is public, then the ciphertexts.

The body is the length of the header (4 bytes, little-endian), the header in UTF-8, and the result of `QueryEncryption.encrypt`.
"""

import json
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

from reprise.errors import ConfigError, DataError
from reprise.privacy.encrypted.ckks_parameters import DEGREE, MODULI_BITS, check_parameters

LENGTH = struct.Struct("<I")
MAX_HEADER_BYTES = 2**20
"""Largest header: a list of about 50,000 ids."""
MEDIA_TYPE = "application/octet-stream"
FACTS_PATH, SCORES_PATH = "/v1/encrypted", "/v1/encrypted/scores"
"""Paths of the description of the model and of the scores."""
CONTEXT_START = b"\x5e\xa1"
"""Bytes 2 and 3 of a context that TenSEAL has serialised, which may hold a secret key."""


class SecretKeyError(DataError):
    """The body may hold a secret key."""


class ScoringRequest(NamedTuple):
    """What a request says in the clear, and its ciphertexts."""

    model: str
    """Checksum of the output vectors of the model for which the client has its folder."""
    item_ids: list[Any] | None
    """Candidates; None: all items."""
    query: bytes
    """The ciphertexts."""


def write_request(model: str, query: bytes, item_ids: Sequence[Any] | None = None) -> bytes:
    """Return the body of a request."""
    fields = {
        "degree": DEGREE,
        "moduli_bits": MODULI_BITS,
        "model": model,
        "items": None if item_ids is None else list(item_ids),
    }
    header = json.dumps(fields).encode()
    return LENGTH.pack(len(header)) + header + query


def read_request(body: bytes) -> ScoringRequest:
    """Return the request of a body. The ciphertexts are not read yet.

    Raises:
        SecretKeyError: the body is a context of TenSEAL.
        ConfigError: the parameters are not those of the server.
        DataError: the header cannot be read.
    """
    if body[:1] == b"\n" and body[2:4] == CONTEXT_START:
        raise SecretKeyError(
            "the body is a context of TenSEAL, which may hold a secret key, and it was not read; make a new key, keep it, and "
            "send ciphertexts only"
        )
    header = _header(body)
    known = {"degree", "moduli_bits", "model", "items"}
    if not isinstance(header, dict) or header.keys() != known:
        raise DataError(
            f"the header of the body is not an object with {', '.join(sorted(known))}; send these fields"
        )
    degree, bits = header["degree"], header["moduli_bits"]
    if type(degree) is not int or not isinstance(bits, list) or not all(type(one) is int for one in bits):
        raise ConfigError(
            "degree is a whole number and moduli_bits a list of whole numbers; send the CKKS parameters"
        )
    check_parameters(degree, bits)
    items = header["items"]
    if not isinstance(header["model"], str) or not (items is None or _is_list_of_ids(items)):
        raise DataError(
            "model is a checksum, and items is null or a list of one or more different ids; send these"
        )
    start = LENGTH.size + LENGTH.unpack(body[: LENGTH.size])[0]
    return ScoringRequest(header["model"], items, body[start:])


def _header(body: bytes) -> Any:
    remedy = "send its length in 4 bytes, a JSON header, and the ciphertexts"
    if len(body) < LENGTH.size:
        raise DataError(f"the body is truncated: it has {len(body)} bytes; {remedy}")
    (length,) = LENGTH.unpack(body[: LENGTH.size])
    if length > MAX_HEADER_BYTES or length > len(body) - LENGTH.size:
        raise DataError(
            f"the first 4 bytes of the body announce a header of {length} bytes, but the body has {len(body)} bytes, and a "
            f"header has at most {MAX_HEADER_BYTES}; {remedy}"
        )
    try:
        return json.loads(body[LENGTH.size : LENGTH.size + length])
    except (ValueError, RecursionError) as error:
        raise DataError(f"the header of the body is not JSON ({error}); {remedy}") from None


def _is_list_of_ids(items: Any) -> bool:
    is_list = isinstance(items, list) and len(items) > 0
    return is_list and all(type(one) in (int, str) for one in items) and len(set(items)) == len(items)
