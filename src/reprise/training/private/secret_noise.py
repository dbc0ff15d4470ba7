"""Random numbers that cannot be computed again: the noise of differential privacy, and the choice of users per step.

The seed of a run is published with its model, so noise from it could be subtracted. This noise has a seed of its own from
the operating system. It is kept in the checkpoint only, so that an interrupted run continues with the same noise, and is
erased at the end: drawing other noise for the same numbers would reveal them by averaging.
"""

import hashlib
import math
import secrets
from dataclasses import dataclass, field

import numpy as np

from reprise.arrays import Float64Array

SECRET_BYTES = 32
"""Length of the seed."""


@dataclass(frozen=True)
class SecretNoise:
    """A source of random numbers. Each named stream has its own, and gives the same numbers each time."""

    secret: bytes = field(repr=False)
    """The seed; it allows to remove the noise."""

    @classmethod
    def draw(cls) -> "SecretNoise":
        """Return a source with a new seed."""
        return cls(secrets.token_bytes(SECRET_BYTES))

    def normal(self, stream: str, shape: tuple[int, ...]) -> Float64Array:
        """Return standard normal numbers, by the transform of Box and Muller (1958)."""
        pairs = math.prod(shape) + 1 >> 1
        first_N, second_N = 1.0 - self.uniform(
            stream, (2, pairs)
        )  # in (0, 1], so that the logarithm is finite
        radius_N = np.sqrt(-2.0 * np.log(first_N))
        angle_N = 2.0 * np.pi * second_N
        both = np.concatenate([radius_N * np.cos(angle_N), radius_N * np.sin(angle_N)])
        return both[: math.prod(shape)].reshape(shape)

    def uniform(self, stream: str, shape: tuple[int, ...]) -> Float64Array:
        """Return numbers that are uniform in [0, 1), multiples of 2^-53."""
        count = math.prod(shape)
        # SHAKE-256 (FIPS 202) with a secret prefix of fixed length is a pseudo-random function, unlike NumPy's generators
        data = hashlib.shake_256(self.secret + stream.encode()).digest(8 * count)
        number_N = np.frombuffer(data, dtype="<u8") >> np.uint64(11)
        uniform: Float64Array = number_N.astype(np.float64).reshape(shape) * 2.0**-53
        return uniform
