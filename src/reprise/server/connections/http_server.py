"""The HTTP server of a process: uvicorn with limited connections, and a second port for health checks."""

import asyncio
import socket
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any

import uvicorn

from reprise.server.connections.connection_table import RESERVED_CONNECTIONS, ConnectionTable
from reprise.server.connections.http_protocol import LimitedHttpProtocol, protocol_class
from reprise.server.connections.listener import Listener
from reprise.server.http.app import Authenticator, create_app, create_health_app
from reprise.server.queueing.async_service import AsyncService
from reprise.server.settings import Settings

SWEEP_TICKS = 5
"""Number of ticks of uvicorn, of 0.1 s each, between two checks of the time limits of all connections."""
HEALTH_CONNECTIONS = 64
"""Maximum number of connections to the port for health checks."""
CLOSE_S = 3
"""Seconds of a shutdown that are reserved for finishing the writes and closing the event log, after the last request."""
OTHER_FILES = 128
"""Number of open files that are reserved for other purposes than connections: the event log, the model, the log output."""


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

        def count_refusal(reason: str) -> None:
            service.metrics.refusals.labels(reason).inc()

        table = ConnectionTable(settings, count_refusal)
        service.metrics.add_gauge(
            "reprise_connections", "Open connections to the main port.", lambda: len(table)
        )
        root_path = authenticator.root_path
        app = create_app(service, authenticator)
        super().__init__(_uvicorn_config(app, protocol_class(table, root_path), settings))
        self._tables = [table]
        self._health_port: tuple[socket.socket, uvicorn.Config] | None = None
        if health_socket is not None:
            limits = replace(settings, max_connections=HEALTH_CONNECTIONS, max_connections_per_address=0)
            self._tables.append(ConnectionTable(limits, count_refusal))
            protocol = protocol_class(self._tables[-1], root_path)
            health_app = create_health_app(service, authenticator)
            self._health_port = health_socket, _uvicorn_config(health_app, protocol, settings)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen on all sockets."""
        await super().startup([])
        ports = [(one, self.config, self.lifespan.state) for one in sockets or ()]
        if self._health_port is not None:
            health_socket, config = self._health_port
            config.load()  # its application has no lifespan: the main one starts and closes the service
            ports.append((health_socket, config, {}))
        for listening, config, app_state in ports:
            _send_without_delay(listening)
            create: Callable[..., Any] = config.http_protocol_class
            protocol = partial(create, config, self.server_state, app_state)
            self.servers.append(await _listen(listening, protocol))

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


async def _listen(listening: socket.socket, protocol: Callable[[], Any]) -> Any:
    """Accept the connections of a socket."""
    if sys.platform == "win32":  # its event loop cannot wait for a listening socket
        return await asyncio.get_running_loop().create_server(protocol, sock=listening)
    return Listener(listening, protocol)


def _send_without_delay(listening: socket.socket) -> None:
    """Set TCP_NODELAY, which accepted sockets inherit. asyncio sets it only for sockets of an explicit protocol."""
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


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
