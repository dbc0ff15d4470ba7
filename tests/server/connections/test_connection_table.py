"""Which connections a server closes when there are too many."""

from dataclasses import dataclass, field

import pytest

from reprise.server.connections.connection_table import (
    RESERVED_CONNECTIONS,
    ClientConnections,
    ConnectionTable,
    client_key,
)
from reprise.server.settings import Settings


@dataclass(eq=False)
class FakeConnection:
    """A connection that notes what happens to it."""

    name: str
    group: ClientConnections | None = None
    evicted: bool = False
    swept_s: list[float] = field(default_factory=list)

    def evict(self) -> None:
        self.evicted = True

    def close_if_expired(self, now_s: float) -> None:
        self.swept_s.append(now_s)


def table_of(total: int, per_address: int) -> ConnectionTable:
    return ConnectionTable(
        Settings(max_connections=total, max_connections_per_address=per_address), lambda reason: None
    )


def connect(table: ConnectionTable, *clients: str) -> list[FakeConnection]:
    """Open connections of the given clients."""
    opened = [FakeConnection(client) for client in clients]
    for connection in opened:
        table.add(connection, connection.name)
    return opened


def evicted(connections: list[FakeConnection]) -> list[int]:
    return [place for place, connection in enumerate(connections) if connection.evicted]


def test_a_client_above_its_limit_loses_its_oldest_connection() -> None:
    table = table_of(100, 3)
    connections = connect(table, *"abaaabaa")
    assert evicted(connections) == [0, 2, 3]
    assert len(table) == 5


def test_connections_without_a_request_give_way_before_idle_ones_and_busy_ones_never() -> None:
    table = table_of(100, 4)
    busy, idle, old, new = first = connect(table, *"aaaa")
    for connection in (busy, idle):
        assert connection.group is not None
        connection.group.mark_busy(connection)
    assert idle.group is not None
    idle.group.mark_idle(idle)
    for gone in ([old], [old, new], [idle, old, new]):
        (next_one,) = connect(table, "a")
        assert [first[place] for place in evicted(first)] == gone
        assert next_one.group is not None
        next_one.group.mark_busy(next_one)
    (above,) = connect(table, "a")
    assert above.group is None and not above.evicted and not busy.evicted
    assert connect(table, "b")[0].group is not None


def test_at_the_total_limit_the_client_with_most_connections_gives_way() -> None:
    table = table_of(6, 0)
    connections = connect(table, *"baaaac", *"dedf")
    assert evicted(connections) == [1, 2, 3, 6]
    assert len(table) == 6


def test_connections_above_the_limit_are_few() -> None:
    table = table_of(2, 0)
    for connection in connect(table, "a", "b"):
        assert connection.group is not None
        connection.group.mark_busy(connection)
    above = connect(table, *["c"] * (RESERVED_CONNECTIONS + 5))
    assert evicted(above) == [0, 1, 2, 3, 4]
    assert len(table) == 2 + RESERVED_CONNECTIONS
    table.close_expired(7.0)
    assert [connection.swept_s for connection in above[4:6]] == [[], [7.0]]
    for connection in above:
        table.remove(connection)
        table.remove(connection)
    assert len(table) == 2


def test_many_clients_leave_nothing_behind() -> None:
    table = table_of(1, 1)
    connections = connect(table, *map(str, range(1000)))
    assert len(evicted(connections)) == 999
    table.remove(connections[-1])
    assert len(table) == 0 and table._clients == {}


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::ffff", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("", ""),
        ("not:an:address", "not:an:address"),
    ],
)
def test_a_client_is_an_ipv4_address_or_an_ipv6_prefix(address: str, key: str) -> None:
    assert client_key(address) == key
