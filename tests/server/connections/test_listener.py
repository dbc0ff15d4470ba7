"""A listening socket: all waiting connections are accepted soon, however long a turn of the event loop takes."""

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from reprise.server.connections import listener
from reprise.server.connections.listener import ACCEPTS_PER_TURN, Listener
from reprise.server.process import loop_factory


class Echo(asyncio.Protocol):
    """Sends back what it receives."""

    transport: Any

    def __init__(self, opened: list["Echo"]) -> None:
        self.opened = opened

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.opened.append(self)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class RefusingSocket(socket.socket):
    """A listening socket whose next calls of `accept` fail, as if too many files were open."""

    failures = 0

    def accept(self) -> tuple[socket.socket, Any]:
        if self.failures:
            self.failures -= 1
            raise OSError(errno.EMFILE, "too many open files")
        return super().accept()


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(work())


def bound() -> socket.socket:
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    return listening


def connect(listening: socket.socket, count: int) -> list[socket.socket]:
    return [socket.create_connection(listening.getsockname()) for _ in range(count)]


async def closed(listening: Listener, opened: list[Echo], clients: list[socket.socket]) -> None:
    for client in clients:
        client.close()
    listening.close()
    await listening.wait_closed()
    for one in opened:
        one.transport.close()
    await asyncio.sleep(0.01)


def test_all_waiting_connections_are_accepted_within_a_few_turns() -> None:
    async def work() -> None:
        opened: list[Echo] = []
        with bound() as one:
            listening = Listener(one, lambda: Echo(opened))
            clients = connect(one, ACCEPTS_PER_TURN + 20)
            for _ in range(20):
                await asyncio.sleep(0)
            assert len(opened) == len(clients)
            await closed(listening, opened, clients)

    run(work)


def test_an_accepted_connection_reads_and_writes() -> None:
    async def work() -> None:
        opened: list[Echo] = []
        with bound() as one:
            listening = Listener(one, lambda: Echo(opened))
            reader, writer = await asyncio.open_connection(*one.getsockname())
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"hello"
            assert opened[0].transport.get_extra_info("peername") == writer.get_extra_info("sockname")
            writer.close()
            await closed(listening, opened, [])

    run(work)


@pytest.fixture
def short_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "PAUSE_S", 0.01)


@asynccontextmanager
async def refusing(failures: int, clients: int) -> AsyncIterator[tuple[RefusingSocket, Listener, list[Echo]]]:
    """Open connections to a socket whose first calls of `accept` fail."""
    opened: list[Echo] = []
    with RefusingSocket() as one:
        one.bind(("127.0.0.1", 0))
        one.failures = failures
        listening = Listener(one, lambda: Echo(opened))
        connected = connect(one, clients)
        yield one, listening, opened
        await closed(listening, opened, connected)


@pytest.mark.usefixtures("short_pause")
def test_a_full_table_of_open_files_delays_connections_and_loses_none() -> None:
    async def work() -> None:
        async with refusing(failures=3, clients=2) as (one, _, opened), asyncio.timeout(10):
            while len(opened) < 2:
                await asyncio.sleep(0.01)
            assert one.failures == 0

    run(work)


@pytest.mark.usefixtures("short_pause")
def test_a_closed_listener_accepts_nothing() -> None:
    async def work() -> None:
        async with refusing(failures=1, clients=1) as (one, listening, opened):
            while one.failures:
                await asyncio.sleep(0)
            listening.close()  # during the pause after a failure
            await asyncio.sleep(0.05)
            assert not opened

    run(work)
