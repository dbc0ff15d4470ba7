"""The parameters of the CKKS scheme (Cheon, Kim, Kim and Song 2017), and the objects of SEAL that have no key.

There is one set of parameters. The modulus of 160 bits is below the 218 bits that the Homomorphic Encryption Standard (Albrecht
et al. 2018, table 1, ternary secret, classical attacks) allows for N = 8192 and 128 bits of security.
"""

import struct
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

from reprise.atomic_files import temporary_directory
from reprise.errors import ConfigError, DataError

INSTALL = "pip install 'reprise[encrypted]'"
DEGREE = 8192
"""Degree N of the polynomials. A ciphertext has N / 2 complex slots."""
MODULI_BITS = (60, 40, 60)
"""Bits of the primes of the modulus. Ciphertexts use the first two; the last one is for keys."""
SCALE = 2.0**40
"""Factor by which numbers are multiplied before they are rounded to integers."""
MAX_MODULUS_BITS = {1024: 27, 2048: 54, 4096: 109, 8192: 218, 16384: 438, 32768: 881}
"""Largest number of bits of the modulus for 128 bits of security, by N: the table of the standard."""
HEADER = struct.Struct("<HBBBBHQ")
"""Header of a stream of SEAL: magic number, its own length, version (2 numbers), compression, 0, bytes with the header."""
MAGIC, UNCOMPRESSED, ZSTD = 0xA15E, 0, 2


def seal_library() -> Any:
    """Return the module with the classes of SEAL.

    Raises:
        ConfigError: TenSEAL is not installed.
    """
    try:
        import tenseal.sealapi
    except ImportError as error:
        raise ConfigError(f"encrypted scoring needs TenSEAL ({error}); install it: {INSTALL}") from None
    return tenseal.sealapi


def check_parameters(degree: int, moduli_bits: Sequence[int]) -> None:
    """Check that parameters are those of this module.

    Raises:
        ConfigError: they are others. The message says whether they are weaker than 128 bits of security.
    """
    if (degree, tuple(moduli_bits)) == (DEGREE, MODULI_BITS):
        return
    bits, allowed = sum(moduli_bits), MAX_MODULUS_BITS.get(degree, 0)
    weak = f", which have less than 128 bits of security: N = {degree} allows {allowed} bits, got {bits}"
    raise ConfigError(
        f"the CKKS parameters are N = {degree} with primes of {list(moduli_bits)} bits{weak if bits > allowed else ''}; "
        f"use N = {DEGREE} with {list(MODULI_BITS)}"
    )


class CkksParameters:
    """The SEAL context, which has no key, and the constant bytes at the start of ciphertexts. Safe to share."""

    def __init__(self) -> None:
        """Make the context, which takes about 10 ms.

        Raises:
            ConfigError: TenSEAL is not installed.
        """
        self.seal = seal_library()
        parameters = self.seal.EncryptionParameters(self.seal.SCHEME_TYPE.CKKS)
        parameters.set_poly_modulus_degree(DEGREE)
        parameters.set_coeff_modulus(self.seal.CoeffModulus.Create(DEGREE, [*MODULI_BITS]))
        # the level makes SEAL check the table of the standard too
        self.context = self.seal.SEALContext(parameters, True, self.seal.SEC_LEVEL_TYPE.TC128)
        assert self.context.parameters_set()
        self.primes = [prime.value() for prime in parameters.coeff_modulus()]
        """The primes of the modulus."""

    @cached_property
    def query_head(self) -> bytes:
        """Bytes before the coefficients of a query's ciphertext, which has one polynomial and the seed of the other."""
        return self._head(self.context.first_parms_id(), primes=2, scale=SCALE, numbers=2 * DEGREE)

    @cached_property
    def answer_head(self) -> bytes:
        """Bytes before the coefficients of an answer's ciphertext: two polynomials modulo the first prime."""
        scale = SCALE * SCALE / self.primes[1]
        return self._head(self.context.last_parms_id(), primes=1, scale=scale, numbers=2 * DEGREE)

    def stream(self, content: bytes) -> bytes:
        """Return content as an uncompressed stream of SEAL."""
        return (
            HEADER.pack(MAGIC, HEADER.size, *self._version, UNCOMPRESSED, 0, HEADER.size + len(content))
            + content
        )

    def _head(self, level: Sequence[int], primes: int, scale: float, numbers: int) -> bytes:
        # level of the modulus, form (number-theoretic transform), polynomials, N, primes, scale, a factor of another scheme
        head = struct.pack("<4Q?3QdQ", *level, True, 2, DEGREE, primes, scale, 1)
        inner = HEADER.pack(
            MAGIC, HEADER.size, *self._version, UNCOMPRESSED, 0, HEADER.size + 8 + 8 * numbers
        )
        return head + inner + struct.pack("<Q", numbers)

    @cached_property
    def _version(self) -> tuple[int, int]:
        """Version of SEAL in the headers of its streams."""
        _, _, major, minor, *_ = HEADER.unpack(saved([self.seal.Plaintext()])[0][: HEADER.size])
        return major, minor


def saved(values: Iterable[Any]) -> list[bytes]:
    """Return the streams of objects of SEAL, which can write to files only. Use it for no secret key."""
    with temporary_directory() as folder:
        file = folder / "stream"
        streams = []
        for value in values:
            value.save(str(file))
            streams.append(file.read_bytes())
        return streams


def loaded_ciphertexts(parameters: CkksParameters, streams: Iterable[bytes]) -> list[Any]:
    """Return the ciphertexts of streams.

    Raises:
        DataError: SEAL cannot read one.
    """
    ciphertexts = []
    with temporary_directory() as folder:
        file = folder / "stream"
        for number, stream in enumerate(streams):
            file.write_bytes(stream)
            ciphertext = parameters.seal.Ciphertext()
            try:
                ciphertext.load(parameters.context, str(file))
            except (RuntimeError, ValueError) as error:  # the classes of SEAL's logic and input errors
                raise DataError(
                    f"ciphertext {number} cannot be read ({error}); encrypt the query again"
                ) from None
            ciphertexts.append(ciphertext)
    return ciphertexts
