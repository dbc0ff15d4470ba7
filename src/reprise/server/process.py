"""A server as a process: a socket, signals, and a clean end."""

import asyncio
import gc
import ipaddress
import logging
import signal
import socket
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from reprise.errors import ConfigError
from reprise.server import json_logging
from reprise.server.engine.served_model import ServedModel
from reprise.server.engine.serving_engine import ServingEngine
from reprise.server.http.app import Authenticator, create_app
from reprise.server.http.auth import read_keys
from reprise.server.prometheus_metrics import PrometheusMetrics
from reprise.server.queueing.async_service import AsyncService
from reprise.server.settings import Settings
from reprise.server.store.opening import open_store

LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
BACKLOG = 2048
"""Connections that wait to be taken in."""
SWITCH_S = 0.0001
"""How long a thread may hold the interpreter while another wants it: the loop must not wait long for those who compute."""


@dataclass(frozen=True)
class ListenSettings:
    """Where a server listens, and who may come in."""

    host: str = "127.0.0.1"
    port: int = 8000
    keys: Path | None = None

    def door(self) -> Authenticator:
        """Who is let in.

        Raises:
            ConfigError: others could reach the server, and no keys are given.
        """
        keys = None if self.keys is None else read_keys(self.keys)
        local = _is_local(self.host)
        if keys is None and not local:
            raise ConfigError(
                f"on {self.host} others can reach the server, so it needs keys: make one with `reprise key NAME --file "
                "keys.toml` and pass --keys keys.toml; on 127.0.0.1 it needs none"
            )
        # keys are asked for by any name: a proxy passes on the one that it was called by
        return Authenticator(keys, LOCAL_HOSTS | {self.host} if local and keys is None else None)

    def listen(self) -> socket.socket:
        """A socket there, before anything else is done.

        Raises:
            ConfigError: the address is not this machine's, or its port is taken.
        """
        try:
            family, *_, address = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)[0]
            return socket.create_server(address[:2], family=family, backlog=BACKLOG)
        except OSError as error:
            raise ConfigError(
                f"port {self.port} of {self.host} cannot be had ({error.strerror}); choose another with --port, or another "
                "--host"
            ) from None


def serve(
    model: Path,
    store: str,
    place: ListenSettings,
    settings: Settings,
    level: int = logging.INFO,
    *,
    trusted: bool = False,
) -> None:
    """Serve a model until the process is asked to end.

    Args:
        model: Directory of a saved model.
        store: Address of the event store, as for `open_store`.
        place: Host, port and key file.
        settings: Limits of the server.
        level: Level of the log.
        trusted: Whether the store may be a class from outside this package.

    Raises:
        ConfigError: the address of the store or the place cannot be.
        ArtefactError: the model is not sound.
        StoreError: the store cannot be opened.
    """
    door = place.door()
    listening = place.listen()
    with suppress(AttributeError):  # not on every system
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # there is nothing yet that could be read again
    json_logging.write_to_stderr(level)
    log = open_store(store, trusted=trusted)
    try:
        live = ServingEngine(ServedModel.open(model, log, settings.state_bytes), log)
    except BaseException:
        log.close()
        raise
    sys.setswitchinterval(SWITCH_S)
    # a collection of garbage holds all threads: it need not look through what a hundred modules and the model have made
    gc.collect()
    gc.freeze()
    with asyncio.Runner(loop_factory=_loop()) as runner:
        runner.run(_serve(live, door, place, listening, settings))


class _Server(uvicorn.Server):
    """One that leaves signals to us."""

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    def end(self) -> None:
        """Take no more requests, finish those that were begun, and end."""
        self.should_exit = True


async def _serve(
    live: ServingEngine,
    door: Authenticator,
    place: ListenSettings,
    listening: socket.socket,
    settings: Settings,
) -> None:
    service = AsyncService(live, settings, PrometheusMetrics())
    server = _Server(
        uvicorn.Config(
            create_app(service, door),
            access_log=False,
            log_config=None,
            timeout_graceful_shutdown=settings.drain_s,
            limit_concurrency=settings.connections,
            server_header=False,
            proxy_headers=False,  # nothing here asks where a request came from
        )
    )
    swaps: set[asyncio.Task[str]] = set()

    def swapped(task: asyncio.Task[str]) -> None:
        swaps.discard(task)
        if not task.cancelled():
            task.exception()  # the service has told of it

    def swap() -> None:
        task = asyncio.create_task(service.swap())
        swaps.add(task)
        task.add_done_callback(swapped)

    loop = asyncio.get_running_loop()
    for name, handler in (("SIGHUP", swap), ("SIGTERM", server.end), ("SIGINT", server.end)):
        with suppress(AttributeError, NotImplementedError):  # not on every system
            loop.add_signal_handler(getattr(signal, name), handler)
    json_logging.log_event(
        "serving", address=f"http://{place.host}:{place.port}/", model_version=live.served.version,
        store=type(live.store).__name__, keys=0 if door.keys is None else len(door.keys),
    )  # fmt: skip
    await server.serve([listening])
    json_logging.log_event("ended")


def _loop() -> "type[asyncio.AbstractEventLoop] | None":
    """A quicker loop, where there is one."""
    try:
        import uvloop
    except ImportError:  # not on every system
        return None
    loop: type[asyncio.AbstractEventLoop] = uvloop.Loop
    return loop


def _is_local(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
