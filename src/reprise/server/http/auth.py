"""API keys: their scopes and tenants. The key file holds hashes only, and hashes are compared in constant time."""

import hashlib
import hmac
import secrets
import tomllib
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from reprise.atomic_files import resolved, writing
from reprise.directory_lock import locked_output
from reprise.errors import ConfigError, command_line, did_you_mean
from reprise.server.http.answer_limits import NO_LIMITS, SCORES, AnswerLimits, Scores
from reprise.validation_messages import join_path

Scope = Literal["ingest", "recommend", "admin"]
SCOPES: tuple[str, ...] = get_args(Scope)
PREFIX = "rp_"
"""First characters of every key, by which scanners for leaked secrets can find it."""
DEFAULT_TENANT = "default"
LOCK_WAIT_S = 10.0
"""Time to wait while another process adds a key to the same file, in seconds."""


@dataclass(frozen=True)
class Key:
    """The name, tenant and scopes of an API key."""

    name: str
    """Name for people, unique within the key file."""
    tenant: str
    """Tenant whose users, events and items the key can access."""
    scopes: frozenset[str]
    """Scopes that the key has."""
    sha256: str
    """SHA-256 of the key in hexadecimal. The key is 32 random bytes, so a fast hash is safe against guessing."""
    limits: AnswerLimits = NO_LIMITS
    """Limits of the answers to this key."""

    def allows(self, scope: str) -> bool:
        """Return whether the key has a scope."""
        return scope in self.scopes


UNRESTRICTED_KEY = Key("local", DEFAULT_TENANT, frozenset(SCOPES), "")
"""The key of every request to a server that requires no keys."""


class Keyring:
    """The API keys that a server accepts."""

    def __init__(self, keys: Sequence[Key]) -> None:
        self._keys = tuple(keys)

    def find(self, secret: str) -> Key | None:
        """Return the key with this secret, or None."""
        sha256 = _hash(secret)
        found = None
        # compares with every key, so that the time does not depend on the position of the key
        for key in self._keys:
            if hmac.compare_digest(key.sha256, sha256):
                found = key
        return found

    @property
    def max_min_users(self) -> int:
        """The largest minimum number of users of an item among the keys; 0 if no key has one."""
        return max((key.limits.min_users for key in self._keys), default=0)

    def __len__(self) -> int:
        return len(self._keys)


class KeyEntry(BaseModel):
    """A `[[key]]` table of a key file."""

    model_config = ConfigDict(extra="forbid", strict=True)
    name: Annotated[str, StringConstraints(min_length=1)]
    tenant: Annotated[str, StringConstraints(min_length=1)]
    scopes: Annotated[list[Scope], Field(min_length=1)]
    sha256: Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]
    scores: Scores = "exact"
    max_k: Annotated[int, Field(ge=1)] | None = None
    min_users: Annotated[int, Field(ge=0)] = 0
    requests_per_minute: Annotated[int, Field(ge=1)] | None = None

    @property
    def limits(self) -> AnswerLimits:
        """The limits of the answers to this key."""
        return AnswerLimits(self.scores, self.max_k, self.min_users, self.requests_per_minute)


class KeyFile(BaseModel):
    """A key file."""

    model_config = ConfigDict(extra="forbid", strict=True)
    key: list[KeyEntry] = []


def read_keys(path: Path) -> Keyring:
    """Read a key file that `add_key` wrote.

    Raises:
        ConfigError: the file is missing, invalid, or has no keys.
    """
    entries = _read(path).key
    if not entries:
        raise ConfigError(f"{path} has no keys; make one with `{_key_command(path)}`")
    for name, count in Counter(entry.name for entry in entries).items():
        if count > 1:
            raise ConfigError(f"{path} has {count} keys named {name!r}; rename or remove all but one")
    return Keyring(
        [
            Key(entry.name, entry.tenant, frozenset(entry.scopes), entry.sha256, entry.limits)
            for entry in entries
        ]
    )


def add_key(
    path: Path, name: str, tenant: str, scopes: Sequence[str], limits: AnswerLimits = NO_LIMITS
) -> str:
    """Create a key, add it to a file that only its owner can read, and return the secret.

    The file does not hold the secret, so it cannot be shown again.

    Raises:
        ConfigError: the name is taken, a scope or a limit is invalid, or the file is invalid.
    """
    if path.exists() and not path.is_file():
        raise ConfigError(
            f"{path} is not a regular file, so keys cannot be kept in it; choose another --file"
        )
    with writing(path):
        path = resolved(path)  # a link stays, and its target is replaced
    secret = PREFIX + secrets.token_urlsafe(32)
    changed = {name: value for name, value in asdict(limits).items() if value != getattr(NO_LIMITS, name)}
    new = {"name": name, "tenant": tenant, "scopes": [*scopes], "sha256": _hash(secret), **changed}
    with locked_output(path, "adds a key to", "try again", wait_s=LOCK_WAIT_S):
        _append(path, new)
    return secret


def _append(path: Path, new: dict[str, Any]) -> None:
    """Add an entry to a key file that no other process changes meanwhile."""
    entries = _read(path).key if path.exists() else []
    if any(entry.name == new["name"] for entry in entries):
        raise ConfigError(
            f"{path} already has a key {new['name']!r}; choose another name, or remove it from the file"
        )
    content = {"key": [*(entry.model_dump(exclude_defaults=True) for entry in entries), new]}
    _validate(path, content)
    partial = path.with_name(f".{path.name}.partial")
    with writing(path):
        partial.unlink(missing_ok=True)  # an existing file would keep its mode
        partial.touch(mode=0o600)
        partial.write_bytes(tomli_w.dumps(content).encode())
        partial.replace(path)


def _key_command(path: Path) -> str:
    return command_line("reprise", "key", "NAME", "--file", path)


def _read(path: Path) -> KeyFile:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path} is missing; make a key with `{_key_command(path)}`") from None
    except (ValueError, OSError, RecursionError) as error:
        raise ConfigError(f"{path} cannot be read ({error})") from None
    return _validate(path, content)


def _validate(path: Path, content: dict[str, Any]) -> KeyFile:
    """Return the content of a key file; raise `ConfigError` that names the file, the entry and the first fault."""
    try:
        return KeyFile.model_validate(content)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
    match fault["loc"]:
        case ("key", int(index), *field):
            entry = content["key"][index]
            name = entry.get("name") if isinstance(entry, dict) else None
            entry_name = f"key {name or index + 1!r}"
            location = f"{join_path('', *field)} of {entry_name}" if field else entry_name
        case field:
            location = join_path("", *field)
    message = f"{fault['msg'][0].lower()}{fault['msg'][1:]}"
    if fault["type"] == "model_type":
        message = "input should be a valid table"  # pydantic's own message names the class
    remedy = "; a [[key]] table has name, tenant, scopes and sha256, as `reprise key` writes it"
    # only a scope or a limit is shown: other values could be secrets
    if fault["type"] == "literal_error":
        message += f", got {fault['input']!r}"
        known = SCORES if fault["loc"][-1] == "scores" else SCOPES
        remedy = did_you_mean(str(fault["input"]), known) or remedy
    elif fault["type"] == "greater_than_equal":
        message += f", got {fault['input']!r}"
    raise ConfigError(f"{path}: {location}: {message}{remedy}")


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
