"""The encryption of one query and the decryption of its scores, with a key that is used for no other query.

Li and Micciancio (2021) recover the key of CKKS from a ciphertext and its decrypted result. So a result must not be sent back,
and a new key for each query limits what a careless caller loses to one query. Shape letters: D width, I items.
"""

import math

import numpy as np

from reprise.arrays import AnyArray, Float64Array
from reprise.errors import DataError
from reprise.privacy.encrypted.ciphertext_bytes import answer_streams, query_bytes
from reprise.privacy.encrypted.ckks_parameters import (
    DEGREE,
    SCALE,
    CkksParameters,
    loaded_ciphertexts,
    saved,
)

MAX_NORM = 2.0**17
"""Largest norm of an encrypted query: products of numbers up to four times as large still fit the first prime."""
BLOCK = DEGREE
"""Number of items of a block: two in each of N / 2 complex slots."""


class QueryEncryption:
    """A new secret key, for one query. It is in the memory of this process only, and nothing here writes it."""

    def __init__(self, parameters: CkksParameters) -> None:
        self._parameters = parameters
        seal, context = parameters.seal, parameters.context
        key = seal.KeyGenerator(context).secret_key()
        self._encryptor, self._decryptor = seal.Encryptor(context, key), seal.Decryptor(context, key)
        self._encoder = seal.CKKSEncoder(context)
        self._bound = 0.0

    def encrypt(self, query_D: AnyArray) -> bytes:
        """Return the ciphertexts of a query, one for each number.

        Raises:
            DataError: a number is not finite, or the norm is above `MAX_NORM`.
        """
        norm = float(np.linalg.norm(query_D.astype(np.float64)))
        if not norm <= MAX_NORM:
            raise DataError(
                f"the query has the norm {norm:g}, and the largest one that can be encrypted is {MAX_NORM:g}"
            )
        self._bound = norm
        ciphertexts = []
        for number in query_D.tolist():
            plain = self._parameters.seal.Plaintext()
            self._encoder.encode(float(number), SCALE, plain)
            ciphertexts.append(self._encryptor.encrypt_symmetric(plain))
        streams = saved(ciphertexts)
        head = self._parameters.query_head
        return head + b"".join(query_bytes(self._parameters, stream) for stream in streams)

    def decrypt(self, answer: bytes, items: int) -> Float64Array:
        """Return the scores of an answer, [I]: products of the query with vectors of norm 1 or less.

        Args:
            answer: The ciphertexts, one for each block of items.
            items: Number of items, I.

        Raises:
            DataError: the answer has another length, or does not decrypt with the key to scores of this query.
        """
        parts = []
        for stream in answer_streams(self._parameters, answer, math.ceil(items / BLOCK)):
            if stream is None:
                parts.append(np.zeros(BLOCK))
                continue
            (ciphertext,) = loaded_ciphertexts(self._parameters, [stream])
            plain = self._parameters.seal.Plaintext()
            self._decryptor.decrypt(ciphertext, plain)
            slots = np.array(self._encoder.decode_complex(plain))
            parts += [slots.real, slots.imag]
        score_I: Float64Array = np.concatenate(parts)[:items] if parts else np.empty(0)
        # the product with a vector of norm 1 is at most the norm of the query; another key gives numbers near 2**19
        if not np.abs(score_I).max(initial=0.0) <= self._bound * (1 + 1e-6) + 1e-6:
            raise DataError(
                "the answer does not decrypt to scores of this query: it was computed for another key, or the server is faulty"
            )
        return score_I
