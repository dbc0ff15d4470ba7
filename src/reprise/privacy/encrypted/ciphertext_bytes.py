"""Ciphertexts as bytes of a fixed length, with which a sender cannot choose lengths, headers or compression.

SEAL reads streams with headers of its own. SEAL 4.4 corrected its handling of untrusted streams, and TenSEAL 0.3.18 has SEAL
4.3. So only numbers travel: the receiver checks their range, and puts its own headers before them. Each number of the query is
one ciphertext. The second polynomial of a new ciphertext is pseudorandom, so its seed is sent instead.
"""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from reprise.arrays import AnyArray
from reprise.errors import ConfigError, DataError
from reprise.privacy.encrypted.ckks_parameters import (
    DEGREE,
    HEADER,
    MAGIC,
    UNCOMPRESSED,
    ZSTD,
    CkksParameters,
)

SEED_BYTES = 64
PRIME_BYTES = (8, 5)
"""Bytes of a coefficient modulo each of the first two primes, which have 60 and 40 bits."""
QUERY_BYTES = sum(PRIME_BYTES) * DEGREE + SEED_BYTES
"""Bytes of the ciphertext of one number of a query."""
ANSWER_BYTES = 2 * 8 * DEGREE
"""Bytes of the ciphertext of the scores of a block of items."""
GENERATOR = b"\x01"
"""Code of the generator that expands seeds (BLAKE2xb)."""


def query_bytes(parameters: CkksParameters, stream: bytes) -> bytes:
    """Return the ciphertext of one number, given the stream in which SEAL saved it."""
    head, seed_head = parameters.query_head, _seed_head(parameters)
    content = _content(stream, len(head) + 16 * DEGREE + len(seed_head) + SEED_BYTES)
    numbers, end = content[len(head) : len(head) + 16 * DEGREE], content[len(head) + 16 * DEGREE :]
    if not (content.startswith(head) and end.startswith(seed_head)):
        raise ConfigError(
            "this version of TenSEAL writes ciphertexts in another form; install tenseal 0.3.18"
        )
    rows = np.frombuffer(numbers, dtype=np.uint8).reshape(2, DEGREE, 8)
    packed = [row[:, :size].tobytes() for row, size in zip(rows, PRIME_BYTES, strict=True)]
    return b"".join([*packed, end[len(seed_head) :]])


def query_streams(parameters: CkksParameters, data: bytes, width: int) -> Iterator[bytes]:
    """Yield the stream of each number of a query for SEAL.

    Args:
        parameters: The parameters.
        data: `query_head`, then the ciphertexts.
        width: Number of numbers of a query, D.

    Raises:
        DataError: the data are too short or too long, have other parameters, or a coefficient is not below its prime.
    """
    head = parameters.query_head
    if data[: len(head)] != head[: len(data)]:
        raise DataError(
            "the ciphertexts have other CKKS parameters or come from another version of SEAL; encrypt the query with the same "
            f"version of TenSEAL and N = {DEGREE}"
        )
    wanted = len(head) + width * QUERY_BYTES
    if len(data) != wanted:
        fault = "truncated" if len(data) < wanted else "too long"
        raise DataError(
            f"the ciphertexts are {fault}: {len(data)} bytes instead of {wanted} for the {width} numbers of a query; "
            "send one ciphertext for each number"
        )
    for number in range(width):
        start = len(head) + number * QUERY_BYTES
        yield _query_stream(parameters, data[start : start + QUERY_BYTES], number)


def _query_stream(parameters: CkksParameters, ciphertext: bytes, number: int) -> bytes:
    numbers = np.zeros((2, DEGREE, 8), dtype=np.uint8)
    start = 0
    for row, size in zip(numbers, PRIME_BYTES, strict=True):
        row[:, :size] = np.frombuffer(ciphertext, np.uint8, size * DEGREE, start).reshape(DEGREE, size)
        start += size * DEGREE
    _check_range(numbers.view("<u8")[:, :, 0], parameters.primes[:2], f"ciphertext {number}")
    return parameters.stream(
        parameters.query_head + numbers.tobytes() + _seed_head(parameters) + ciphertext[start:]
    )


def answer_bytes(parameters: CkksParameters, stream: bytes) -> bytes:
    """Return the ciphertext of the scores of a block, given the stream in which SEAL saved it."""
    head = parameters.answer_head
    content = _content(stream, len(head) + ANSWER_BYTES)
    assert content.startswith(head), "an answer has one prime and the scale of a product"
    return content[len(head) :]


def answer_streams(parameters: CkksParameters, data: bytes, blocks: int) -> Iterator[bytes | None]:
    """Yield the stream of each block of scores for SEAL; None if all scores of the block are zero.

    Raises:
        DataError: the data are too short or too long, or a coefficient is not below its prime.
    """
    if len(data) != blocks * ANSWER_BYTES:
        raise DataError(
            f"the answer has {len(data)} bytes instead of {blocks * ANSWER_BYTES}; the server is faulty or was stopped"
        )
    for block in range(blocks):
        numbers = data[block * ANSWER_BYTES : (block + 1) * ANSWER_BYTES]
        coefficients = np.frombuffer(numbers, dtype="<u8").reshape(1, -1)
        _check_range(coefficients, parameters.primes[:1], f"block {block} of the answer")
        yield parameters.stream(parameters.answer_head + numbers) if coefficients.any() else None


def _check_range(coefficients: AnyArray, primes: list[int], name: str) -> None:
    for row, prime in zip(coefficients, primes, strict=True):
        if int(row.max()) >= prime:
            raise DataError(
                f"{name} has a coefficient that is not below its prime {prime}; encrypt the query again"
            )


def _seed_head(parameters: CkksParameters) -> bytes:
    """Return the bytes before a seed."""
    return parameters.stream(GENERATOR + bytes(SEED_BYTES))[: HEADER.size + 1]


def _content(stream: bytes, size: int) -> bytes:
    """Return the content of a stream that this process has saved, without compression."""
    magic, header, _, _, compression, _, _ = HEADER.unpack(stream[: HEADER.size])
    if (magic, header) != (MAGIC, HEADER.size) or compression not in (UNCOMPRESSED, ZSTD):
        raise ConfigError(
            "this version of TenSEAL writes ciphertexts in another form; install tenseal 0.3.18"
        )
    if compression == UNCOMPRESSED:
        return stream[HEADER.size :]
    with pa.CompressedInputStream(pa.BufferReader(stream[HEADER.size :]), "zstd") as source:
        content: bytes = source.read(size + 1)
    return content
