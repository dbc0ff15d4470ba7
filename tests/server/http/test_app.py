"""The HTTP interface: requests, responses, errors, authentication and logging."""

import asyncio
import http.client
import json
import logging
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from app_client import LONG_TIMEOUTS, app_client, http_scope
from server_thread import server_thread
from starlette.testclient import TestClient

from reprise.recommender import Recommender
from reprise.server.engine import state_builder
from reprise.server.engine.requests import RankingRules, RecommendQuery, RecommendResult, UserContext
from reprise.server.engine.serving_engine import ServingEngine
from reprise.server.http import handlers
from reprise.server.http.app import Authenticator, create_app
from reprise.server.http.auth import add_key, read_keys
from reprise.server.http.routes import OPERATIONS
from reprise.server.json_logging import JsonFormatter
from reprise.server.prometheus_metrics import PrometheusMetrics
from reprise.server.queueing import async_service
from reprise.server.queueing.async_service import AsyncService
from reprise.server.store.event_store import KeepsErasures, StoreError
from reprise.server.store.records import User, UserEvent

T = 1_700_000_000


def post(client: TestClient, path: str, body: Any, **options: Any) -> Any:
    return client.post(path, json=body, **options)


def record(client: TestClient, *events: Any, **rest: Any) -> list[Any]:
    """Send events and return the status and the error of each."""
    response = post(client, "/v1/events", {"events": list(events), **rest})
    assert response.status_code == 200, response.text
    return [(result["status"], result["error"]) for result in response.json()["results"]]


def error_of(response: Any) -> tuple[int, str]:
    """Check the form of an error response and return its status and its code."""
    body = response.json()
    assert body.keys() == {"error"} and body["error"].keys() == {"code", "message", "hint"}
    assert body["error"]["message"]
    assert response.headers["content-type"] == "application/json"
    return response.status_code, body["error"]["code"]


def test_recommendations_include_the_latest_event(client: TestClient, first_model: Path) -> None:
    shop = Recommender.load(first_model)
    history = []
    for place, item in enumerate(["p3", "p7", "p3", "p12"]):
        event = {"item_id": item, "timestamp": T + 60 * place, "kind": "view"}
        assert record(client, {"user_id": "anna", **event}) == [("accepted", None)]
        history.append(event)
        answer = post(client, "/v1/recommend", {"user_id": "anna", "k": 5, "now": T + 9999}).json()
        expected = shop.recommend(history, 5, now=T + 9999)
        assert [(one["item_id"], one["rank"]) for one in answer["items"]] == [
            (one.item_id, one.rank) for one in expected
        ]
        assert [one["score"] for one in answer["items"]] == pytest.approx(
            [one.score for one in expected], abs=1e-6
        )
        assert answer["events"] == place + 1
        assert answer["model_version"] and len(answer["recommendation_id"]) == 32


def test_without_consent_no_event_is_stored_or_read(client: TestClient) -> None:
    event = {"user_id": "anna", "item_id": "p1", "timestamp": T}
    assert record(client, event, consent=False) == [("rejected", "no consent, so it was not stored")]
    assert client.get("/v1/users/anna").json()["events"] == []
    record(client, event)
    query = {"user_id": "anna", "events": [{"item_id": "p2"}], "k": 3, "now": T + 5}
    without_history = post(client, "/v1/recommend", {**query, "user_id": "unknown"}).json()["items"]
    assert post(client, "/v1/recommend", {**query, "consent": False}).json()["items"] == without_history
    assert post(client, "/v1/recommend", query).json()["items"] != without_history


