"""Checks before routing: every route refuses foreign hosts, foreign pages and broken URLs."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from app_client import app_client, http_scope
from foreign_hosts import FOREIGN_HOSTS
from raw_connection import RawResponse
from starlette.testclient import TestClient

from reprise.errors import ConfigError
from reprise.server.engine.serving_engine import ServingEngine
from reprise.server.http.app import PAGE_FILES, Authenticator
from reprise.server.http.auth import Key, Keyring
from reprise.server.http.routes import OPERATIONS, normal_root_path
from reprise.server.process import ListenSettings

LOCAL = ListenSettings().authenticator()
ROUTES = [(operation.method, operation.path.format(user_id="anna", item_id="p1")) for operation in OPERATIONS]
ROUTES += [
    ("GET", path) for path in (*PAGE_FILES, "/metrics", "/openapi.json", "/nowhere", "/v1", "/v1/users/")
]
ROUTES += [("PATCH", "/v1/events"), ("OPTIONS", "/v1/events"), ("HEAD", "/healthz"), ("TRACE", "/")]


def send(
    client: TestClient,
    method: str,
    path: str,
    *headers: tuple[str, str],
    raw_path: bytes | None = None,
    query: bytes = b"",
) -> RawResponse:
    """Send exactly these headers, which an HTTP client would complete or refuse to send."""
    messages: list[Any] = []

    async def receive() -> Any:
        return {
            "type": "http.request",
            "body": b'{"events":[{"user_id":"victim","item_id":"p1"}]}',
            "more_body": False,
        }

    async def keep(message: Any) -> None:
        messages.append(message)

    scope = http_scope(method, path, *headers, raw_path=raw_path or path.encode(), query_string=query)
    assert client.portal is not None
    client.portal.call(client.app, scope, receive, keep)
    fields = {name.decode(): value.decode() for name, value in messages[0]["headers"]}
    return RawResponse(messages[0]["status"], fields, b"".join(one.get("body", b"") for one in messages[1:]))


@pytest.fixture
def local(engine: ServingEngine) -> Iterator[TestClient]:
    """A client of an application without keys that accepts only names of this machine."""
    yield from app_client(engine, LOCAL)


JSON_TYPE = ("content-type", "application/json")


def test_no_route_answers_to_a_foreign_host(local: TestClient) -> None:
    for method, path in ROUTES:
        for host in ("a{b.evil.test", "evil.test", ""):
            answer = send(local, method, path, ("host", host), JSON_TYPE)
            assert (answer.status, answer.code) == (403, "invalid_host"), (method, path, host)
        assert send(local, method, path, ("host", "localhost:8000"), JSON_TYPE).status != 403
    assert local.get("/v1/users", headers={"host": "[::1]"}).json()["users"] == ["victim"]


def test_a_host_that_does_not_parse_stores_nothing(local: TestClient) -> None:
    for host in FOREIGN_HOSTS:
        answer = send(local, "POST", "/v1/events", ("host", host), JSON_TYPE)
        assert (answer.status, answer.code) == (403, "invalid_host"), host
    assert local.get("/v1/users", headers={"host": "localhost"}).json() == {"users": []}
    metrics = local.get("/metrics", headers={"host": "localhost"}).text
    assert f'reprise_http_refusals_total{{reason="invalid_host"}} {len(FOREIGN_HOSTS)}.0' in metrics


def test_a_request_has_exactly_one_host(local: TestClient, engine: ServingEngine) -> None:
    missing = send(local, "GET", "/healthz")
    assert (missing.status, missing.code) == (403, "invalid_host")
    assert "the request has no Host header" in json.loads(missing.content)["error"]["message"]
    for second in ("localhost", "evil.test"):
        two = send(local, "GET", "/healthz", ("host", "localhost"), ("host", second))
        assert (two.status, two.code) == (400, "bad_request")
    for client in app_client(engine, Authenticator(Keyring([]))):
        assert send(client, "GET", "/healthz").status == 200  # with keys, any name or none
        assert send(client, "GET", "/healthz", ("host", "anything.example")).status == 200
        assert send(client, "GET", "/healthz", ("host", "a"), ("host", "b")).status == 400


def test_hints_name_the_options(local: TestClient) -> None:
    host = send(local, "GET", "/healthz", ("host", "evil.test")).content.decode()
    assert "--trusted-host" in host and "127.0.0.1, ::1, localhost" in host
    origin = send(local, "DELETE", "/v1/users/a", ("host", "localhost"), ("origin", "null")).content.decode()
    assert "--allow-origin" in origin


def test_without_keys_a_foreign_page_changes_nothing(local: TestClient) -> None:
    evil = [("host", "localhost:8000"), ("origin", "https://evil.test"), JSON_TYPE]
    for method, path in ROUTES:
        if method not in ("GET", "HEAD", "OPTIONS"):
            assert send(local, method, path, *evil).code == "cross_origin"
    own = [
        ("host", "localhost:8000"),
        ("origin", "http://localhost:8000"),
        ("sec-fetch-site", "same-origin"),
        JSON_TYPE,
    ]
    assert local.get("/v1/users", headers={"host": "localhost"}).json() == {"users": []}
    assert send(local, "POST", "/v1/events", *own).status == 200
    assert "access-control-allow-origin" not in send(local, "GET", "/v1/users", *evil).headers


def test_with_keys_the_key_decides(engine: ServingEngine) -> None:
    for client in app_client(engine, Authenticator(Keyring([Key("a", "a", frozenset(), "")]))):
        answer = send(
            client, "POST", "/v1/events", ("host", "x.example"), ("origin", "https://evil.test"), JSON_TYPE
        )
        assert (answer.status, answer.code) == (401, "unauthorized")


def test_an_allowed_origin_gets_cors_headers_on_answers_and_errors(engine: ServingEngine) -> None:
    shop = Authenticator(hosts=LOCAL.hosts, origins=frozenset({"https://shop.example"}))
    page = [
        ("host", "localhost:8000"),
        ("origin", "https://shop.example"),
        ("sec-fetch-site", "cross-site"),
        JSON_TYPE,
    ]
    for client in app_client(engine, shop):
        for method, path, status in (
            ("POST", "/v1/events", 200), ("GET", "/v1/users", 200), ("POST", "/v1/similar", 422), ("GET", "/nowhere", 404),
            ("POST", "/healthz", 405),
        ):  # fmt: skip
            answer = send(client, method, path, *page)
            assert answer.status == status
            assert answer.headers["access-control-allow-origin"] == "https://shop.example"
            assert "access-control-allow-credentials" not in answer.headers
        preflight = [
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "content-type,x-api-key"),
        ]
        allowed = send(client, "OPTIONS", "/v1/events", *page[:2], *preflight)
        assert allowed.status == 200 and "X-API-Key" in allowed.headers["access-control-allow-headers"]
        refused = send(client, "OPTIONS", "/v1/events", page[0], ("origin", "https://evil.test"), *preflight)
        assert (refused.status, refused.code) == (403, "cross_origin")
        assert "access-control-allow-origin" not in refused.headers
        evil = send(client, "POST", "/v1/events", page[0], ("origin", "https://evil.test"), JSON_TYPE)
        assert (evil.status, evil.code) == (403, "cross_origin")


def test_bytes_that_are_not_utf8_are_not_an_id(local: TestClient) -> None:
    host = ("host", "localhost")
    for method, path in (
        ("GET", "/v1/users/%FF"),
        ("DELETE", "/v1/users/a%C3"),
        ("PUT", "/v1/items/%ED%A0%80"),
        ("GET", "/%80"),
    ):
        answer = send(local, method, "/v1/users/\ufffd", host, JSON_TYPE, raw_path=path.encode())
        assert (answer.status, answer.code) == (400, "bad_request")
    assert send(local, "GET", "/v1/items", host, query=b"search=%FF").status == 400
    assert send(local, "GET", "/v1/items", host, query=b"search=%C3%A4").status == 200
    assert local.get("/v1/users/%EF%BF%BD", headers={"host": "localhost"}).json()["user_id"] == "\ufffd"


def test_a_server_works_under_the_path_of_a_proxy(engine: ServingEngine) -> None:
    """The proxy may remove the path or leave it."""
    for client in app_client(engine, Authenticator(root_path="/reco")):
        for prefix in ("", "/reco"):
            assert client.get(f"{prefix}/healthz").status_code == 200
            assert client.get(f"{prefix}/v1/users/reco/anna").json()["user_id"] == "reco/anna"
            assert 'href="page.css"' in client.get(f"{prefix}/").text
            assert client.get(f"{prefix}/page.js").status_code == 200
            assert client.get(f"{prefix}/openapi.json").json()["servers"] == [{"url": "/reco"}]
        assert client.get("/reco", follow_redirects=False).headers["location"] == "/reco/"
        for path in ("/recognise", "/reco/reco/healthz", "/recohealthz"):
            assert client.get(path).status_code == 404
    for client in app_client(engine):
        assert "servers" not in client.get("/openapi.json").json()
        assert client.get("/reco/healthz").status_code == 404


def test_a_root_path_must_be_a_path_that_no_route_has() -> None:
    assert [normal_root_path(path) for path in ("", "/", "/reco", "/reco/", "/a/b.c")] == [
        "",
        "",
        "/reco",
        "/reco",
        "/a/b.c",
    ]
    for path in ("reco", "https://shop.example/reco", "/re co", "/a//b", "/a?b"):
        with pytest.raises(ConfigError, match="is not a path; write it like /reco"):
            normal_root_path(path)
    for path in ("/v1", "/v1/users", "/healthz"):
        with pytest.raises(ConfigError, match="begins like a route of the server"):
            normal_root_path(path)


def test_an_unexpected_error_outside_of_an_operation_has_the_form_of_all_errors(
    engine: ServingEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> bytes:
        raise KeyError("secret")

    monkeypatch.setattr("reprise.server.prometheus_metrics.PrometheusMetrics.render", fail)
    for client in app_client(engine):
        with pytest.raises(KeyError):  # the HTTP server logs it
            client.get("/metrics")
        messages: list[Any] = []

        async def keep(message: Any, messages: list[Any] = messages) -> None:
            messages.append(message)

        assert client.portal is not None
        with pytest.raises(KeyError):
            client.portal.call(client.app, http_scope("GET", "/metrics"), asyncio.sleep, keep)
        assert messages[0]["status"] == 500 and json.loads(messages[1]["body"])["error"]["code"] == "internal"
