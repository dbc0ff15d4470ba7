"""The open connections of a listener: how many there may be in total and per client, and which are closed first.

A client can open many connections without sending a request, so the table closes such connections first.
"""

import ipaddress
from collections.abc import Callable
from operator import attrgetter
from typing import Protocol

from reprise.server.settings import Settings

RESERVED_CONNECTIONS = 32
"""Number of connections above the limit. They are answered only if they ask for the health of the server."""
IPV6_CLIENT_BITS = 64
"""Number of leading bits of an IPv6 address that identify a client. Most providers give each customer a /64 prefix."""
_incomplete, _idle = attrgetter("incomplete"), attrgetter("idle")


class Connection(Protocol):
    """What the table reads and calls of a connection."""

    group: "ClientConnections | None"
    """The connections of the same client. None: the connection is above the limits, or closed."""

    def evict(self) -> None:
        """Close the connection to make room."""

    def close_if_expired(self, now_s: float) -> None:
        """Close the connection if a time limit has passed."""


class ClientConnections:
    """The connections of one client by state, in the order in which they entered it."""

    def __init__(self, key: str) -> None:
        self.key = key
        """Address of the client, from `client_key`."""
        self.incomplete: dict[Connection, None] = {}
        """Connections that have not sent a complete request."""
        self.idle: dict[Connection, None] = {}
        """Connections whose last request is answered."""
        self.busy: dict[Connection, None] = {}
        """Connections with a complete request that is not answered."""

    def __len__(self) -> int:
        return len(self.incomplete) + len(self.idle) + len(self.busy)

    def connections(self) -> list[Connection]:
        """Return all connections."""
        return [*self.incomplete, *self.idle, *self.busy]

    def mark_incomplete(self, connection: Connection) -> None:
        """Record that a connection is sending a request."""
        self._move(connection, self.incomplete)

    def mark_busy(self, connection: Connection) -> None:
        """Record that the request of a connection is complete and not answered."""
        self._move(connection, self.busy)

    def mark_idle(self, connection: Connection) -> None:
        """Record that the last request of a connection is answered."""
        self._move(connection, self.idle)

    def discard(self, connection: Connection) -> None:
        """Remove a connection."""
        for connections in (self.incomplete, self.idle, self.busy):
            connections.pop(connection, None)

    def _move(self, connection: Connection, state: dict[Connection, None]) -> None:
        if connection not in state:  # otherwise it keeps its place in the order
            self.discard(connection)
            state[connection] = None


class ConnectionTable:
    """The open connections of a listener, within the limits of the settings."""

    def __init__(self, settings: Settings, count_refusal: Callable[[str], None]) -> None:
        """Create an empty table.

        Args:
            settings: Limits of number, time and size.
            count_refusal: Counts a refused request or a connection that the server closes, by its reason.
        """
        self.settings = settings
        self.count_refusal = count_refusal
        self._clients: dict[str, ClientConnections] = {}
        self._reserved: dict[Connection, None] = {}
        self._admitted = 0

    def __len__(self) -> int:
        return self._admitted + len(self._reserved)

    def add(self, connection: Connection, key: str) -> None:
        """Admit a new connection. If a limit is reached, close another one, or admit it for health requests only.

        Args:
            connection: The connection.
            key: Address of its client, from `client_key`.
        """
        client = self._clients.get(key) or ClientConnections(key)
        if self._has_room_for(client):
            self._clients[key] = connection.group = client  # evicting its last connection has removed it
            client.mark_incomplete(connection)
            self._admitted += 1
            return
        connection.group = None
        self._reserved[connection] = None
        if len(self._reserved) > RESERVED_CONNECTIONS:
            self._evict(next(iter(self._reserved)))

    def remove(self, connection: Connection) -> None:
        """Forget a closed connection."""
        self._reserved.pop(connection, None)
        client = connection.group
        if client is not None:
            client.discard(connection)
            connection.group = None
            self._admitted -= 1
            if not client:
                self._clients.pop(client.key, None)

    def close_expired(self, now_s: float) -> None:
        """Close the connections whose time limits have passed.

        Args:
            now_s: Time of the event loop, in seconds.
        """
        admitted = [one for client in self._clients.values() for one in client.connections()]
        for connection in (*admitted, *self._reserved):
            connection.close_if_expired(now_s)

    def _has_room_for(self, client: ClientConnections) -> bool:
        """Make room for one more connection of a client if necessary; return whether there is room."""
        settings = self.settings
        if settings.max_connections_per_address and len(client) >= settings.max_connections_per_address:
            clients = [client]
        elif self._admitted < settings.max_connections:
            return True
        else:
            clients = [*self._clients.values()]
        for state in (_incomplete, _idle):
            fullest = max((one for one in clients if state(one)), key=len, default=None)
            if fullest is not None:
                self._evict(next(iter(state(fullest))))
                return True
        return False

    def _evict(self, connection: Connection) -> None:
        self.remove(connection)
        connection.evict()


def client_key(address: str) -> str:
    """Return the part of an IP address that identifies a client: the whole IPv4 address, or the /64 prefix in IPv6."""
    if ":" not in address:
        return address
    try:
        ipv6 = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if ipv6.ipv4_mapped is not None:
        return str(ipv6.ipv4_mapped)
    return str(ipaddress.IPv6Network((ipv6, IPV6_CLIENT_BITS), strict=False))
