"""Forecasts over HTTP: the same as those of the saved model for the same history."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from app_client import app_client
from starlette.testclient import TestClient

from reprise.forecast.forecast_heads import ForecastHeads, HeadWeights
from reprise.forecast.recent_history import feature_count
from reprise.models.networks.recurrent import Recurrent
from reprise.recommender import Recommender
from reprise.server.engine.served_model import ServedModel
from reprise.server.engine.serving_engine import ServingEngine
from reprise.server.store.sqlite import SQLiteStore
from reprise.testing.worlds import rhythm

START_MS = 1_700_000_000_000


def random_head(generator: np.random.Generator, width: int, outputs: int) -> HeadWeights:
    inputs = width + feature_count(2)
    shapes = ((8, inputs), (8,), (outputs, 8), (outputs, inputs), (outputs,))
    arrays = (0.3 * generator.standard_normal(shape).astype(np.float32) for shape in shapes)
    return HeadWeights(np.zeros(width, np.float32), np.ones(width, np.float32), *arrays)


@pytest.fixture(scope="module")
def forecast_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with forecast heads; its weights are random, which a comparison does not need to know."""
    path = tmp_path_factory.mktemp("forecast") / "shop.model"
    log, generator = rhythm(30), np.random.default_rng(3)
    network = Recurrent(size=8, layers=1, attention=0, cooccurrence=0, repeats=0, gaps=True).build(log.sizes)
    kind, gap = random_head(generator, 8, 2), random_head(generator, 8, 7)
    network.forecast = ForecastHeads(2, kind, gap)
    Recommender(network.eval(), log).save(path)
    return path


@pytest.fixture
def client(forecast_model: Path, store: SQLiteStore) -> Iterator[TestClient]:
    yield from app_client(ServingEngine(ServedModel.open(forecast_model, store, 2**20), store))


def history(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Events with unknown items and equal times among them."""
    generator = np.random.default_rng(seed)
    time_ms = START_MS + 1000 * generator.choice([0, 5, 700], size=count).cumsum()
    return [
        {
            "item_id": f"i{generator.integers(8)}" if place % 3 else f"unknown {place}",
            "timestamp": int(at),
            "kind": str(generator.choice(["view", "buy"])),
        }
        for place, at in enumerate(time_ms.tolist())
    ]


@pytest.mark.parametrize("count", [0, 1, 7, 100])
def test_stored_and_sent_events_get_the_forecast_of_the_saved_model(
    client: TestClient, forecast_model: Path, count: int
) -> None:
    events = history(count)
    now = (events[-1]["timestamp"] if events else START_MS) + 30_000
    expected = Recommender.load(forecast_model).forecast(events, length=3, now=now)
    stored = [{"user_id": "u", **event} for event in events]
    if stored:
        client.post("/v1/events", json={"events": stored}).raise_for_status()
    for body in ({"user_id": "u"}, {"events": events}):
        found = client.post("/v1/forecast", json={**body, "now": now, "length": 3})
        assert found.status_code == 200, found.text
        answer = found.json()
        assert expected.kinds is not None
        assert expected.time is not None
        assert {one["kind"]: one["probability"] for one in answer["kinds"]} == pytest.approx(
            expected.kinds, abs=1e-5
        )
        assert answer["time"]["median_s"] == pytest.approx(expected.time.median_s, rel=1e-4)
        assert answer["time"]["expected_s"] == pytest.approx(expected.time.expected_s, rel=1e-4)
        assert answer["time"]["same_time"] == pytest.approx(expected.time.same_time, abs=1e-5)
        assert [one["item_id"] for one in answer["path"]] == [step.item_id for step in expected.path]
        assert [one["after_s"] for one in answer["path"]] == pytest.approx(
            [step.after_s for step in expected.path], rel=1e-3
        )
        assert answer["skipped"] == expected.skipped == (count + 2) // 3


def test_a_model_without_heads_answers_with_the_remedy(engine: ServingEngine) -> None:
    for client in app_client(engine):
        answer = client.post("/v1/forecast", json={"user_id": "u"})
        assert answer.status_code == 409
        error = answer.json()["error"]
        assert error["message"] == "the model has no forecast heads"
        assert "reprise fit-forecast RUN" in error["hint"]


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ({"length": -1}, "length"),
        ({"length": 21}, "length"),
        ({"events": [{"item_id": "i1", "kind": "gift"}]}, "gift"),
    ],
)
def test_invalid_requests_name_the_fault(client: TestClient, body: dict[str, Any], fault: str) -> None:
    answer = client.post("/v1/forecast", json=body)
    assert answer.status_code in (409, 422)
    assert fault in answer.json()["error"]["message"]


def test_without_consent_the_stored_events_are_not_read(client: TestClient) -> None:
    stored = [{"user_id": "u", **event} for event in history(5)]
    client.post("/v1/events", json={"events": stored}).raise_for_status()
    answer = client.post("/v1/forecast", json={"user_id": "u", "consent": False}).json()
    assert answer["events"] == answer["skipped"] == 0
