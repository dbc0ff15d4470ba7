"""Signatures of saved models: Ed25519 (RFC 8032) over the bytes of the manifest, which has the checksums of all files.

Checksums find damage. A signature also finds that another person wrote the model: only the owner of the private key can make
it. Keys are PEM files without a password, as OpenSSL writes and reads them, and a signature is 64 bytes. This checks one, too:
`openssl pkeyutl -verify -rawin -in manifest.json -sigfile manifest.sig -pubin -inkey KEY.pub`.
"""

import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from reprise.argument_checks import file_path
from reprise.atomic_files import writing
from reprise.errors import ArtefactError, ConfigError
from reprise.recommender.artefact.bounded_read import read_bounded

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SIGNATURE = "manifest.sig"
"""Name of the file with the signature of the manifest, in the directory of a signed model."""
SIGNATURE_BYTES = 64
MAX_KEY_BYTES = 2**16
INSTALL = "signatures of models need cryptography: pip install 'reprise[sign]'"


@dataclass(frozen=True)
class PublicKey:
    """The key that verifies signatures. It is not a secret."""

    raw: bytes
    """The 32 bytes of the key."""
    path: Path
    """File of the key, for messages."""

    @classmethod
    def of(cls, key: "PublicKey | str | Path") -> "PublicKey":
        """Return a public key, read from its PEM file if a path is given.

        Raises:
            ConfigError: the file cannot be read or is not a public Ed25519 key, or cryptography is not installed.
        """
        if isinstance(key, PublicKey):
            return key
        path = file_path("verify", key)
        data = _key_bytes(path)
        if b"PRIVATE KEY" in data:
            raise ConfigError(
                f"{path} is a private key; verify with the public key, {path.name}.pub, and keep the private one elsewhere"
            )
        crypto = _cryptography()
        try:
            loaded = crypto.serialization.load_pem_public_key(data)
        except (ValueError, crypto.UnsupportedAlgorithm):
            loaded = None
        if not isinstance(loaded, crypto.ed25519.Ed25519PublicKey):
            raise ConfigError(
                f"{path} is not a public Ed25519 key in PEM; make a pair with `reprise signing-key FILE`"
            )
        return cls(loaded.public_bytes_raw(), path)

    @property
    def fingerprint(self) -> str:
        """First 16 hex digits of the SHA-256 of the key, to compare keys by eye."""
        return hashlib.sha256(self.raw).hexdigest()[:16]

    def verify(self, manifest: bytes, folder: Path) -> None:
        """Check that the private key of this public key signed a manifest.

        Args:
            manifest: Bytes of the manifest, which the caller parses only afterwards.
            folder: Directory of the model, which has the signature.

        Raises:
            ArtefactError: there is no signature, or it is not one of this manifest by this key.
        """
        crypto = _cryptography()
        try:
            signature = read_bounded(folder / SIGNATURE, SIGNATURE_BYTES)
        except (FileNotFoundError, NotADirectoryError):
            raise ArtefactError(
                f"{folder} is not signed (it has no {SIGNATURE}), and only models signed for {self.path} are accepted; "
                "export it with --sign KEYFILE"
            ) from None
        try:
            crypto.ed25519.Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, manifest)
        except crypto.InvalidSignature:
            raise ArtefactError(
                f"the signature of {folder} is not one of its manifest by the key of {self.path} ({self.fingerprint}): the "
                "model was changed after it was signed, or another key signed it; do not use it, and copy or export it again"
            ) from None


PublicKeyLike = PublicKey | str | Path | None
"""A public key, the path of its PEM file, or None: a signature is not needed."""


@dataclass(frozen=True)
class SigningKey:
    """The private key that signs models. Every holder of it can sign."""

    path: Path
    """File of the key."""
    _key: "Ed25519PrivateKey" = field(repr=False)

    @classmethod
    def of(cls, key: "SigningKey | str | Path") -> "SigningKey":
        """Return a private key, read from its PEM file if a path is given.

        Raises:
            ConfigError: the file cannot be read or is not a private Ed25519 key without a password, or cryptography is not
                installed.
        """
        if isinstance(key, SigningKey):
            return key
        path = file_path("sign", key)
        data, crypto = _key_bytes(path), _cryptography()
        try:
            loaded = crypto.serialization.load_pem_private_key(data, password=None)
        except TypeError:
            raise ConfigError(
                f"{path} is a private key with a password; decrypt it for the call with `openssl pkey -in {path}`"
            ) from None
        except (ValueError, crypto.UnsupportedAlgorithm):
            loaded = None
        if not isinstance(loaded, crypto.ed25519.Ed25519PrivateKey):
            what = "a public key" if b"PUBLIC KEY" in data else "not a private Ed25519 key in PEM"
            raise ConfigError(
                f"{path} is {what}; sign with a private key, and make one with `reprise signing-key FILE`"
            )
        return cls(path, loaded)

    @property
    def public(self) -> PublicKey:
        """The public key, which verifies the signatures of this key."""
        return PublicKey(self._key.public_key().public_bytes_raw(), self.path)

    def sign(self, manifest: bytes) -> bytes:
        """Return the signature of the bytes of a manifest, 64 bytes."""
        return self._key.sign(manifest)


SigningKeyLike = SigningKey | str | Path | None
"""A private key, the path of its PEM file, or None: do not sign."""


def make_key_pair(path: str | Path) -> PublicKey:
    """Write a new private key to a file that only its owner may read, and the public key to the same name with `.pub`.

    Raises:
        ConfigError: one of the files exists, or cryptography is not installed.
        ArtefactError: a file cannot be written.
    """
    private = file_path("path", path)
    public = private.with_name(f"{private.name}.pub")
    for file in (private, public):
        if file.exists():
            raise ConfigError(
                f"{file} exists, and a key that was replaced cannot sign any more; name another file or move it"
            )
    crypto = _cryptography()
    key, coding = crypto.ed25519.Ed25519PrivateKey.generate(), crypto.serialization
    secret = key.private_bytes(coding.Encoding.PEM, coding.PrivateFormat.PKCS8, coding.NoEncryption())
    known = key.public_key().public_bytes(coding.Encoding.PEM, coding.PublicFormat.SubjectPublicKeyInfo)
    with writing(private):
        private.parent.mkdir(parents=True, exist_ok=True)
        _create(private, secret, 0o600)
    try:
        with writing(public):
            _create(public, known, 0o644)
    except ArtefactError:
        with suppress(OSError):
            private.unlink()
        raise
    return PublicKey.of(public)


def _create(file: Path, data: bytes, mode: int) -> None:
    """Write a file that does not exist yet; it has its mode from the first moment on."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), mode)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data)


def _key_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:  # a pipe is allowed, so that a secret need not be stored in a file
            data = stream.read(MAX_KEY_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            f"the key {path} cannot be read ({error.strerror}); make a pair with `reprise signing-key FILE`"
        ) from None
    return data[:MAX_KEY_BYTES]


def _cryptography() -> Any:
    """Return the parts of cryptography that signatures need.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError:
        raise ConfigError(INSTALL) from None
    return SimpleNamespace(
        ed25519=ed25519,
        serialization=serialization,
        InvalidSignature=InvalidSignature,
        UnsupportedAlgorithm=UnsupportedAlgorithm,
    )
