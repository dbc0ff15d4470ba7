"""The answer log of a server: answers and the events that carry their ids, consent, deletion and limits."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from app_client import LONG_TIMEOUTS
from starlette.testclient import TestClient

from reprise.server.engine.serving_engine import ServingEngine
from reprise.server.http.app import create_app
from reprise.server.prometheus_metrics import PrometheusMetrics
from reprise.server.queueing.answer_buffer import AnswerBuffer
from reprise.server.queueing.async_service import AsyncService
from reprise.server.settings import Settings
from reprise.server.store.answer_log import Answer
from reprise.server.store.records import User
from reprise.server.store.sqlite import SQLiteStore

T = 1_700_000_000


@pytest.fixture
def service(engine: ServingEngine) -> AsyncService:
    return AsyncService(engine, LONG_TIMEOUTS, PrometheusMetrics())


@pytest.fixture
def client(service: AsyncService) -> Iterator[TestClient]:
    with TestClient(create_app(service)) as client:
        yield client


def stored(service: AsyncService, count: int) -> list[Answer]:
    """Return the stored answers when there are so many: the server writes in the background too."""
    store = service.engine.store
    assert isinstance(store, SQLiteStore)
    for _ in range(1_000):
        service.answers.write()
        found = [*store.answers("default")]
        if len(found) == count:
            return found
        time.sleep(0.01)
    raise AssertionError(found)


def ask(client: TestClient, **body: Any) -> dict[str, Any]:
    response = client.post("/v1/recommend", json={"k": 3, **body})
    assert response.status_code == 200, response.text
    result: dict[str, Any] = response.json()
    return result


def answer(number: int, user: User | None = None) -> Answer:
    return Answer(str(number), 10**13, "default", user, "m", None, "recommend", ())


def test_answers_and_the_events_with_their_ids_are_kept(client: TestClient, service: AsyncService) -> None:
    given = ask(client, user_id="anna", explore=0.4, explore_seed=1)
    similar = client.post("/v1/similar", json={"item_id": "p3", "k": 2}).json()
    event = {
        "user_id": "anna",
        "item_id": given["items"][0]["item_id"],
        "recommendation_id": given["recommendation_id"],
    }
    sent = client.post("/v1/events", json={"events": [event, {"user_id": "anna", "item_id": "p2"}]})
    assert [one["status"] for one in sent.json()["results"]] == ["accepted", "accepted"]
    first, second = stored(service, 2)
    assert [item.item_id for item in first.items] == [item["item_id"] for item in given["items"]]
    assert [item.propensity for item in first.items] == [item.get("propensity") for item in given["items"]]
    assert any(item.propensity for item in first.items)
    assert (first.recommendation_id, first.operation) == (given["recommendation_id"], "recommend")
    assert (second.recommendation_id, second.operation) == (similar["recommendation_id"], "similar_items")
    assert (first.model, first.user_hash != "", second.user_hash) == (given["model_version"], True, "")
    store = service.engine.store
    assert isinstance(store, SQLiteStore)
    (response,) = store.responses("default")
    assert (response.recommendation_id, response.item_id) == (first.recommendation_id, event["item_id"])
    assert response.user_hash == first.user_hash


def test_without_consent_nothing_is_kept(client: TestClient, service: AsyncService) -> None:
    ask(client, user_id="anna", consent=False)
    ask(client, user_id="bert")
    (only,) = stored(service, 1)
    ask(client, user_id="bert")
    assert {one.user_hash for one in stored(service, 2)} == {only.user_hash}


def test_a_deleted_user_has_no_answers(client: TestClient, service: AsyncService) -> None:
    """Neither stored ones nor pending ones, and none of requests that end after the deletion."""
    ask(client, user_id="anna")
    stored(service, 1)
    ask(client, user_id="anna")
    ask(client, user_id="bert")
    assert client.delete("/v1/users/anna").status_code == 200
    service.answers.add(answer(1, User("default", "anna")))
    (left,) = stored(service, 1)
    ask(client, user_id="bert")
    assert {one.user_hash for one in stored(service, 2)} == {left.user_hash}


def test_the_buffer_is_bounded_and_drops_are_counted(engine: ServingEngine) -> None:
    metrics = PrometheusMetrics()
    buffer = AnswerBuffer(engine.store, Settings(max_pending_answers=3), metrics)
    for number in range(5):
        buffer.add(answer(number))
    buffer.write()
    text = metrics.render().decode()
    assert 'reprise_answers_total{result="stored"} 3.0' in text
    assert 'reprise_answers_total{result="dropped"} 2.0' in text


def test_a_failing_store_drops_answers_and_recovers(
    engine: ServingEngine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "reprise.server")
    metrics = PrometheusMetrics()
    buffer = AnswerBuffer(engine.store, Settings(), metrics)

    def fail(answers: Any) -> None:
        raise OSError("the disk is gone")

    with monkeypatch.context() as patch:
        patch.setattr(engine.store, "append_answers", fail)
        for number in range(3):
            buffer.add(answer(number))
            buffer.write()
    buffer.add(answer(9))
    buffer.write()
    text = metrics.render().decode()
    assert 'result="dropped"} 3.0' in text and 'result="stored"} 1.0' in text
    assert len([record for record in caplog.records if "answers not written" in record.message]) == 1


def test_the_log_can_be_turned_off_and_old_answers_are_deleted(engine: ServingEngine) -> None:
    store = engine.store
    assert isinstance(store, SQLiteStore)
    off = AnswerBuffer(store, Settings(log_answers=False), PrometheusMetrics())
    off.add(answer(0))
    off.write()
    assert (off.enabled, [*store.answers("default")]) == (False, [])
    store.append_answers([answer(number)._replace(time_ms=1) for number in range(4)])
    buffer = AnswerBuffer(store, Settings(max_answers=2), PrometheusMetrics())
    for number in range(10, 14):
        buffer.add(answer(number))
    buffer.write()
    assert [one.recommendation_id for one in store.answers("default")] == ["12", "13"]


def test_an_event_of_an_unknown_item_says_what_to_do(client: TestClient) -> None:
    events = [{"user_id": "anna", "item_id": item} for item in ("p3", "SKU-NEW")]
    known, unknown = client.post("/v1/events", json={"events": events}).json()["results"]
    assert "hint" not in known
    assert unknown["known_item"] is False
    assert "PUT /v1/items" in unknown["hint"]
