"""A listening socket whose waiting connections are all accepted in each turn of the event loop.

uvloop's own server accepts one connection per turn. While many clients keep the loop busy, a turn takes long, and the
connections of other clients would wait for seconds.
"""

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress

BACKLOG = 2048
"""Maximum number of connections that wait to be accepted."""
ACCEPTS_PER_TURN = 32
"""Maximum number of connections to accept in a turn. With more, the limits of connections would close some unread."""
PAUSE_S = 0.1
"""Seconds without accepting after the system has refused, for instance because too many files are open."""


class Listener:
    """Accepts the connections of a listening socket. It has the methods of `asyncio.Server` that uvicorn calls."""

    def __init__(self, listening: socket.socket, protocol_factory: Callable[[], asyncio.Protocol]) -> None:
        """Start to listen, in the running event loop.

        Args:
            listening: Bound socket, which may listen already. `close` closes it.
            protocol_factory: Returns the protocol of a new connection.
        """
        self._socket, self._protocol_factory = listening, protocol_factory
        self._loop = asyncio.get_running_loop()
        self._opening: set[asyncio.Task[None]] = set()
        self._is_closed = False
        listening.setblocking(False)
        listening.listen(BACKLOG)
        self._loop.add_reader(listening.fileno(), self._accept)

    def close(self) -> None:
        """Stop accepting, and close the socket."""
        if not self._is_closed:
            self._is_closed = True
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()

    async def wait_closed(self) -> None:
        """Wait for the connections that are being opened."""
        await asyncio.gather(*self._opening)

    def _accept(self) -> None:
        for _ in range(ACCEPTS_PER_TURN):
            try:
                accepted, _ = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:
                self._loop.remove_reader(self._socket.fileno())
                self._loop.call_later(PAUSE_S, self._resume)
                return
            accepted.setblocking(False)
            task = self._loop.create_task(self._open(accepted))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    def _resume(self) -> None:
        if not self._is_closed:
            self._loop.add_reader(self._socket.fileno(), self._accept)

    async def _open(self, accepted: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._protocol_factory, accepted)
        except OSError:  # the client has gone
            with suppress(OSError):
                accepted.close()
