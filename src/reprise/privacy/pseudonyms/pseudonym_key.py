"""The key of pseudonyms, and its file: 64 hexadecimal digits that only the owner can read."""

import os
import re
import secrets
import warnings
from dataclasses import dataclass, field
from pathlib import Path

from reprise.atomic_files import writing
from reprise.data.vocabulary import ItemId
from reprise.errors import ConfigError
from reprise.keyed_hash import keyed_hash

KEY_BYTES = 32
LARGEST_FILE = 1_000
"""Size of the largest file that is read as a key file, in bytes."""


@dataclass(frozen=True)
class PseudonymKey:
    """A key that turns ids into pseudonyms. Who has it can compute the pseudonym of any id, and so find a person again."""

    secret: bytes = field(repr=False)
    """The key, 32 bytes."""

    def __post_init__(self) -> None:
        if not isinstance(self.secret, bytes) or len(self.secret) != KEY_BYTES:
            raise ConfigError(
                f"a key of pseudonyms has {KEY_BYTES} bytes; make one with PseudonymKey.create(FILE)"
            )

    @property
    def name(self) -> str:
        """Name of the key, six hexadecimal digits, with which its pseudonyms begin. It does not reveal the key."""
        return keyed_hash(self.secret, "name of the key")[:3].hex()

    def pseudonym(self, domain: str, one: ItemId) -> str:
        """Return the pseudonym of an id, such as `3fa2c1-0d5b...`: the name of the key and 32 hexadecimal digits.

        Args:
            domain: What the id identifies, by default the name of the column. Equal ids of two domains have pseudonyms that
                are not related.
            one: The id. An integer counts as its text, so that 17 and "17" have the same pseudonym.
        """
        return f"{self.name}-{keyed_hash(self.secret, 'pseudonym', domain, str(one)).hex()}"

    @classmethod
    def read(cls, path: str | Path) -> "PseudonymKey":
        """Read a key file. A file that others can read gives a warning.

        Raises:
            ConfigError: The file is missing, or does not hold a key.
        """
        try:
            with Path(path).open("rb") as file:
                content = file.read(LARGEST_FILE + 1)
                mode = os.fstat(file.fileno()).st_mode
        except FileNotFoundError:
            raise ConfigError(
                f"no key file at {path}; make one with --new-key (PseudonymKey.create)"
            ) from None
        except OSError as error:
            raise ConfigError(f"cannot read the key file {path} ({error.strerror or error})") from None
        if not re.fullmatch(rb"[0-9a-fA-F]{64}\s*", content):
            raise ConfigError(
                f"{path} does not hold a key: it has {_size(content)}, but a key file has 64 hexadecimal digits in one line; "
                "name another file, or make one with --new-key (PseudonymKey.create)"
            )
        if mode & 0o077:
            warnings.warn(
                f"the key file {path} can be read by other users of this machine; run: chmod 600 {path}",
                stacklevel=2,
            )
        return cls(bytes.fromhex(content.decode().strip()))

    @classmethod
    def create(cls, path: str | Path) -> "PseudonymKey":
        """Write a new random key to a file that only its owner can read.

        Raises:
            ConfigError: The file exists. A key is never replaced, because the pseudonyms made with it could not be made again.
            ArtefactError: The file cannot be written.
        """
        path, secret = Path(path), secrets.token_bytes(KEY_BYTES)
        with writing(path):
            try:
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            except FileExistsError:
                raise ConfigError(
                    f"{path} exists, and a key is never replaced; leave out --new-key, or name another file"
                ) from None
            with os.fdopen(descriptor, "w") as file:
                file.write(secret.hex() + "\n")
                file.flush()
                os.fsync(file.fileno())
        return cls(secret)


def _size(content: bytes) -> str:
    return f"more than {LARGEST_FILE} bytes" if len(content) > LARGEST_FILE else f"{len(content)} bytes"
