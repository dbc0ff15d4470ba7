"""How tests ask a server."""

from collections.abc import Iterator

from starlette.testclient import TestClient

from reprise.server.app import Door, create_app
from reprise.server.live import Live
from reprise.server.metrics import Metrics
from reprise.server.service import Service
from reprise.server.settings import Settings

PATIENT = Settings(deadline_s=60, late_s=60)
"""Machines that run tests have more to do at the same time; what a server refuses then is not looked at."""


def asking(live: Live, door: Door | None = None, settings: Settings | None = None) -> Iterator[TestClient]:
    """A client of an application that lives as long as the iterator."""
    with TestClient(create_app(Service(live, settings or PATIENT, Metrics()), door)) as client:
        yield client
