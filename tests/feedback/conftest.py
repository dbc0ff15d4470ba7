"""Logs of answers and events for the tests of the package `feedback`."""

from collections.abc import Callable

import pytest

from reprise.server import Answer, Response, ShownItem

START_MS = 1_700_000_000_000


def answer(name: str, user: str, items: str, time_ms: int = START_MS, variant: str | None = None) -> Answer:
    """Return an answer with one-letter items; the model is m1, or the variant."""
    shown = tuple(ShownItem(item, -float(rank)) for rank, item in enumerate(items))
    model = f"model-{variant}" if variant else "m1"
    return Answer(name, time_ms, "default", None, model, variant, "recommend", shown, user)


def response(
    name: str, user: str, item: str, time_ms: int = START_MS + 1_000, kind: str | None = None
) -> Response:
    return Response(name, time_ms, item, kind, None, user)


@pytest.fixture
def answers() -> Callable[..., Answer]:
    return answer


@pytest.fixture
def responses() -> Callable[..., Response]:
    return response
