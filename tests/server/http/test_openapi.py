"""The server behaves as its OpenAPI document says, and random bodies do not crash it.

To run more examples: REPRISE_EXAMPLES=1000 REPRISE_BODIES=1000000 pytest tests/server/http/test_openapi.py
"""

import asyncio
import json
import os
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from app_client import http_scope
from hypothesis import HealthCheck, settings
from server_thread import server_thread

from reprise.server.engine.served_model import ServedModel
from reprise.server.engine.serving_engine import ServingEngine
from reprise.server.http.app import create_app
from reprise.server.http.openapi import openapi
from reprise.server.http.routes import OPERATIONS
from reprise.server.prometheus_metrics import PrometheusMetrics
from reprise.server.queueing.async_service import AsyncService
from reprise.server.settings import Settings
from reprise.server.store.sqlite import SQLiteStore

EXAMPLES = int(os.environ.get("REPRISE_EXAMPLES", "60"))
"""Number of examples per operation."""
BODIES = int(os.environ.get("REPRISE_BODIES", "100000"))
"""Number of random bodies."""


@pytest.fixture(scope="module")
def engine(first_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServingEngine]:
    """One engine for all random bodies."""
    store = SQLiteStore(tmp_path_factory.mktemp("fuzzed") / "events.db")
    yield ServingEngine(ServedModel.open(first_model, store, 2**20), store)
    store.close()


@pytest.fixture(scope="module")
def address(first_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    events = tmp_path_factory.mktemp("served") / "events.db"
    with server_thread(first_model, events) as server:
        yield server.url


schema = schemathesis.openapi.from_dict(openapi("1", needs_keys=False))


@schema.parametrize()
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_operation_matches_the_openapi_document(case: Any, address: str) -> None:
    """No 5xx; every response matches its schema and has a documented status; invalid data is rejected, valid data accepted."""
    case.call_and_validate(base_url=address)


def test_every_field_and_parameter_has_a_description() -> None:
    document = openapi("1", needs_keys=True)
    for name, model in document["components"]["schemas"].items():
        assert model["description"], name
        for field, content in model["properties"].items():
            assert content.get("description"), f"{name}.{field}"
    for path in document["paths"].values():
        for operation in path.values():
            assert operation["summary"]
            assert all(response["description"] for response in operation["responses"].values())
            assert all(parameter["description"] for parameter in operation.get("parameters", []))


def test_random_bodies_do_not_crash_the_server(engine: ServingEngine) -> None:
    """Valid bodies with parts removed, repeated, replaced or cut off, and random bytes."""
    statuses = asyncio.run(send_bodies(engine, BODIES))
    assert sum(statuses.values()) == BODIES
    assert set(statuses) <= {200, 400, 404, 409, 413, 422, 429}
    assert (
        min(statuses[200], statuses[400], statuses[422]) > BODIES // 50
    )  # both valid and invalid bodies occurred


async def send_bodies(engine: ServingEngine, bodies: int) -> Counter[int]:
    """Send random bodies and count the statuses of the responses."""
    service = AsyncService(
        ServingEngine(engine.model, engine.store), Settings(queue_timeout_s=60), PrometheusMetrics()
    )
    app = create_app(service)
    generator = random.Random(0)
    statuses: Counter[int] = Counter()
    posts = [
        (one.path, one.method) for one in OPERATIONS if one.body is not None and one.name != "swap_model"
    ]
    for _ in range(bodies):
        path, method = generator.choice(posts)
        statuses[await send_body(app, method, path.replace("{item_id}", "p1"), random_body(generator))] += 1
    for queue in (service._quick_queue, service._slow_queue, service._write_queue):
        queue.close()
    return statuses


async def send_body(app: Any, method: str, path: str, body: bytes) -> int:
    """Send a body, check that the response is JSON, and return its status."""
    scope = http_scope(method, path, ("content-type", "application/json"), ("host", "localhost"))
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    json.loads(sent[1]["body"])
    return int(sent[0]["status"])


VALUES: list[Any] = [
    "", "p1", "p19", "anna", 0, -1, 17, 2**53, 2**70, 1.5, -0.0, 1e308, True, None, [], {}, "\u0000", "\n", "x" * 300, "ö🛒",
    "2024-03-01T10:00:00Z", "view", {"min": 3}, {"not": "left"}, ["left", 3], 1_700_000_000, "NaN", [[]], {"": None},
]  # fmt: skip
NAMES = [
    "user_id", "user_attributes", "item_id", "timestamp", "kind", "value", "event_id", "events", "ack", "consent", "k", "now",
    "deny", "allow", "filter", "exclude_seen", "diversity", "explain", "explore", "explore_seed", "length", "temperature",
    "top_k", "top_p", "no_repeat", "seed", "beams", "title", "price", "available", "columns", "shelf", "__class__",
]  # fmt: skip
VALID: list[Any] = [
    {
        "events": [
            {
                "user_id": "anna",
                "item_id": "p1",
                "timestamp": 1_700_000_000,
                "kind": "view",
                "value": 2,
                "event_id": "e",
            }
        ]
    },
    {"user_id": "anna", "k": 3, "filter": {"price": {"max": 9}}, "deny": ["p1"], "explain": True},
    {"events": [{"item_id": "p3"}, {"item_id": "p4", "timestamp": 1_700_000_000}], "length": 2, "seed": 3},
    {"item_id": "p3", "k": 2},
    {"title": "a", "price": 2.5, "available": True, "columns": {"shelf": "left"}},
]


def random_body(generator: random.Random) -> bytes:
    """Return a changed or damaged body, or random bytes."""
    kind = generator.random()
    if kind < 0.05:
        return generator.randbytes(generator.randrange(60))
    body = json.dumps(mutated(generator, generator.choice(VALID))).encode()
    if kind < 0.2:
        cut = generator.randrange(len(body) + 1)
        return (
            body[:cut]
            + generator.choice([b"", b"\xff", b"NaN", b"}", b'"', b"[" * 300, b"\\u0000"])
            + body[cut:]
        )
    return body if kind < 0.95 else body[: generator.randrange(len(body) + 1)]


def mutated(generator: random.Random, value: Any) -> Any:
    """Return a copy of a value with some parts replaced, removed or added."""
    if generator.random() < 0.08:
        return generator.choice(VALUES)
    if isinstance(value, dict):
        parts = {name: mutated(generator, part) for name, part in value.items() if generator.random() > 0.04}
        if generator.random() < 0.08:
            parts[generator.choice(NAMES)] = generator.choice(VALUES)
        return parts
    if isinstance(value, list):
        return [
            mutated(generator, part) for part in value for _ in range(generator.choice((1, 1, 1, 1, 0, 2)))
        ]
    return value
