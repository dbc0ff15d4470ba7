"""API keys: who may do what, for which tenant. Only their hashes are kept, and they are compared in constant time."""

import hashlib
import hmac
import re
import secrets
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import tomli_w

from reprise.errors import ConfigError, did_you_mean

Scope = Literal["ingest", "recommend", "admin"]
SCOPES: tuple[str, ...] = get_args(Scope)
PREFIX = "rp_"
DEFAULT_TENANT = "default"


@dataclass(frozen=True)
class Key:
    """What one key allows."""

    name: str
    tenant: str
    scopes: frozenset[str]
    sha256: str
    """Of the key itself. A key is 32 random bytes, so a quick hash cannot be searched through."""

    def allows(self, scope: str) -> bool:
        """Whether it may do things of this scope."""
        return scope in self.scopes


EVERYBODY = Key("local", DEFAULT_TENANT, frozenset(SCOPES), "")
"""Who asks where no keys are needed."""


class Keyring:
    """The keys of a server."""

    def __init__(self, keys: Sequence[Key]) -> None:
        self._keys = tuple(keys)

    def find(self, secret: str) -> Key | None:
        """The key with this secret. Every key is compared, so the time says nothing."""
        given = _hash(secret)
        found = None
        for key in self._keys:
            if hmac.compare_digest(key.sha256, given):
                found = key
        return found

    def __len__(self) -> int:
        return len(self._keys)


def read_keys(path: Path) -> Keyring:
    """The keys of a file that `add_key` wrote.

    Raises:
        ConfigError: the file is missing, or something in it cannot be read.
    """
    keys = [_key(path, told) for told in _told(path)]
    if not keys:
        raise ConfigError(f"{path} has no key; make one with `reprise key NAME --file {path}`")
    return Keyring(keys)


def add_key(path: Path, name: str, tenant: str, scopes: Sequence[str]) -> str:
    """Make a key and add it to a file, which is readable for its owner only; the secret, which nobody can tell again.

    Raises:
        ConfigError: the name is taken, or a scope is unknown.
    """
    told = _told(path) if path.exists() else []
    if any(key.get("name") == name for key in told):
        raise ConfigError(
            f"{path} has a key {name!r} already; choose another name, or take the old one out of the file"
        )
    secret = PREFIX + secrets.token_urlsafe(32)
    new = {"name": name, "tenant": tenant, "scopes": [*scopes], "sha256": _hash(secret)}
    _key(path, new)
    beside = path.with_name(f".{path.name}.partial")
    beside.unlink(missing_ok=True)  # what is there keeps its mode
    beside.touch(mode=0o600)
    beside.write_bytes(tomli_w.dumps({"key": [*told, new]}).encode())
    beside.replace(path)
    return secret


def _told(path: Path) -> list[dict[str, Any]]:
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path} is missing; make a key with `reprise key NAME --file {path}`") from None
    except (ValueError, OSError) as error:
        raise ConfigError(f"{path} cannot be read ({error})") from None
    keys = told.get("key", [])
    if set(told) - {"key"} or not isinstance(keys, list) or not all(isinstance(key, dict) for key in keys):
        raise ConfigError(
            f"{path} is no file of keys; it has [[key]] tables with name, tenant, scopes and sha256"
        )
    return keys


def _key(path: Path, told: dict[str, Any]) -> Key:
    texts = [told.get(name) for name in ("name", "tenant", "sha256")]
    scopes = told.get("scopes")
    if set(told) != {"name", "tenant", "scopes", "sha256"} or not all(
        isinstance(text, str) and text for text in texts
    ):
        raise ConfigError(f"{path}: a key has name, tenant, scopes and sha256, got {sorted(told)}")
    if not isinstance(scopes, list) or not scopes:
        raise ConfigError(
            f"{path}: the scopes of key {told['name']!r} are a list of some of {', '.join(SCOPES)}"
        )
    for scope in scopes:
        if scope not in SCOPES:
            raise ConfigError(
                f"{path}: unknown scope {scope!r} of key {told['name']!r}{did_you_mean(str(scope), SCOPES)}"
            )
    if not re.fullmatch("[0-9a-f]{64}", told["sha256"]):
        raise ConfigError(
            f"{path}: sha256 of key {told['name']!r} is no SHA-256 in lower-case hexadecimal digits"
        )
    return Key(told["name"], told["tenant"], frozenset(scopes), told["sha256"])


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
