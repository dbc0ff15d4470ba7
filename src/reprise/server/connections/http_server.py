"""The HTTP server of a process: uvicorn with limited connections, and a second port for health checks."""

import asyncio
import socket
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import uvicorn

from reprise.server.connections.connection_table import RESERVED_CONNECTIONS, ConnectionTable
from reprise.server.connections.http_protocol import LimitedHttpProtocol, protocol_class
from reprise.server.http.app import Authenticator, create_app, create_health_app
from reprise.server.queueing.async_service import AsyncService
from reprise.server.settings import Settings

SWEEP_TICKS = 5
"""Ticks of uvicorn, of 0.1 s each, between two searches for connections whose time limits have passed."""
HEALTH_CONNECTIONS = 64
"""Maximum number of connections to the port for health checks."""
CLOSE_S = 3
"""Part of the time of a shutdown for what follows the requests: finishing the writes and closing the event log, in seconds."""
OTHER_FILES = 128
"""Number of open files left for everything but connections: the event log, the model, the log output."""


class HttpServer(uvicorn.Server):
    """Serves a service on listening sockets, without signal handlers of its own."""

    def __init__(
        self, service: AsyncService, authenticator: Authenticator, health_socket: socket.socket | None = None
    ) -> None:
        """Create a server.

        Args:
            service: The service, with its settings.
            authenticator: Who may call the server.
            health_socket: Listening socket of a port that answers only `/healthz`, `/readyz` and `/metrics`, and has
                limits of its own. None: no such port.
        """
        settings = service.settings
        health_settings = replace(settings, max_connections=HEALTH_CONNECTIONS, max_connections_per_address=0)

        def count_refusal(reason: str) -> None:
            service.metrics.refusals.labels(reason).inc()

        table, health_table = (ConnectionTable(one, count_refusal) for one in (settings, health_settings))
        service.metrics.add_gauge(
            "reprise_connections", "Open connections to the main port.", lambda: len(table)
        )
        root_path = authenticator.root_path
        app = create_app(service, authenticator)
        super().__init__(_uvicorn_config(app, protocol_class(table, root_path), settings))
        health_app = create_health_app(service, authenticator)
        self._health_protocol = protocol_class(health_table, root_path)
        self._health_config = _uvicorn_config(health_app, self._health_protocol, settings)
        self._health_socket = health_socket
        self._tables = (table, health_table)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen on all sockets."""
        for one in (*(sockets or ()), *([self._health_socket] if self._health_socket else ())):
            # accepted sockets inherit it; asyncio sets it only for sockets of an explicit protocol
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await super().startup(sockets)
        if self._health_socket is None:
            return
        loop, config = asyncio.get_running_loop(), self._health_config
        config.load()  # its application has no lifespan: the main one starts and closes the service

        def protocol() -> LimitedHttpProtocol:
            return self._health_protocol(config, self.server_state, {}, loop)

        self.servers.append(await loop.create_server(protocol, sock=self._health_socket))

    async def on_tick(self, counter: int) -> bool:
        """Close connections whose time limits have passed; return whether the server should stop."""
        if counter % SWEEP_TICKS == 0:
            now_s = asyncio.get_running_loop().time()
            for table in self._tables:
                table.close_expired(now_s)
        return await super().on_tick(counter)

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave the signal handlers to the process."""
        yield

    def request_shutdown(self) -> None:
        """Stop accepting connections, finish running requests and return from `serve`."""
        self.should_exit = True


def _uvicorn_config(app: Any, protocol: type[LimitedHttpProtocol], settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=protocol,
        ws="none",
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=max(1, settings.shutdown_timeout_s - CLOSE_S),
        timeout_keep_alive=settings.keep_alive_timeout_s,
        server_header=False,
        proxy_headers=False,  # the address of the client counts for the limit of connections only
    )


def allow_connections(wanted: int) -> int:
    """Raise the limit of open files of this process if necessary.

    Args:
        wanted: Wanted number of connections.

    Returns:
        The number of connections that the limit of open files allows, at most the wanted number.
    """
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return wanted
    files = wanted + RESERVED_CONNECTIONS + HEALTH_CONNECTIONS + OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= files:
        return wanted
    allowed = files if hard == resource.RLIM_INFINITY else min(files, hard)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        soft = allowed
    return max(1, wanted - (files - soft))
