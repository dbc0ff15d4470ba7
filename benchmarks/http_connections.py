"""Keep-alive HTTP connections on raw event-loop sockets, cheap enough for a load generator.

A connection has one request at a time. The pool opens another one if all are busy, so a slow server gets no fewer
requests. At the maximum number of connections, requests wait, and their latency counts from the scheduled time.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import httptools

HOST = "127.0.0.1"
BROKEN = 0
"""Status of a request whose connection broke before a reply."""
Done = Callable[[int, bytes, bool], None]
"""Callback with the status of a reply, its body, and whether it has Retry-After."""


def request(method: str, path: str, body: bytes = b"") -> bytes:
    """Return the bytes of a whole request."""
    head = f"{method} {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


class Connection(asyncio.Protocol):
    """One connection and the reply that it waits for."""

    def __init__(self, rest: Callable[["Connection"], None]) -> None:
        self._rest = rest
        self._done: Done | None = None
        self._transport: Any = None
        self._parser = httptools.HttpResponseParser(self)
        self._parts: list[bytes] = []
        self._later = self._last = False

    def send(self, sent: bytes, done: Done) -> None:
        """Send a request on an idle connection."""
        assert self._done is None
        self._done = done
        self._transport.write(sent)

    def close(self) -> None:
        self._transport.close()

    @property
    def open(self) -> bool:
        return not self._transport.is_closing()

    # called by the event loop
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._done is not None:
            self._finish(BROKEN)

    # called by the parser
    def on_header(self, name: bytes, value: bytes) -> None:
        if len(name) == 11 and name.lower() == b"retry-after":
            self._later = True
        elif len(name) == 10 and name.lower() == b"connection":
            self._last = value.lower() == b"close"

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)

    def on_message_complete(self) -> None:
        if self._last:
            self._transport.close()
        self._finish(self._parser.get_status_code())

    def _finish(self, status: int) -> None:
        done, self._done = self._done, None
        assert done is not None
        body, later = b"".join(self._parts), self._later
        self._parts, self._later = [], False
        done(status, body, later)
        self._rest(self)


class Pool:
    """Connections to one port. `send` never blocks."""

    def __init__(self, port: int, most: int) -> None:
        self._port = port
        self._most = most
        self._idle: deque[Connection] = deque()
        self._waiting: deque[tuple[bytes, Done, float]] = deque()
        self._opening: set[asyncio.Task[None]] = set()
        self.opened = 0
        """How many connections there are."""

    def send(self, sent: bytes, done: Done, until_s: float = float("inf")) -> None:
        """Send a request on an idle or new connection, unless the monotonic clock is past `until_s`."""
        while self._idle:
            connection = self._idle.popleft()
            if connection.open:
                connection.send(sent, done)
                return
            self.opened -= 1
        self._waiting.append((sent, done, until_s))
        if self.opened < self._most:
            self._open()

    async def prepare(self, count: int) -> None:
        """Open connections in advance."""
        for _ in range(min(count, self._most) - self.opened):
            self._open()
        while self._opening:
            await asyncio.gather(*self._opening)

    async def close(self) -> None:
        """Close idle connections."""
        while self._opening:
            await asyncio.gather(*self._opening)
        for connection in self._idle:
            connection.close()
        self._idle.clear()
        await asyncio.sleep(0)

    def _open(self) -> None:
        self.opened += 1
        task = asyncio.ensure_future(self._connect())
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(lambda: Connection(self._rest), HOST, self._port)
        except OSError:
            self.opened -= 1
            if self._waiting:
                self._waiting.popleft()[1](BROKEN, b"", False)
            return
        self._rest(connection)

    def _rest(self, connection: Connection) -> None:
        """Return a connection to the idle list."""
        if not connection.open:
            self.opened -= 1
            if self._waiting and self.opened < self._most:
                self._open()
            return
        now_s = time.monotonic()
        while self._waiting:
            sent, done, until_s = self._waiting.popleft()
            if until_s >= now_s:
                connection.send(sent, done)
                return
            done(BROKEN, b"not sent", False)
        self._idle.append(connection)
