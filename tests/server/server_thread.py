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

import uvicorn
from app_client import LONG_TIMEOUTS

from reprise.server.engine.served_model import ServedModel
from reprise.server.engine.serving_engine import ServingEngine
from reprise.server.http.app import Authenticator, create_app
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
    servers: list[uvicorn.Server] = []

    async def serve() -> None:
        service = AsyncService(engine, settings or LONG_TIMEOUTS, PrometheusMetrics())
        app = create_app(service, authenticator)
        servers.append(uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, ws="none")))
        await servers[0].serve(sockets=[listening])

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    until_s = time.monotonic() + TIMEOUT_S
    while not (servers and servers[0].started):
        assert thread.is_alive() and time.monotonic() < until_s, "the server did not start"
        time.sleep(0.01)
    yield Address(f"http://127.0.0.1:{listening.getsockname()[1]}", engine)
    servers[0].should_exit = True
    thread.join(TIMEOUT_S)
    listening.close()
    assert not thread.is_alive(), "the server did not stop"