def test_the_default_timestamp_is_now(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time_ns", lambda: T * 10**9)
    record(client, {"user_id": 5, "item_id": "p1"})
    (event,) = client.get("/v1/users/5").json()["events"]
    assert event["timestamp"] == T * 1000


def test_ack_accepted_responds_before_the_events_are_stored(engine: ServingEngine) -> None:
    events = [
        {"user_id": "anna", "item_id": f"p{place}", "timestamp": T, "event_id": str(place)}
        for place in range(9)
    ]
    for client in app_client(engine):
        for event in events:
            assert record(client, event, ack="accepted") == [("accepted", None)]
        assert record(client, events[0]) == [("duplicate", None)]  # the queue keeps their order
        assert len(client.get("/v1/users/anna").json()["events"]) == 9


def test_a_deleted_user_is_in_the_queue_for_the_next_training(
    client: TestClient, engine: ServingEngine
) -> None:
    assert isinstance(engine.store, KeepsErasures)
    assert client.delete("/v1/users/17").json()["events_deleted"] == 0
    queue = engine.store.erased_users("default")
    assert 17 in queue and "18" not in queue and len(queue) == 1


def test_the_data_of_a_user_can_be_read_by_page_and_deleted(client: TestClient) -> None:
    events = [{"user_id": "an/na ö", "item_id": f"p{place}", "timestamp": T + place} for place in range(7)]
    record(client, *events)
    path = "/v1/users/an%2Fna%20%C3%B6"
    first = client.get(f"{path}?limit=4").json()
    rest = client.get(f"{path}?limit=4&after={first['next_after']}").json()
    assert [event["item_id"] for event in first["events"] + rest["events"]] == [
        f"p{item}" for item in range(7)
    ]
    assert first["next_after"] == 4 and rest["next_after"] is None
    assert first["events"][0]["title"] == "Product p0"
    state = first["state"]
    assert (state["events"], state["skipped"], state["last_seq"]) == (7, 0, 7) and state["bytes"] > 0
    assert client.get("/v1/users").json() == {"users": ["an/na ö"]}
    deletion = client.delete(path).json()
    assert deletion["events_deleted"] == 7 and "no trace" in deletion["proof"]
    assert client.get(path).json()["events"] == [] and client.get("/v1/users").json() == {"users": []}
    query = {"k": 3, "now": T + 99}
    after = post(client, "/v1/recommend", {"user_id": "an/na ö", **query}).json()
    assert after["items"] == post(client, "/v1/recommend", {"events": [], **query}).json()["items"]
    assert client.delete(path).json()["events_deleted"] == 0


def test_put_item_replaces_the_attributes_of_an_item(client: TestClient) -> None:
    query = {"events": [{"item_id": "p3"}], "k": 3}
    first = post(client, "/v1/recommend", query).json()["items"][0]["item_id"]
    attributes = {
        "title": "Läufer",
        "available": True,
        "columns": {"colour": "red", "stock": 4, "shelf": None},
    }
    assert client.put(f"/v1/items/{first}", json=attributes).json() == {
        "item_id": first,
        "recommendable": True,
    }
    red = post(client, "/v1/recommend", {**query, "filter": {"colour": "red", "stock": {"min": 2}}}).json()[
        "items"
    ]
    assert [(one["item_id"], one["title"]) for one in red] == [(first, "Läufer")]
    assert client.get("/v1/items?search=l%C3%84UF").json()["items"] == [{"item_id": first, "title": "Läufer"}]
    client.put(f"/v1/items/{first}", json={"available": False})
    assert first not in [one["item_id"] for one in post(client, "/v1/recommend", query).json()["items"]]
    assert client.put("/v1/items/new", json={}).json() == {"item_id": "new", "recommendable": False}
    twice = {"price": 2, "columns": {"price": 3}}
    assert error_of(client.put(f"/v1/items/{first}", json=twice)) == (409, "conflict")
    for item in (first, "new"):
        answer = client.put(f"/v1/items/{item}", json={"columns": {"shelf": 3}})
        assert error_of(answer) == (422, "invalid_request")
        assert answer.json()["error"]["message"] == "column 'shelf' holds text, got 3"
    answer = client.put(f"/v1/items/{first}", json={"columns": {"shelf": ["left", "top"]}})
    assert error_of(answer) == (409, "conflict"), "the document allows lists, and this model reads none"
    assert "takes no lists" in answer.json()["error"]["message"]
    assert client.delete(f"/v1/items/{first}").json() == {"item_id": first, "deleted": True}
    answer = post(client, "/v1/recommend", query).json()["items"][0]
    assert (answer["item_id"], answer["title"]) == (first, f"Product {first}"), "the model's values again"
    for item, deleted in ((first, False), ("new", True), ("never", False)):
        assert client.delete(f"/v1/items/{item}").json() == {"item_id": item, "deleted": deleted}


def test_there_are_fewer_than_k_items_only_if_fewer_pass_the_rules(client: TestClient) -> None:
    query = {"events": [{"item_id": "p3"}], "k": 15}
    for rules, count in [
        ({}, 15), ({"deny": ["p1", "p2"]}, 15), ({"filter": {"price": {"max": 4}}}, 5), ({"exclude_seen": True}, 15),
        ({"filter": {"shelf": {"not": "left"}}}, 10), ({"allow": ["p1", "p5", "no such"]}, 2), ({"diversity": 1.0}, 15),
        ({"k": 1000}, 20), ({"k": 1001}, 20), ({"k": 2**53}, 20), ({"k": 2**53, "diversity": 0.5}, 20),
    ]:  # fmt: skip
        for history in (query["events"], []):
            answer = post(client, "/v1/recommend", {**query, "events": history, **rules}).json()["items"]
            expected = count - 1 if history and rules.get("k") and rules.get("exclude_seen") else count
            assert len(answer) == len({one["item_id"] for one in answer}) == expected


def test_k_is_limited_if_the_catalogue_has_more_items(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handlers, "MAX_K", 19)
    for path, body in [("recommend", {"user_id": "a"}), ("similar", {"item_id": "p3"})]:
        assert len(post(client, f"/v1/{path}", {**body, "k": 19}).json()["items"]) == 19
        for k in (20, 2**53):
            response = post(client, f"/v1/{path}", {**body, "k": k})
            assert error_of(response) == (409, "conflict")
            assert response.json()["error"]["message"] == f"k is {k}, and a response has at most 19 items"


def test_explanations_similar_items_and_continuations(client: TestClient) -> None:
    record(
        client, *({"user_id": "anna", "item_id": item, "timestamp": T} for item in ("p3", "p9", "unheard of"))
    )
    answer = post(client, "/v1/recommend", {"user_id": "anna", "k": 2, "explain": True}).json()
    assert (answer["events"], answer["skipped"]) == (2, 1)
    for one in answer["items"]:
        assert {cause["item_id"] for cause in one["causes"]} == {"p3", "p9"}
        assert one["causes"][0]["timestamp"] == T * 1000
    similar = post(client, "/v1/similar", {"item_id": "p3", "k": 4}).json()["items"]
    assert [one["rank"] for one in similar] == [1, 2, 3, 4] and "p3" not in [
        one["item_id"] for one in similar
    ]
    path = post(client, "/v1/generate", {"user_id": "anna", "length": 3, "beams": 2}).json()["items"]
    assert len({one["item_id"] for one in path}) == 3 and all(one["log_probability"] < 0 for one in path)
    assert error_of(post(client, "/v1/similar", {"item_id": "unheard of"})) == (404, "item_not_found")
    assert error_of(post(client, "/v1/generate", {"events": [], "beams": 2, "seed": 1})) == (
        409,
        "conflict",
    )


INVALID: list[tuple[str, Any, str]] = [
    ("events", {}, "events: field required"),
    ("events", {"events": []}, "events: list should have at least 1 item"),
    ("events", {"events": [{"user_id": "a", "item_id": "p"}] * 1001}, "events: list should have at most 1000 items"),
    ("events", {"events": [{"user_id": "a", "item_id": "p"}], "ack": "maybe"}, "ack: input should be 'durable' or 'accepted'"),
    ("recommend", {"user_id": "a", "k": 0}, "k: input should be greater than or equal to 1"),
    ("recommend", {"user_id": "a", "k": 2.5}, "k: input should be a valid integer"),
    ("recommend", {"user_id": "a", "diversity": 1.1}, "diversity: input should be less than or equal to 1"),
    ("recommend", {"user_id": "a", "filter": {"colour": "red"}}, "the items have no column 'colour'"),
    ("recommend", {"user_id": "a", "filter": {"price": {"above": 3}}}, "filter.price"),
    ("recommend", {"events": [{"item_id": "p1", "kind": "vew"}]}, "unknown kind of event 'vew'"),
    ("recommend", {"events": [{"item_id": "p1", "timestamp": T}], "now": T - 5}, "is before the last event"),
    ("similar", {"item_id": "p1", "k": -1}, "k: input should be greater"),
    ("generate", {"events": [], "length": 0}, "length: input should be greater"),
    ("generate", {"events": [], "length": 50}, "is above the 20 items that can be chosen"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "body", "message"), INVALID, ids=lambda value: str(value)[:60])
def test_an_invalid_request_is_an_error_that_names_the_field(
    name: str, body: Any, message: str, client: TestClient
) -> None:
    response = post(client, f"/v1/{name}", body)
    matches_schema = any(
        words in message for words in ("no column", "unknown kind", "before the last", "that can be chosen")
    )
    assert error_of(response) == ((409, "conflict") if matches_schema else (422, "invalid_request"))
    assert message in response.json()["error"]["message"]
    assert client.get("/v1/users").json() == {"users": []}


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        (None, "filter.price: input should be text of at most 2,000 characters without control characters, a finite number, "
         'true or false, a list of these, a range or {"not": ...}'),
        ("a" * 2_001, "filter.price: input should be text of at most 2,000 characters"),
        ([1, [2]], "filter.price: a list should have at most 1,000 values, each text of"),
        ([1] * 1_001, "filter.price: a list should have at most 1,000 values"),
        ({"above": 3}, 'filter.price: a condition should be {"min": ..., "max": ...} with numbers or text, or {"not": ...}'),
        ({"min": []}, "filter.price: a condition should be"),
        ({"not": {"min": 3}}, "filter.price: a condition should be"),
    ],
    ids=lambda value: str(value)[:30],
)  # fmt: skip
def test_a_filter_of_a_wrong_type_has_one_readable_message(
    condition: Any, message: str, client: TestClient
) -> None:
    response = post(client, "/v1/recommend", {"filter": {"price": condition}})
    assert error_of(response) == (422, "invalid_request")
    assert message in response.json()["error"]["message"]
    assert "more" not in response.json()["error"]["message"]
    column = client.put("/v1/items/p1", json={"columns": {"price": [condition]}})
    assert "columns.price: input should be text" in column.json()["error"]["message"]


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"", 400, "invalid_json"),
        (b"{", 400, "invalid_json"),
        (b"\xff\xfe", 400, "invalid_json"),
        (b'{"events": [{"user_id": "\\ud800", "item_id": "p"}]}', 400, "invalid_json"),
        (b"[]", 422, "invalid_request"),
        (b"null", 422, "invalid_request"),
        (b'{"events": ' + b"[" * 50_000 + b"]" * 50_000 + b"}", 400, "invalid_json"),
        (b" " * (2**20 + 1), 413, "payload_too_large"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_body_that_is_not_valid_is_an_error(
    content: bytes, status: int, code: str, client: TestClient
) -> None:
    response = client.post("/v1/events", content=content, headers={"content-type": "application/json"})
    assert error_of(response) == (status, code)


def test_unsupported_media_types_paths_methods_and_parameters_are_errors(client: TestClient) -> None:
    assert error_of(client.post("/v1/events", content=b"{}", headers={"content-type": "text/plain"})) == (
        415,
        "unsupported_media_type",
    )
    assert error_of(client.post("/v1/events", content=b"{}")) == (415, "unsupported_media_type")
    for encoding in ("gzip", "br", "deflate", "zstd", "Gzip, identity", "identity, gzip", "x"):
        response = client.post("/v1/events", json={}, headers={"content-encoding": encoding})
        assert error_of(response) == (415, "unsupported_media_type")
        assert f"Content-Encoding {encoding.lower()}" in response.json()["error"]["message"]
    for encoding in ("identity", "Identity", ""):
        assert (
            client.post("/v1/recommend", json={}, headers={"content-encoding": encoding}).status_code == 200
        )
    assert error_of(client.get("/v1/nowhere")) == (404, "not_found")
    assert error_of(client.post("/v1/recommend/", json={}, follow_redirects=False)) == (404, "not_found")
    wrong = client.request("PATCH", "/v1/events")
    assert error_of(wrong) == (405, "method_not_allowed") and wrong.headers["allow"] == "POST"
    assert error_of(client.get("/v1/users/a?limit=many")) == (422, "invalid_request")
    assert error_of(client.get("/v1/users/a?page=3")) == (422, "invalid_request")
    assert error_of(client.get("/v1/users/a?limit=5&limit=6")) == (422, "invalid_request")


def test_a_path_is_read_to_its_last_character(client: TestClient) -> None:
    record(client, {"user_id": "a", "item_id": "p1"})
    for path in ("a%0a", "a%0ab", "%0aa", "a%00b", "a%0d", "%0a"):
        response = client.delete(f"/v1/users/{path}")
        assert error_of(response) == (422, "invalid_request")
        assert response.json()["error"]["message"].startswith(
            "user_id: text should have no control characters"
        )
    for path in ("/healthz%0a", "/v1/model%0A", "/page.js%0a", "/%0a", "/openapi.json%0a"):
        assert error_of(client.get(path)) == (404, "not_found")
    assert client.get("/v1/users/a").json()["state"]["last_seq"] == 1


@pytest.mark.parametrize(("path", "parameter"), [("/v1/users/", "user_id"), ("/v1/items/", "item_id")])
def test_a_fault_of_an_id_in_the_path_names_the_parameter(
    client: TestClient, path: str, parameter: str
) -> None:
    method = "GET" if parameter == "user_id" else "PUT"
    for text, fault in (
        ("", "should have at least 1 character"),
        ("a" * 257, "should have at most 256 characters"),
    ):
        response = client.request(method, path + text, json={})
        assert error_of(response) == (422, "invalid_request")
        assert response.json()["error"]["message"] == f"{parameter}: string {fault}"


def test_health_metrics_and_the_page_are_served(client: TestClient, engine: ServingEngine) -> None:
    assert client.get("/healthz").json()["status"] == "ok"
    assert client.get("/readyz").json() == {"status": "ok", "model_version": engine.model.version}
    record(client, {"user_id": "anna", "item_id": "p1"})
    post(client, "/v1/recommend", {"user_id": "anna"})
    page = client.get("/metrics")
    assert page.headers["content-type"].startswith("text/plain")
    for line in (
        'reprise_events_total{status="accepted"} 1.0', 'reprise_http_requests_total{route="recommend",status="200"} 1.0',
        "reprise_state_cache_users 1.0", 'reprise_queue_depth{queue="quick"} 0.0',
    ):  # fmt: skip
        assert line in page.text
    assert "anna" not in page.text
    shown = client.get("/")
    assert shown.headers["content-type"].startswith("text/html")
    assert "default-src 'self'" in shown.headers["content-security-policy"]


def test_a_failing_store_is_reported_without_its_message(
    client: TestClient,
    engine: ServingEngine,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise StoreError("secret/path/events.db: disk I/O error")

    event = {"events": [{"user_id": "anna", "item_id": "p1"}]}
    for method in ("append", "events_since", "check"):
        monkeypatch.setattr(engine.store, method, fail)
    with caplog.at_level(logging.INFO, "reprise.server"):
        for response in (
            post(client, "/v1/events", event), post(client, "/v1/recommend", {"user_id": "anna"}), client.get("/readyz"),
            client.get("/v1/users/anna"),
        ):  # fmt: skip
            assert error_of(response) == (503, "store_unavailable")
            assert response.headers["retry-after"] == "1"
            assert "secret" not in response.text
        assert post(client, "/v1/events", {**event, "ack": "accepted"}).status_code == 200
        for _ in range(500):  # the response does not wait for the write
            if "reprise_events_lost_total 1.0" in client.get("/metrics").text:
                break
            time.sleep(0.01)
        monkeypatch.undo()
        assert record(client, event["events"][0]) == [("accepted", None)]
    assert "reprise_events_lost_total 1.0" in client.get("/metrics").text
    lines = [json.loads(JsonFormatter().format(record)) for record in caplog.records]
    assert {"refused": 0, "lost": 1} in [
        {name: line.get(name) for name in ("refused", "lost")} for line in lines
    ]
    # a request without a user id does not read the log
    assert post(client, "/v1/recommend", {"events": [{"item_id": "p1"}]}).status_code == 200


def test_a_queue_that_is_full_because_the_store_hangs_is_a_fault_of_the_store(
    engine: ServingEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database that is gone takes seconds to fail, so the queue fills up; retrying soon would not help."""
    hanging = threading.Event()

    def fail(*_: object) -> None:
        hanging.wait(20)
        raise StoreError("no connection")

    event = {"events": [{"user_id": "anna", "item_id": "p1"}]}
    for client in app_client(engine, settings=replace(LONG_TIMEOUTS, max_pending_events=2)):
        monkeypatch.setattr(engine.store, "append", fail)
        monkeypatch.setattr(engine.store, "check", fail)
        with ThreadPoolExecutor(9) as pool:
            first = [pool.submit(post, client, "/v1/events", event) for _ in range(6)]
            while not any(one.done() for one in first):
                time.sleep(0.01)
            assert {error_of(one.result()) for one in first if one.done()} == {(429, "overloaded")}
            hanging.set()
            for one in first:
                one.result()
            hanging.clear()
            later = [pool.submit(post, client, "/v1/events", event) for _ in range(6)]
            later += [pool.submit(client.get, "/readyz") for _ in range(3)]
            while not any(one.done() for one in later):
                time.sleep(0.01)
            hanging.set()
            assert {error_of(one.result()) for one in later} == {(503, "store_unavailable")}


def test_an_unexpected_exception_is_reported_without_its_message(
    client: TestClient, engine: ServingEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "recommend_batch", lambda *_, **__: [KeyError("secret")])
    response = post(client, "/v1/recommend", {"user_id": "anna"})
    assert error_of(response) == (500, "internal")
    assert "secret" not in response.text and "KeyError" not in response.text


def test_logs_contain_hashes_instead_of_user_ids(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "reprise.server"):
        record(client, {"user_id": "anna", "item_id": "p1"})
        answer = post(client, "/v1/recommend", {"user_id": "anna"}).json()
        client.get("/v1/users/anna")
        post(client, "/v1/recommend", {"user_id": "bert", "k": 0})
    lines = [
        json.loads(JsonFormatter().format(record))
        for record in caplog.records
        if record.name == "reprise.server"
    ]
    assert "anna" not in json.dumps(lines)
    requests = [line for line in lines if line["event"] == "recommend"]
    assert (requests[0]["status"], requests[0]["recommendation_id"]) == (200, answer["recommendation_id"])
    assert (requests[1]["status"], requests[1]["code"]) == (422, "invalid_request")
    (user,) = [line for line in lines if line["event"] == "get_user"]
    assert user["user"] == requests[0]["user"] and len(user["user"]) == 16
    assert all({"time", "level", "ms", "tenant"} <= line.keys() for line in lines)


@pytest.fixture
def secrets(tmp_path: Path) -> dict[str, str]:
    file = tmp_path / "keys.toml"
    keys = {
        "shop": ["ingest", "recommend"],
        "reader": ["recommend"],
        "boss": ["admin"],
        "rival": ["ingest", "recommend", "admin"],
    }
    return {
        name: add_key(file, name, "rival" if name == "rival" else "shop", scopes)
        for name, scopes in keys.items()
    }


@pytest.fixture
def client_with_keys(engine: ServingEngine, tmp_path: Path, secrets: dict[str, str]) -> Iterator[TestClient]:
    yield from app_client(engine, Authenticator(read_keys(tmp_path / "keys.toml")))


def test_the_scopes_of_a_key_decide_which_operations_it_can_call(
    client_with_keys: TestClient, secrets: dict[str, str]
) -> None:
    scopes = {"shop": {"ingest", "recommend"}, "reader": {"recommend"}, "boss": {"admin"}}
    for operation in OPERATIONS:
        path = operation.path.replace("{user_id}", "anna").replace("{item_id}", "p1")
        for name, allowed in scopes.items():
            response = client_with_keys.request(operation.method, path, headers={"X-API-Key": secrets[name]})
            if operation.scope is None or operation.scope in allowed:
                assert response.status_code not in (401, 403)
            else:
                assert error_of(response) == (403, "forbidden")
        for headers in ({}, {"X-API-Key": "rp_wrong"}, {"X-API-Key": ""}):
            response = client_with_keys.request(operation.method, path, headers=headers)
            if operation.scope is None:
                assert response.status_code == 200
            else:
                assert error_of(response) == (401, "unauthorized")


def test_tenants_cannot_access_each_others_data(
    client_with_keys: TestClient, secrets: dict[str, str]
) -> None:
    shop, rival, boss = ({"X-API-Key": secrets[name]} for name in ("shop", "rival", "boss"))
    event = {"user_id": "anna", "item_id": "p1", "timestamp": T, "event_id": "e"}
    for headers in (shop, rival):
        assert (
            post(client_with_keys, "/v1/events", {"events": [event]}, headers=headers).json()["results"][0][
                "status"
            ]
            == "accepted"
        )
    assert len(client_with_keys.get("/v1/users/anna", headers=rival).json()["events"]) == 1
    post(
        client_with_keys,
        "/v1/events",
        {"events": [{**event, "user_id": "bert", "event_id": "f"}]},
        headers=shop,
    )
    assert client_with_keys.get("/v1/users", headers=rival).json() == {"users": ["anna"]}
    client_with_keys.put("/v1/items/p1", json={"title": "Theirs"}, headers=rival)
    assert client_with_keys.get("/v1/items?search=Theirs", headers=shop).json()["items"] == []
    assert client_with_keys.delete("/v1/users/anna", headers=rival).json()["events_deleted"] == 1
    assert len(client_with_keys.get("/v1/users/anna", headers=boss).json()["events"]) == 1


def test_the_served_model_can_be_replaced(client: TestClient, second_model: Path, tmp_path: Path) -> None:
    before = client.get("/readyz").json()["model_version"]
    after = post(client, "/v1/admin/model", {"path": str(second_model)}).json()["model_version"]
    assert client.get("/readyz").json()["model_version"] == after != before
    assert post(client, "/v1/admin/model", {}).json()["model_version"] == after
    assert error_of(post(client, "/v1/admin/model", {"path": str(tmp_path)})) == (409, "conflict")
    assert client.get("/readyz").json()["model_version"] == after
    assert 'reprise_model_swaps_total{result="failed"} 1.0' in client.get("/metrics").text


EVENTS = [{"user_id": "anna", "item_id": f"p{place % 20}", "timestamp": T + place} for place in range(600)]
"""More events than a quick request may replay."""


def test_a_long_history_is_replayed_once_by_a_thread_of_its_own(
    engine: ServingEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every route that needs the state waits for it; afterwards it is cached."""
    threads: list[str] = []
    replay = engine.replay

    def recorded(*arguments: Any) -> None:
        threads.append(threading.current_thread().name)
        replay(*arguments)

    monkeypatch.setattr(engine, "replay", recorded)
    requests = (
        lambda client, user: post(client, "/v1/recommend", {"user_id": user}).json()["events"],
        lambda client, user: post(client, "/v1/recommend", {"user_id": user, "explain": True}).json()[
            "events"
        ],
        lambda client, user: post(client, "/v1/recommend", {"user_id": user, "exclude_seen": True}).json()[
            "events"
        ],
        lambda client, user: client.get(f"/v1/users/{user}").json()["state"]["events"],
        lambda client, user: (
            600 * (post(client, "/v1/generate", {"user_id": user, "length": 2}).status_code == 200)
        ),
    )
    for client in app_client(engine):
        for number, request in enumerate(requests):
            record(client, *({**event, "user_id": f"user {number}"} for event in EVENTS))
            assert request(client, f"user {number}") == 600
            assert threads == ["replay-0"] * (number + 1)
            assert all(again(client, f"user {number}") == 600 for again in requests)
            # the seen items are read from the log when they are first needed
            assert threads[number + 1 :] == ["replay-0"] * (number != 2)
            del threads[number + 1 :]


def test_a_state_that_leaves_the_cache_again_is_replayed_a_few_times_only(
    engine: ServingEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then the request runs in the queue of the replays itself."""
    replays: list[User] = []
    states = engine.model.states

    def replay_and_drop(user: User, with_seen: bool = False) -> None:
        replays.append(user)
        states.current(user)
        states.drop(user)

    monkeypatch.setattr(engine, "replay", replay_and_drop)
    for client in app_client(engine):
        record(client, *EVENTS)
        assert post(client, "/v1/recommend", {"user_id": "anna"}).json()["events"] == 600
    assert len(replays) == async_service.MAX_REPLAYS


def test_events_of_a_request_that_belong_before_the_log_are_merged_by_the_same_thread(
    engine: ServingEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[str] = []
    recommend = engine.recommend

    def recorded(query: RecommendQuery, limit: int | None = None) -> RecommendResult:
        threads.append(threading.current_thread().name)
        return recommend(query, limit)

    monkeypatch.setattr(engine, "recommend", recorded)
    inline = [{"item_id": event["item_id"], "timestamp": event["timestamp"]} for event in EVENTS]
    for client in app_client(engine):
        assert post(client, "/v1/recommend", {"events": inline}).json()["events"] == 600
        assert [name[:4] for name in threads] == ["slow"]
        record(client, *EVENTS)
        late = {"user_id": "anna", "events": [{"item_id": "p1", "timestamp": 1}]}
        assert post(client, "/v1/recommend", late).json()["events"] == 601
        assert threads[1:] == ["replay-0"]


@pytest.mark.parametrize(
    "body", [{}, {"explain": True}, {"events": [{"item_id": "p1", "timestamp": 1}]}], ids=str
)
def test_a_request_that_waits_for_a_replay_is_refused_when_the_server_shuts_down(
    body: dict[str, Any],
    engine: ServingEngine,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its error is that of every request then, and the log has no traceback."""
    started = threading.Event()

    def advance(state: Any, events: Any) -> Any:
        started.set()
        time.sleep(0.05)
        return state

    path, file = engine.model.path, engine.store.path  # type: ignore[attr-defined]
    engine.store.append(
        [(User("default", "anna"), UserEvent("p1", T * 1000 + place)) for place in range(2600)]
    )
    answers: list[Any] = []

    def ask() -> None:
        connection = http.client.HTTPConnection(address, timeout=20)
        request = json.dumps({"user_id": "anna", **body})
        connection.request("POST", "/v1/recommend", request, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answers.append((answer.status, json.loads(answer.read())["error"]["code"]))
        connection.close()

    monkeypatch.setattr(
        state_builder.StateBuilder, "_advance", lambda builder, state, events: advance(state, events)
    )
    with server_thread(path, file) as server:
        address = server.url.removeprefix("http://")
        thread = threading.Thread(target=ask)
        thread.start()
        assert started.wait(10)
        server.engine.stop_replays()
        thread.join(10)
    assert answers == [(503, "unavailable")]
    assert "Traceback" not in caplog.text


def test_validation_stops_early_when_a_body_has_many_faults(client: TestClient) -> None:
    """Counting all of them would delay other requests."""
    nested = {"filter": {f"c{number}": [[]] * 1000 for number in range(20)}}
    response = post(client, "/v1/recommend", nested)
    assert error_of(response) == (422, "invalid_request")
    more = re.findall(r"and (\d+) more", response.json()["error"]["message"])
    assert more and int(more[0]) < 200
    events = [{"user_id": "a", "item_id": "p", **{f"x{number}": 1 for number in range(90)}}] * 1000
    assert set(record(client, *events)) == {("rejected", "x0: extra inputs are not permitted")}


def test_readiness_checks_of_the_store_are_cached_briefly(
    client: TestClient, engine: ServingEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks = []
    check = engine.store.check
    monkeypatch.setattr(engine.store, "check", lambda: checks.append(1) or check())
    for _ in range(20):
        assert client.get("/readyz").status_code == 200
    assert 1 <= len(checks) < 10


def test_readiness_is_503_when_too_many_events_wait(
    engine: ServingEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """429 would mean that the client sends too much; here the server should get no requests."""
    started, release = threading.Event(), threading.Event()

    def stuck(*_: object, **__: object) -> None:
        started.set()
        release.wait(30)
        raise StoreError("gone")

    monkeypatch.setattr(engine.store, "append", stuck)
    event = {"user_id": "anna", "item_id": "p1"}
    for client in app_client(engine, settings=replace(LONG_TIMEOUTS, max_pending_events=2)):
        assert record(client, event, ack="accepted") == [("accepted", None)]
        started.wait(30)
        assert record(client, event, event, ack="accepted")[0] == ("accepted", None)
        assert error_of(post(client, "/v1/events", {"events": [event]})) == (429, "overloaded")
        assert error_of(client.get("/readyz")) == (503, "not_ready")
        assert client.get("/healthz").status_code == 200
        release.set()


def test_a_body_that_arrives_too_slowly_is_an_error(engine: ServingEngine) -> None:
    def endless() -> Iterator[bytes]:
        yield b"{"
        time.sleep(0.5)
        yield b"}"

    path, events = engine.model.path, engine.store.path.with_name("other.db")  # type: ignore[attr-defined]
    with server_thread(path, events, settings=replace(LONG_TIMEOUTS, body_timeout_s=0.1)) as server:
        connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=10)
        connection.request(
            "POST", "/v1/events", endless(), {"Content-Type": "application/json"}, encode_chunked=True
        )
        answer = connection.getresponse()
        assert (answer.status, json.loads(answer.read())["error"]["code"]) == (408, "request_timeout")
        connection.close()


@pytest.mark.parametrize(
    ("rules", "slow"),
    [
        (RankingRules(k=51, diversity=0.1), True),
        (RankingRules(k=50, diversity=0.1), False),
        (RankingRules(k=1000), False),
    ],
)
def test_diverse_recommendations_of_many_items_go_to_the_slow_queue(rules: RankingRules, slow: bool) -> None:
    assert async_service._is_slow(RecommendQuery(UserContext("shop"), rules)) is slow


def test_a_request_that_outlasts_a_shutdown_is_refused(
    engine: ServingEngine, caplog: pytest.LogCaptureFixture
) -> None:
    """The server cancels it; its error is that of every request then, and the log has no traceback."""
    sent: list[Any] = []

    async def scenario() -> None:
        service = AsyncService(engine, LONG_TIMEOUTS, PrometheusMetrics())
        app, waiting = create_app(service), asyncio.Event()

        async def receive() -> Any:
            waiting.set()
            await asyncio.sleep(60)  # the body never arrives

        async def send(message: Any) -> None:
            sent.append(message)

        scope = http_scope("POST", "/v1/events", ("content-type", "application/json"))
        task = asyncio.create_task(app(scope, receive, send))  # type: ignore[arg-type]
        await waiting.wait()
        service.begin_shutdown()
        task.cancel()
        await task
        await service.close()

    asyncio.run(scenario())
    assert sent[0]["status"] == 503 and json.loads(sent[1]["body"])["error"]["code"] == "unavailable"
    assert "Traceback" not in caplog.text


def test_explored_slots_have_propensities_and_are_logged(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    query = {"events": [{"item_id": "p1"}], "k": 4, "now": T, "user_attributes": {"country": "FR"}}
    with caplog.at_level(logging.INFO, "reprise.server"):
        plain = post(client, "/v1/recommend", query).json()["items"]
        found = post(client, "/v1/recommend", {**query, "explore": 0.5, "explore_seed": 1}).json()["items"]
    assert not any("propensity" in one for one in plain)
    explored = [one for one in found if "propensity" in one]
    assert len(explored) == 2
    lines = [json.loads(JsonFormatter().format(record)) for record in caplog.records]
    (logged,) = [line["explored"] for line in lines if "explored" in line]
    assert logged == [{name: one[name] for name in ("rank", "item_id", "propensity")} for one in explored]
    assert error_of(post(client, "/v1/recommend", {**query, "explore": 1.5}))[0] == 422
