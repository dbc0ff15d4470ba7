"""Run a server as a process: open the socket, load the model, handle signals and shut down cleanly."""

import asyncio
import gc
import ipaddress
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from reprise.errors import ArtefactError, ConfigError
from reprise.model_store.model_store import ModelStore
from reprise.model_store.model_version import ModelVersion
from reprise.path_kinds import kind_of
from reprise.recommender.artefact.signature import PublicKey, PublicKeyLike
from reprise.server import json_logging
from reprise.server.connections.http_server import HttpServer, allow_connections
from reprise.server.connections.listener import BACKLOG
from reprise.server.engine.served_model import ServedModel
from reprise.server.engine.serving_engine import ServingEngine
from reprise.server.engine.split_engine import SplitEngine, UserSplit
from reprise.server.http.app import Authenticator
from reprise.server.http.auth import read_keys
from reprise.server.http.cross_site.host_names import HostNames
from reprise.server.http.cross_site.web_origins import allowed_origins
from reprise.server.http.routes import normal_root_path
from reprise.server.prometheus_metrics import PrometheusMetrics
from reprise.server.queueing.async_service import AsyncService
from reprise.server.queueing.model_follower import ModelFollower, usable_versions
from reprise.server.settings import Settings
from reprise.server.store.event_store import EventStore
from reprise.server.store.opening import open_store

LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
# The event loop and the worker threads share the interpreter lock. With Python's default of 5 ms the event loop waits up to
# that long for the lock after each call, and requests queue up (docs/experiments.md).
SWITCH_INTERVAL_S = 0.0001
"""Seconds after which a thread has to release the interpreter lock if another one wants it."""


@dataclass(frozen=True)
class ListenSettings:
    """Address of a server, its API keys, and the names under which clients reach it."""

    host: str = "127.0.0.1"
    """Host name or IP address to listen on."""
    port: int = 8000
    """TCP port to listen on."""
    key_file: Path | None = None
    """TOML file with API keys. None: no keys, which only a server on the local host may have."""
    trusted_hosts: Sequence[str] = ()
    """Further accepted names in the Host header, such as `reco.shop.example` or `*.shop.example`."""
    allowed_origins: Sequence[str] = ()
    """Origins of web pages that may call the server from a browser (CORS), such as `https://shop.example`."""
    root_path: str = ""
    """Path under which a proxy publishes the server, such as `/reco`; empty for none."""
    health_port: int | None = None
    """TCP port that answers only health checks, with connections of its own. None: no such port."""

    def authenticator(self) -> Authenticator:
        """Return the authenticator for this address.

        Raises:
            ConfigError: the host is reachable from other machines and there is no key file, or a name, an origin or the root
                path is invalid.
        """
        keys = None if self.key_file is None else read_keys(self.key_file)
        if keys is None and not _is_local(self.host):
            raise ConfigError(
                f"host {self.host} can be reached from other machines, so the server needs API keys; make one with "
                "`reprise key NAME --file keys.toml` and pass --keys keys.toml, or listen on 127.0.0.1"
            )
        # A web page elsewhere can point its own host name at 127.0.0.1 (DNS rebinding). Without keys, accept known names only.
        # With keys, accept any name: behind a proxy the name is the proxy's.
        hosts = None
        if keys is None or self.trusted_hosts:
            hosts = HostNames([*LOCAL_HOSTS, *_own_name(self.host), *self.trusted_hosts])
        origins = allowed_origins(self.allowed_origins, needs_keys=keys is not None)
        return Authenticator(keys, hosts, origins, normal_root_path(self.root_path))

    def open_sockets(self) -> tuple[socket.socket, socket.socket | None]:
        """Open the listening sockets of the main port and, if there is one, of the port for health checks.

        Raises:
            ConfigError: a port is in use, or the host is not an address of this machine.
        """
        main = self._open_socket(self.port, "--port or --host")
        if self.health_port is None:
            return main, None
        try:
            return main, self._open_socket(self.health_port, "--health-port")
        except ConfigError:
            main.close()
            raise

    def _open_socket(self, port: int, option: str) -> socket.socket:
        try:
            family, *_, address = socket.getaddrinfo(self.host, port, type=socket.SOCK_STREAM)[0]
            return socket.create_server(address[:2], family=family, backlog=BACKLOG)
        except OSError as error:
            raise ConfigError(
                f"cannot listen on port {port} of {self.host} ({error.strerror}); choose another with {option}"
            ) from None


