"""Requests to the HTTP application without a network."""

from collections.abc import Iterator
from typing import Any

from starlette.testclient import TestClient

from reprise.server.engine.serving_engine import ServingEngine
from reprise.server.http.app import Authenticator, create_app
from reprise.server.prometheus_metrics import PrometheusMetrics
from reprise.server.queueing.async_service import AsyncService
from reprise.server.settings import Settings

LONG_TIMEOUTS = Settings(queue_timeout_s=60, max_loop_lag_s=60)
"""Settings for tests that are not about overload: a busy test machine must not refuse or time out their requests."""


def app_client(
    engine: ServingEngine, authenticator: Authenticator | None = None, settings: Settings | None = None
) -> Iterator[TestClient]:
    """Yield one client of an application, which is shut down afterwards."""
    service = AsyncService(engine, settings or LONG_TIMEOUTS, PrometheusMetrics())
    with TestClient(create_app(service, authenticator)) as client:
        yield client


def http_scope(method: str, path: str, *headers: tuple[str, str], **changes: object) -> dict[str, Any]:
    """Return the ASGI scope of a request with exactly these headers, which an HTTP client would complete."""
    return {
        "type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": b"", "scheme": "http",
        "http_version": "1.1", "headers": [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers],
        "server": ("127.0.0.1", 8000), "client": ("127.0.0.1", 1), "root_path": "", "asgi": {"version": "3.0"},
    } | changes  # fmt: skip
