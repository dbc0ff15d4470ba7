"""A server that listens on a real socket, in a thread of the test process."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from app_client import LONG_TIMEOUTS

from reprise.server.connections.http_server import HttpServer
from reprise.server.engine.served_model import ServedModel
from reprise.server.engine.serving_engine import ServingEngine
from reprise.server.http.app import Authenticator
from reprise.server.process import loop_factory
from reprise.server.prometheus_metrics import PrometheusMetrics
from reprise.server.queueing.async_service import AsyncService
from reprise.server.settings import Settings
from reprise.server.store.sqlite import SQLiteStore

STATE_BYTES = 2**20
TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Address:
    """Address of a running server."""

    url: str
    port: int
    """Main port."""
    health_port: int
    """Port for health checks."""
    engine: ServingEngine

    def call(self, method: str, path: str, body: object = None) -> Any:
        """Send a request and return the decoded JSON of the response."""
        data = None if body is None else json.dumps(body).encode()
        request = Request(
            self.url + path, data, {"Content-Type": "application/json"} if data else {}, method=method
        )
        with urlopen(request, timeout=TIMEOUT_S) as response:
            return json.load(response)


@contextmanager
def server_thread(
    model: Path, events: Path, authenticator: Authenticator | None = None, settings: Settings | None = None
) -> Iterator[Address]:
    """Run a server for a saved model and an event log, and stop it afterwards."""
    store = SQLiteStore(events)
    engine = ServingEngine(ServedModel.open(model, store, STATE_BYTES), store)
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    health = socket.create_server(("127.0.0.1", 0))
    servers: list[HttpServer] = []

    async def serve() -> None:
        service = AsyncService(engine, settings or LONG_TIMEOUTS, PrometheusMetrics())
        servers.append(HttpServer(service, authenticator or Authenticator(), health))
        await servers[0].serve(sockets=[listening])

    def run() -> None:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(serve())

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    until_s = time.monotonic() + TIMEOUT_S
    while not (servers and servers[0].started):
        assert thread.is_alive() and time.monotonic() < until_s, "the server did not start"
        time.sleep(0.01)
    ports = [one.getsockname()[1] for one in (listening, health)]
    yield Address(f"http://127.0.0.1:{ports[0]}", *ports, engine)
    servers[0].request_shutdown()
    thread.join(TIMEOUT_S)
    listening.close()
    assert not thread.is_alive(), "the server did not stop"
