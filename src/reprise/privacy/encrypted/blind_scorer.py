"""Scores of items for an encrypted query: the scorer has the item vectors and no key.

The query comes as one ciphertext for each of its D numbers. A block of 8,192 items is encoded as D plaintexts, with two items
in each complex slot. The sum over D of ciphertext times plaintext is the ciphertext of the block's scores. Nothing is rotated
or multiplied by another ciphertext, so no key is needed at all. Shape letters: I items, D width, S slots, M items of a block, B
items of a block with padding.
"""

from typing import Any

import numpy as np

from reprise.arrays import AnyArray, Float64Array
from reprise.privacy.encrypted.ciphertext_bytes import ANSWER_BYTES, answer_bytes, query_streams
from reprise.privacy.encrypted.ckks_parameters import (
    SCALE,
    CkksParameters,
    loaded_ciphertexts,
    saved,
)
from reprise.privacy.encrypted.query_encryption import BLOCK

Blocks = list[list[Any]]
"""Encoded vectors: for each block of items the plaintext of each of the D numbers; None if they are all zero."""


class BlindScorer:
    """Item vectors, encoded for products with encrypted queries. They take 16 bytes a number: 1 KB an item of width 64."""

    def __init__(self, vectors_ID: AnyArray, parameters: CkksParameters | None = None) -> None:
        """Encode the item vectors as plaintexts. This takes about 5 us per item at width 64.

        Raises:
            ConfigError: TenSEAL is not installed.
        """
        self._parameters = CkksParameters() if parameters is None else parameters
        seal = self._parameters.seal
        self._encoder, self._evaluator = (
            one(self._parameters.context) for one in (seal.CKKSEncoder, seal.Evaluator)
        )
        self.width = vectors_ID.shape[1]
        vectors_ID = vectors_ID.astype(np.float64)
        self.norm = float(np.linalg.norm(vectors_ID, axis=1).max(initial=0.0)) or 1.0
        """Largest norm of a vector. The vectors are divided by it, and a client multiplies its query by it: the noise of the
        encryption grows with the norm of the vectors, so the error of a score would too."""
        self._vectors_ID = vectors_ID / self.norm
        self._blocks = self.encode(np.arange(len(vectors_ID)))

    @property
    def items(self) -> int:
        """Number of items, I."""
        return len(self._vectors_ID)

    def encode(self, rows: AnyArray) -> Blocks:
        """Return the blocks of some items, in this order."""
        return [
            self._encoded(self._vectors_ID[rows[first : first + BLOCK]])
            for first in range(0, len(rows), BLOCK)
        ]

    def _encoded(self, vectors_MD: Float64Array) -> list[Any]:
        padded_BD = np.zeros((BLOCK, self.width))
        padded_BD[: len(vectors_MD)] = vectors_MD
        slots_DS = (padded_BD[: BLOCK // 2] + 1j * padded_BD[BLOCK // 2 :]).T
        plaintexts = []
        for slots_S in slots_DS:
            plain = self._parameters.seal.Plaintext()
            self._encoder.encode(slots_S.tolist(), SCALE, plain)
            # SEAL refuses to multiply by zero, because everybody could read the result
            plaintexts.append(None if plain.is_zero() else plain)
        return plaintexts

    def score(self, query: bytes, blocks: Blocks | None = None) -> bytes:
        """Return the ciphertexts of the scores, one for each block of items.

        Args:
            query: The encrypted query (`QueryEncryption.encrypt`).
            blocks: Result of `encode` for the candidates; None: all items.

        Raises:
            DataError: the query is truncated, too long, malformed, or has other parameters.
        """
        streams = query_streams(self._parameters, query, self.width)
        query_D = loaded_ciphertexts(self._parameters, streams)
        return b"".join(
            self._scored(query_D, block) for block in (self._blocks if blocks is None else blocks)
        )

    def _scored(self, query_D: list[Any], block: list[Any]) -> bytes:
        total = None
        for ciphertext, plain in zip(query_D, block, strict=True):
            if plain is None:
                continue
            product = self._parameters.seal.Ciphertext()
            self._evaluator.multiply_plain(ciphertext, plain, product)
            if total is None:
                total = product
            else:
                self._evaluator.add_inplace(total, product)
        if total is None:
            return bytes(ANSWER_BYTES)
        # once for the sum, not for each product: the scale becomes that of one number again
        self._evaluator.rescale_to_next_inplace(total)
        return answer_bytes(self._parameters, *saved([total]))
