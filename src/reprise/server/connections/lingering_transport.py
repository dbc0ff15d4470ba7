"""A transport that lets a client read the response before the connection is closed."""

import asyncio
from collections.abc import Callable
from typing import Any


class LingeringTransport:
    """A transport whose `close` waits for a client that is still sending.

    If a connection is closed while bytes of the client are unread, the system resets it, and the client may lose the response.
    """

    def __init__(self, transport: asyncio.Transport, linger: Callable[[], bool]) -> None:
        """Wrap a transport.

        Args:
            transport: The transport.
            linger: Returns whether the client is still sending, and if so, starts to discard what it sends.
        """
        self.is_closing = transport.is_closing
        self._transport = transport
        self._linger = linger

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Write to the client if it is connected. uvicorn checks this only for the last of several pipelined requests."""
        if not self._transport.is_closing():
            self._transport.write(data)

    def close(self) -> None:
        """Close the connection, unless the client is still sending."""
        if not self._linger():
            self._transport.close()