def serve(
    model: Path | Sequence[Path],
    store: str,
    listen: ListenSettings,
    settings: Settings,
    level: int = logging.INFO,
    *,
    trusted: bool = False,
    verify: PublicKeyLike = None,
    split: UserSplit | None = None,
) -> None:
    """Serve a model until the process receives SIGTERM or SIGINT.

    SIGHUP loads the model directory again. A SIGHUP during a load starts another one after it.

    Args:
        model: Directory of the saved model, or of a model store, whose current version is served and followed. Several for an
            A/B test; their stores are not followed, because a test compares fixed versions.
        store: Address of the event log, such as `sqlite:///events.db`; see `open_store`.
        listen: Address to listen on, and the API keys.
        settings: Resource limits and timeouts.
        level: Lowest level of log lines to write.
        trusted: Allow a store class from outside this package.
        verify: Public key, or its file, of the signature that every served model must have; it is read once. None: models
            need no signature.
        split: Shares of the users of each of several models.

    Raises:
        ConfigError: the address of the store or of the server is invalid or in use, or the public key cannot be read.
        ArtefactError: the model is damaged or invalid, or does not have the signature.
        StoreError: the store cannot be opened.
    """
    authenticator, key = listen.authenticator(), None if verify is None else PublicKey.of(verify)
    # before the model is loaded, so that a port in use is reported immediately
    sockets = listen.open_sockets()
    early_reload = threading.Event()
    with suppress(AttributeError):  # Windows has no SIGHUP
        # SIGHUP ends a process by default. Remember it until there is a model to reload: the files may change meanwhile.
        signal.signal(signal.SIGHUP, lambda *_: early_reload.set())
    json_logging.write_to_stderr(level)
    connections = allow_connections(settings.max_connections)
    if connections < settings.max_connections:
        json_logging.log_event("few open files allowed", logging.WARNING, max_connections=connections)
        settings = replace(settings, max_connections=connections)
    log = open_store(store, trusted=trusted)
    try:
        paths = [model] if isinstance(model, Path) else model
        opened = [_open_model(path, log, settings, key) for path in paths]
        served = [one for one, _ in opened]
        if authenticator.keys is not None and authenticator.keys.max_min_users:
            for one in served:
                one.items.users_of_items()  # raises an error if the model does not have these numbers
        engine = ServingEngine(served[0], log) if split is None else SplitEngine(served, log, split)
        followed = opened[0][1] if split is None else None
    except BaseException:
        for resource in (log, *sockets):
            if resource is not None:
                resource.close()
        raise
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    # garbage collection pauses all threads: keep the modules and the model out of every later collection
    gc.collect()
    gc.freeze()
    timers: list[threading.Timer] = []

    def exit_after(seconds: float) -> None:
        # a thread that hangs, with a disk or a database, must not keep the process
        timers.append(threading.Timer(seconds, _exit_now))
        timers[0].daemon = True
        timers[0].start()

    try:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            start = _Start(listen, sockets, followed, early_reload, exit_after)
            runner.run(_serve(engine, authenticator, settings, start))
    finally:
        for timer in timers:
            timer.cancel()


def _open_model(
    path: Path, log: EventStore, settings: Settings, key: PublicKey | None
) -> tuple[ServedModel, tuple[ModelStore, ModelVersion] | None]:
    """Open a saved model, or the newest usable version of a model store; return it with the store and the version.

    Raises:
        ConfigError: the store has no current version.
        ArtefactError: the model, or every version that was current, is damaged.
    """

    def opened(directory: Path) -> ServedModel:
        return ServedModel.open(directory, log, settings.max_state_bytes, settings.max_user_events, key)

    if kind_of(path) != "store":
        return opened(path), None
    store = ModelStore(path.absolute())
    *newer, oldest = usable_versions(store)
    for version in newer:
        try:
            return opened(version.model), (store, version)
        except ArtefactError as error:  # a server with an earlier version is better than none
            json_logging.log_error("version refused", error, version=version.name)
    return opened(oldest.model), (store, oldest)


@dataclass(frozen=True)
class _Start:
    """What a server starts with, apart from its engine and its settings."""

    listen: ListenSettings
    sockets: tuple[socket.socket, socket.socket | None]
    """Listening sockets of the main port and of the port for health checks."""
    followed: tuple[ModelStore, ModelVersion] | None
    """The model store to follow, and the version that is served. None: the model is not from a store."""
    early_reload: threading.Event
    """Set if SIGHUP has arrived already."""
    exit_after: Callable[[float], None]
    """Function that ends the process after some seconds, whatever hangs."""


async def _serve(
    engine: ServingEngine, authenticator: Authenticator, settings: Settings, start: _Start
) -> None:
    (listening, health), listen = start.sockets, start.listen
    service = AsyncService(engine, settings, PrometheusMetrics())
    server = HttpServer(service, authenticator, health)

    def shut_down() -> None:
        if not service.closing:
            start.exit_after(settings.shutdown_timeout_s)
        service.begin_shutdown()
        server.request_shutdown()

    loop = asyncio.get_running_loop()
    handlers = (("SIGHUP", service.request_reload), ("SIGTERM", shut_down), ("SIGINT", shut_down))
    for name, handler in handlers:
        with suppress(AttributeError, NotImplementedError):  # on Windows
            loop.add_signal_handler(getattr(signal, name), handler)
    if start.early_reload.is_set():
        service.request_reload()
    following = None
    if start.followed is not None:
        follower = ModelFollower(*start.followed, service.swap_model, service.metrics)
        following = asyncio.create_task(follower.run())
    json_logging.log_event(
        "serving", address=f"http://{listen.host}:{listen.port}/", model_version=engine.model.version,
        store=type(engine.store).__name__, keys=0 if authenticator.keys is None else len(authenticator.keys),
    )  # fmt: skip
    await server.serve([listening])
    if following is not None:
        following.cancel()
    json_logging.log_event("stopped")


def _exit_now() -> None:
    """End the process although something is still running. Events that were not written yet are lost."""
    json_logging.log_event("stopped before everything was finished")
    os._exit(1)


def loop_factory() -> "type[asyncio.AbstractEventLoop] | None":
    """Return uvloop's event loop, which is faster, or None for asyncio's own if uvloop is not installed."""
    try:
        import uvloop
    except ImportError:  # not available on Windows
        return None
    loop: type[asyncio.AbstractEventLoop] = uvloop.Loop
    return loop


def _own_name(host: str) -> list[str]:
    """Return the name of an address to listen on; nothing for 0.0.0.0 and ::, which mean all addresses."""
    with suppress(ValueError):
        if ipaddress.ip_address(host).is_unspecified:
            return []
    return [host]


def _is_local(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
