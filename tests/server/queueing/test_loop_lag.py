"""Event-loop lag is measured, and requests are refused when it is high."""

import asyncio
import time

import pytest
from app_client import app_client

from reprise.server.engine.serving_engine import ServingEngine
from reprise.server.queueing.loop_lag import INTERVAL_S, EventLoopLagMonitor


def test_repeated_blocking_is_lag_and_a_single_pause_is_not() -> None:
    async def scenario() -> None:
        monitor = EventLoopLagMonitor()
        monitor.start()
        await asyncio.sleep(3 * INTERVAL_S)
        assert monitor.lag_s < 0.2
        time.sleep(0.3)  # a single pause
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert monitor.lag_s < 0.2
        for _ in range(3):  # repeated blocking
            time.sleep(0.3)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        assert monitor.lag_s > 0.2
        for _ in range(100):
            await asyncio.sleep(INTERVAL_S)
            if monitor.lag_s < 0.1:
                break
        else:
            raise AssertionError("the lag must fall when the loop is free again")
        monitor.stop()

    asyncio.run(scenario())


def test_requests_are_refused_while_the_lag_is_high(
    engine: ServingEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for client in app_client(engine):
        monkeypatch.setattr(EventLoopLagMonitor, "lag_s", 300.0)
        refused = client.post("/v1/recommend", json={"user_id": "anna"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "overloaded")
        assert refused.headers["retry-after"] == "1"
        assert client.get("/healthz").status_code == 200
        monkeypatch.undo()
        assert client.post("/v1/recommend", json={"user_id": "anna"}).status_code == 200
