"""Host names: strict parsing of `host:port` in requests, and the set of names that a server accepts as its own."""

import ipaddress
import re
from collections.abc import Iterable
from typing import NamedTuple

from reprise.errors import ConfigError

_LABELS = r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*"
_AUTHORITY = re.compile(rf"(?:({_LABELS})|\[([0-9A-Fa-f:.]+)\])(?::([0-9]{{1,5}}))?", re.ASCII)
MAX_HOST_CHARACTERS = 255
"""Maximum length of a host with its port; a DNS name has at most 253 characters."""
WILDCARD = "*."
"""First characters of a name that accepts all its subdomains."""


class Authority(NamedTuple):
    """Host and port of a URL or a Host header."""

    name: str
    """Name in lower case, or IP address in its shortest form, without brackets."""
    port: int | None
    """Port; None if it is not given."""


def parse_authority(text: str) -> Authority | None:
    """Parse `host` or `host:port` strictly. Return None for anything else, such as a user name or an empty port."""
    match = _AUTHORITY.fullmatch(text) if len(text) <= MAX_HOST_CHARACTERS else None
    if match is None:
        return None
    name, address, digits = match.groups()
    port = None if digits is None else int(digits)
    if port is not None and port > 65_535:
        return None
    if address is None:
        return Authority(name.lower(), port)
    try:
        return Authority(ipaddress.IPv6Address(address).compressed, port)
    except ValueError:
        return None


class HostNames:
    """A set of host names. `*.shop.example` is in it for all subdomains of shop.example, and not for itself."""

    def __init__(self, names: Iterable[str]) -> None:
        """Create the set.

        Args:
            names: Names without ports; IPv6 addresses with or without brackets.

        Raises:
            ConfigError: a name is not a host name.
        """
        self.names = tuple(sorted({_normal(name) for name in names}))
        self._exact = frozenset(name for name in self.names if not name.startswith(WILDCARD))
        self._suffixes = tuple(name[1:] for name in self.names if name.startswith(WILDCARD))

    def __contains__(self, name: object) -> bool:
        """Return whether a name in lower case is in the set."""
        if name in self._exact:
            return True
        return bool(self._suffixes) and isinstance(name, str) and name.endswith(self._suffixes)


def _normal(name: str) -> str:
    """Return a name of a set in the form in which `parse_authority` returns names."""
    wildcard = WILDCARD if name.startswith(WILDCARD) else ""
    rest = name.removeprefix(WILDCARD)
    is_bare_ipv6 = rest.count(":") > 1 and not rest.startswith("[")
    authority = parse_authority(f"[{rest}]" if is_bare_ipv6 else rest)
    is_address = is_bare_ipv6 or rest.startswith("[") or rest.replace(".", "").isdigit()
    if authority is None or authority.port is not None or (wildcard and is_address):
        raise ConfigError(
            f"{name!r} is not a host name; write it without scheme, port and path, such as shop.example, "
            f"*.shop.example or 192.168.1.4{_ascii_hint(rest)}"
        )
    return wildcard + authority.name


def _ascii_hint(name: str) -> str:
    """Return the ASCII form of an international name as a hint, or nothing."""
    try:
        encoded = "" if name.isascii() else name.encode("idna").decode()
    except UnicodeError:
        return ""
    return f"; in ASCII this name is {encoded}" if encoded else ""
