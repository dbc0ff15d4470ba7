"""How tests ask a server."""

from collections.abc import Iterator

from starlette.testclient import TestClient

from reprise.server.engine.serving_engine import ServingEngine
from reprise.server.http.app import Authenticator, create_app
from reprise.server.prometheus_metrics import PrometheusMetrics
from reprise.server.queueing.async_service import AsyncService
from reprise.server.settings import Settings

PATIENT = Settings(deadline_s=60, late_s=60)
"""Machines that run tests have more to do at the same time; what a server refuses then is not looked at."""


def asking(
    live: ServingEngine, door: Authenticator | None = None, settings: Settings | None = None
) -> Iterator[TestClient]:
    """A client of an application that lives as long as the iterator."""
    with TestClient(create_app(AsyncService(live, settings or PATIENT, PrometheusMetrics()), door)) as client:
        yield client
