"""A server that really listens, in a thread of the test process."""

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
from asking import PATIENT

from reprise.server.engine.served_model import ServedModel
from reprise.server.engine.serving_engine import ServingEngine
from reprise.server.http.app import Authenticator, create_app
from reprise.server.prometheus_metrics import PrometheusMetrics
from reprise.server.queueing.async_service import AsyncService
from reprise.server.settings import Settings
from reprise.server.store.sqlite import SQLiteStore

STATE_BYTES = 2**20
WITHIN_S = 30.0


@dataclass(frozen=True)
class Address:
    """Where it listens."""

    url: str

    def call(self, method: str, path: str, body: object = None) -> Any:
        """What it answers."""
        data = None if body is None else json.dumps(body).encode()
        request = Request(
            self.url + path, data, {"Content-Type": "application/json"} if data else {}, method=method
        )
        with urlopen(request, timeout=WITHIN_S) as answer:
            return json.load(answer)


@contextmanager
def serving(
    model: Path, events: Path, door: Authenticator | None = None, settings: Settings | None = None
) -> Iterator[Address]:
    """A server over a saved model and a file of events, from the first to the last request of a test."""
    store = SQLiteStore(events)
    live = ServingEngine(ServedModel.open(model, store, STATE_BYTES), store)
    place = socket.socket()
    place.bind(("127.0.0.1", 0))
    servers: list[uvicorn.Server] = []

    async def serve() -> None:
        app = create_app(AsyncService(live, settings or PATIENT, PrometheusMetrics()), door)
        servers.append(uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, ws="none")))
        await servers[0].serve(sockets=[place])

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    until_s = time.monotonic() + WITHIN_S
    while not (servers and servers[0].started):
        assert thread.is_alive() and time.monotonic() < until_s, "the server did not start"
        time.sleep(0.01)
    yield Address(f"http://127.0.0.1:{place.getsockname()[1]}")
    servers[0].should_exit = True
    thread.join(WITHIN_S)
    place.close()
    assert not thread.is_alive(), "the server did not end"
