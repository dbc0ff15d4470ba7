"""Limits of answers by API key: numbers, lengths of lists, rare items, and requests per minute, on every route."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
from app_client import app_client
from starlette.testclient import TestClient

from reprise.errors import ConfigError, DataError
from reprise.recommender import Recommender
from reprise.recommender.artefact.artefact import ITEM_USERS, write
from reprise.recommender.artefact.reading import read
from reprise.server.engine.served_model import ServedModel
from reprise.server.engine.serving_engine import ServingEngine
from reprise.server.http.answer_limits import MODEL_NUMBERS, AnswerLimits
from reprise.server.http.app import Authenticator
from reprise.server.http.auth import SCOPES, Key, Keyring, add_key, read_keys
from reprise.server.http.event_schema import ResponsePart
from reprise.server.http.routes import OPERATIONS
from reprise.server.store.sqlite import SQLiteStore
from reprise.server.token_buckets import TokenBuckets

SECRET = "rp_secret"
HISTORY = [{"item_id": f"p{item}", "timestamp": 1_700_000_000_000 + item} for item in (3, 7, 11)]
RECOMMEND: dict[str, Any] = {"events": HISTORY, "now": 1_700_000_100_000}
Limited = Callable[..., TestClient]


@pytest.fixture
def limited(engine: ServingEngine) -> Iterator[Limited]:
    """A function that returns a client whose API key has some limits."""
    with ExitStack() as stack:

        def make(buckets: TokenBuckets[str] | None = None, **limits: Any) -> TestClient:
            key = Key(
                "limited",
                "shop",
                frozenset(SCOPES),
                hashlib.sha256(SECRET.encode()).hexdigest(),
                AnswerLimits(**limits),
            )
            authenticator = Authenticator(
                Keyring([key]), budgets=TokenBuckets() if buckets is None else buckets
            )
            client = stack.enter_context(contextmanager(app_client)(engine, authenticator))
            client.headers["X-API-Key"] = SECRET
            return client

        yield make


def post(client: TestClient, path: str, body: dict[str, Any]) -> dict[str, Any]:
    response = client.post(path, json=body)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def numbers(answer: object) -> list[float | None]:
    """Return all numbers of the model in an answer."""
    if isinstance(answer, dict):
        own = [value for name, value in answer.items() if name in MODEL_NUMBERS]
        return own + [
            one for name, value in answer.items() if name not in MODEL_NUMBERS for one in numbers(value)
        ]
    return [one for part in answer for one in numbers(part)] if isinstance(answer, list) else []


def test_every_number_of_an_answer_is_limited_or_known_to_be_harmless() -> None:
    harmless = {"share", "rank", "seq", "bytes", "events", "skipped", "last_seq", "timestamp", "items", "next_after",
                "events_deleted"}  # fmt: skip
    waiting = [operation.response for operation in OPERATIONS if operation.scope == "recommend"]
    found: set[str] = set()
    while waiting:
        for name, kind in get_type_hints(waiting.pop()).items():
            parts = {kind, *get_args(kind)} | {deeper for part in get_args(kind) for deeper in get_args(part)}
            waiting += [part for part in parts if isinstance(part, type) and issubclass(part, ResponsePart)]
            if float in parts:
                found.add(name)
            elif int in parts and str not in parts:
                assert name in harmless, f"is {name!r} a number of the model? if so, add it to MODEL_NUMBERS"
    assert found - harmless == MODEL_NUMBERS


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/recommend", RECOMMEND),
        ("/v1/recommend", RECOMMEND | {"explain": True}),
        ("/v1/recommend", {}),
        ("/v1/similar", {"item_id": "p3"}),
        ("/v1/generate", RECOMMEND | {"seed": 1, "now": None}),
    ],
)
def test_ranks_are_the_same_without_numbers(limited: Limited, path: str, body: dict[str, Any]) -> None:
    body = {name: value for name, value in body.items() if value is not None}
    exact, rounded, ranks = (
        post(limited(scores=scores), path, body) for scores in ("exact", "rounded", "ranks")
    )
    assert [one["item_id"] for one in exact["items"]] == [one["item_id"] for one in ranks["items"]]
    assert numbers(exact) and all(isinstance(number, float) for number in numbers(exact))
    assert numbers(rounded) == [round(number, 1) for number in numbers(exact) if number is not None]
    assert numbers(ranks) == [None] * len(numbers(exact))


def test_propensities_are_null_for_a_key_that_gets_ranks(limited: Limited) -> None:
    body = RECOMMEND | {"explore": 0.5, "explore_seed": 1}
    explored = [
        one for one in post(limited(scores="ranks"), "/v1/recommend", body)["items"] if "propensity" in one
    ]
    assert explored and all(one["propensity"] is None for one in explored)


def test_reasons_have_no_numbers_of_the_model(limited: Limited) -> None:
    answer = post(limited(scores="ranks"), "/v1/recommend", RECOMMEND | {"explain": True})
    assert {one["reason"].rstrip("0123456789") for one in answer["items"]} <= {
        "because of Product p",
        "based on 3 events",
    }


def test_a_request_without_a_number_of_items_gets_as_many_as_the_key_allows(limited: Limited) -> None:
    client = limited(max_k=3)
    assert len(post(client, "/v1/recommend", RECOMMEND)["items"]) == 3
    assert len(post(client, "/v1/similar", {"item_id": "p3"})["items"]) == 3
    assert len(post(client, "/v1/generate", {"events": HISTORY})["items"]) == 3


@pytest.mark.parametrize(
    ("path", "body", "name"),
    [
        ("/v1/recommend", RECOMMEND | {"k": 4}, "k"),
        ("/v1/similar", {"item_id": "p3", "k": 4}, "k"),
        ("/v1/generate", {"events": HISTORY, "length": 4}, "length"),
        ("/v1/forecast", {"events": HISTORY, "length": 4}, "length"),
    ],
)
def test_a_request_for_more_items_than_the_key_allows_is_refused(
    limited: Limited, path: str, body: dict[str, Any], name: str
) -> None:
    response = limited(max_k=3).post(path, json=body)
    assert response.status_code == 403
    assert response.json()["error"] == {
        "code": "forbidden", "message": f"{name} is 4, and this API key gets at most 3 items",
        "hint": f"send {name}: 3 or less",
    }  # fmt: skip


def test_items_with_few_users_are_in_no_answer(limited: Limited, first_model: Path) -> None:
    recommender = Recommender.load(first_model)
    users_I = recommender.artefact.item_users
    assert users_I is not None
    few = int(np.median(users_I)) + 1
    ids = np.array(recommender.items.ids.tolist())
    listed = set(ids[users_I >= few].tolist())
    assert 0 < len(listed) < len(ids)
    client = limited(min_users=few)
    everything = {"k": 1000}
    for body in (
        everything, RECOMMEND | everything, RECOMMEND | everything | {"diversity": 0.5},
        RECOMMEND | everything | {"explore": 1.0, "explore_seed": 1},
        RECOMMEND | everything | {"allow": ids.tolist()},
    ):  # fmt: skip
        found = {one["item_id"] for one in post(client, "/v1/recommend", body)["items"]}
        assert found == listed
    hidden = next(one for one in ids.tolist() if one not in listed)
    shown = next(iter(listed))
    assert {
        one["item_id"] for one in post(client, "/v1/similar", {"item_id": shown} | everything)["items"]
    } == listed - {shown}
    assert client.post("/v1/similar", json={"item_id": hidden}).status_code == 404
    path = post(client, "/v1/generate", {"events": HISTORY, "length": len(listed), "seed": 1})["items"]
    assert {one["item_id"] for one in path} == listed
    searched = client.get("/v1/items", params={"limit": 200}).json()["items"]
    assert {one["item_id"] for one in searched} == listed
    # the limit belongs to the key, not to the server
    assert len(post(limited(), "/v1/recommend", RECOMMEND | everything)["items"]) == len(ids)


def test_items_with_few_users_stay_hidden_if_a_filter_names_available(limited: Limited) -> None:
    client = limited(min_users=10**9)
    assert client.put("/v1/items/p3", json={"available": True}).status_code == 200
    assert post(client, "/v1/recommend", RECOMMEND | {"filter": {"available": True}})["items"] == []
    assert post(limited(), "/v1/recommend", RECOMMEND | {"filter": {"available": True}})["items"]


def test_a_model_without_numbers_of_users_cannot_serve_a_key_that_needs_them(
    first_model: Path, store: SQLiteStore, tmp_path: Path
) -> None:
    artefact = read(first_model)
    tensors = {name: tensor for name, tensor in artefact.tensors.items() if name != ITEM_USERS}
    write(replace(artefact, tensors=tensors), tmp_path / "old.model")
    served = ServedModel.open(tmp_path / "old.model", store, 2**20)
    with pytest.raises(DataError, match="min_users needs; export it again"):
        served.items.listing("shop", 5)
    assert served.items.listing("shop", 0)


def test_requests_above_the_budget_are_refused_until_there_is_a_token(limited: Limited) -> None:
    class Clock:
        now = 0.0

        def __call__(self) -> float:
            return self.now

    clock = Clock()
    client = limited(TokenBuckets(clock=clock), requests_per_minute=4)
    for _ in range(4):
        post(client, "/v1/recommend", RECOMMEND)
    for path in ("/v1/model", "/v1/items"):
        response = client.get(path)
        assert response.status_code == 429
        assert response.headers["Retry-After"] == "15"
        error = response.json()["error"]
        assert error["code"] == "over_budget" and "its 4 requests per minute" in error["message"]
    assert client.get("/healthz").status_code == 200
    clock.now += 15
    post(client, "/v1/recommend", RECOMMEND)
    assert client.get("/v1/model").status_code == 429


def test_limits_are_stored_in_the_key_file(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    limits = AnswerLimits("ranks", 10, 5, 60)
    secret = add_key(file, "partner", "shop", ["recommend"], limits)
    other = add_key(file, "own", "shop", ["recommend"])
    keys = read_keys(file)
    found, unlimited = keys.find(secret), keys.find(other)
    assert found is not None and found.limits == limits
    assert unlimited is not None and unlimited.limits == AnswerLimits()
    assert keys.max_min_users == 5
    assert 'scores = "ranks"' in file.read_text() and file.read_text().count("scores") == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            'scores = "rank"',
            "scores of key 'partner': input should be 'exact', 'rounded' or 'ranks', got 'rank'; did you mean",
        ),
        ("max_k = 0", "max_k of key 'partner': input should be greater than or equal to 1, got 0"),
        ("min_users = -1", "min_users of key 'partner': input should be greater than or equal to 0, got -1"),
        (
            "requests_per_minute = 0.5",
            "requests_per_minute of key 'partner': input should be a valid integer",
        ),
    ],
)
def test_an_invalid_limit_in_a_key_file_is_refused(tmp_path: Path, line: str, message: str) -> None:
    file = tmp_path / "keys.toml"
    add_key(file, "partner", "shop", ["recommend"])
    file.write_text(f"{file.read_text()}{line}\n")
    with pytest.raises(ConfigError) as caught:
        read_keys(file)
    assert message in str(caught.value)
