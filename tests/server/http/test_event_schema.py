"""Events to store over HTTP: a result for each, and what they do to the metrics."""

import json
import math
import time
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from app_client import LONG_TIMEOUTS, app_client
from pydantic import ValidationError
from starlette.testclient import TestClient

from reprise.server.engine.serving_engine import ServingEngine
from reprise.server.http import event_checks
from reprise.server.http.event_schema import EventBody, InvalidEvent, RecordEventsBody
from reprise.server.token_buckets import TokenBuckets

T = 1_700_000_000
VALID: dict[str, Any] = {"user_id": "anna", "item_id": "p1"}


def send(client: TestClient, *events: Any, **rest: Any) -> list[dict[str, Any]]:
    """Send events and return their results."""
    content = json.dumps({"events": list(events), **rest})
    response = client.post("/v1/events", content=content, headers={"content-type": "application/json"})
    assert response.status_code == 200, response.text
    return response.json()["results"]


def statuses(client: TestClient, *events: Any, **rest: Any) -> list[str]:
    return [result["status"] for result in send(client, *events, **rest)]


def metric(client: TestClient, name: str) -> float:
    (line,) = [line for line in client.get("/metrics").text.splitlines() if line.startswith(f"{name} ")]
    return float(line.split()[1])


def stored(client: TestClient, user: str = "anna") -> list[dict[str, Any]]:
    return client.get(f"/v1/users/{user}").json()["events"]


INVALID: list[tuple[Any, str]] = [
    ({"user_id": "a"}, "item_id: field required"),
    ({**VALID, "colour": 1}, "colour: extra inputs are not permitted"),
    ({**VALID, "user_id": "a\n"}, "user_id: text should have no control characters"),
    ({**VALID, "user_id": ""}, "user_id: string should have at least 1 character"),
    ({**VALID, "user_id": "a" * 257}, "user_id: string should have at most 256"),
    ({**VALID, "item_id": "a" * 100_000}, "item_id: string should have at most 256"),
    ({**VALID, "event_id": "a" * 257}, "event_id: string should have at most 256"),
    ({**VALID, "user_id": True}, "user_id: an id is text or a whole number; write"),
    ({**VALID, "user_id": 2**60}, "write whole numbers above 9007199254740992 as text"),
    ({**VALID, "user_id": 1.5}, "user_id: an id is text or a whole number; write"),
    ({**VALID, "user_id": None}, "user_id: an id is text or a whole number; write"),
    ({**VALID, "item_id": ["p1"]}, "item_id: an id is text or a whole number"),
    ({**VALID, "kind": 3}, "kind: input should be a valid string"),
    ({**VALID, "kind": ""}, "kind: string should have at least 1 character"),
    ({**VALID, "value": "1"}, "value: input should be a valid number"),
    ({**VALID, "value": math.nan}, "value: input should be a finite number"),
    ({**VALID, "value": math.inf}, "value: input should be a finite number"),
    ({**VALID, "value": 1e39}, "value: input should be less than or equal to"),
    ({**VALID, "timestamp": "yesterday"}, "timestamp: timestamp 'yesterday' is not ISO 8601"),
    ({**VALID, "timestamp": "2024-03-01T10:00:00"}, "has no time zone"),
    ({**VALID, "timestamp": "2024-03-01T10:00:60Z"}, "has a second 60, which occurs only at 23:59 UTC"),
    ({**VALID, "timestamp": "2024-03-01T24:00:00Z"}, "is not ISO 8601"),
    ({**VALID, "timestamp": -1}, "a timestamp must be between 1970 and 9999"),
    ({**VALID, "timestamp": "1969-12-31T23:59:59Z"}, "a timestamp must be between 1970 and 9999"),
    ({**VALID, "timestamp": "1970-01-01T00:00:00+01:00"}, "a timestamp must be between 1970 and 9999"),
    ({**VALID, "timestamp": "1969-12-31T23:59:59.9999Z"}, "a timestamp must be between 1970 and 9999"),
    ({**VALID, "timestamp": -0.0001}, "a timestamp must be between 1970 and 9999"),
    ({**VALID, "timestamp": "9999-12-31T23:59:59-01:00"}, "is in UTC before the year 1 or after the year 9999"),
    ({**VALID, "timestamp": "2024-03-01T10:00:00\0Z"}, "is not ISO 8601"),
    ({**VALID, "timestamp": 10**400}, "is not a timestamp"),
    ({**VALID, "timestamp": 10**30}, "is in a year of ten or more digits; pass seconds or milliseconds since 1970"),
    ({**VALID, "timestamp": math.inf}, "is not a timestamp"),
    ({**VALID, "timestamp": 1e18}, "timestamp 1e+18 is in the year 31690708"),
    ({**VALID, "timestamp": True}, "a timestamp is a number"),
    ({**VALID, "timestamp": {}}, "a timestamp is a number"),
    (None, "an event is a JSON object with user_id and item_id"),
    ("p1", "an event is a JSON object"),
    ([VALID], "an event is a JSON object"),
    (17, "an event is a JSON object"),
    ({}, "user_id: field required; and 1 more"),
]  # fmt: skip


def test_each_invalid_event_gets_a_result_and_the_others_are_stored(client: TestClient) -> None:
    """A queue that sends the same events again gets past the invalid ones, wherever they are."""
    events = []
    for number, (event, _) in enumerate(INVALID):
        events += [{**VALID, "item_id": f"p{number % 20}", "event_id": number}, event]
    results = send(client, *events, VALID)
    assert [result["status"] for result in results] == [*["accepted", "rejected"] * len(INVALID), "accepted"]
    for (event, fault), result in zip(INVALID, results[1::2], strict=False):
        assert fault in result["error"], event
        assert (result["reason"], result["known_item"]) == ("invalid", None)
    assert len(stored(client)) == len(INVALID) + 1
    again = [result["status"] for result in send(client, *events)]
    assert again == ["duplicate", "rejected"] * len(INVALID)
    assert metric(client, 'reprise_events_rejected_total{reason="invalid"}') == 2 * len(INVALID)
    assert metric(client, 'reprise_events_total{status="rejected"}') == 2 * len(INVALID)


@pytest.mark.parametrize(("event", "fault"), INVALID, ids=lambda value: str(value)[:40])
def test_a_request_with_one_invalid_event_has_its_result(client: TestClient, event: Any, fault: str) -> None:
    (result,) = send(client, event)
    assert result["status"] == "rejected" and fault in result["error"]
    assert client.get("/v1/users").json() == {"users": []}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"events": [{}], "ack": "maybe"}, "ack: input should be 'durable' or 'accepted'"),
        ({"events": [{}], "consent": "no"}, "consent: input should be a valid boolean"),
        ({"events": [{}], "colour": "red"}, "colour: extra inputs are not permitted"),
        ({"events": [{}] * 1001}, "events: list should have at most 1000 items"),
        ({"events": []}, "events: list should have at least 1 item"),
        ({"events": {}}, "events: input should be a valid array"),
        ({"events": None}, "events: input should be a valid array"),
        ([VALID], "body: input should be an object"),
    ],
    ids=str,
)  # fmt: skip
def test_a_fault_outside_the_events_is_a_fault_of_the_request(
    client: TestClient, body: Any, message: str
) -> None:
    response = client.post("/v1/events", json=body)
    assert response.status_code == 422
    assert message in response.json()["error"]["message"]


VALUES = [
    *("p1", "", "ö" * 256, "x" * 257, 0, 17, -3, 2**53, 2**53 + 1, 2**70, 1.0, 1.5, 1e308, -0.0, math.nan, -math.inf),
    *(True, False, None, [], {}, "\u0000", "2024-03-01T10:00:00Z", "2024-03-01t10:00:00z", "17", 1e10, 1e11, 9e11, [1]),
]  # fmt: skip


@pytest.mark.parametrize("field", ["user_id", "item_id", "timestamp", "kind", "value", "event_id"])
def test_an_event_is_read_alike_alone_and_next_to_an_invalid_one(field: str) -> None:
    """Valid requests are read from JSON in one step, others event by event."""

    def read(*events: Any) -> Any:
        return RecordEventsBody.model_validate_json(json.dumps({"events": events}))

    for value in VALUES:
        event = {**VALID, field: value}
        (alone,) = read(event).entries
        among = read({"fault": 1}, event, None).entries
        assert isinstance(among[0], InvalidEvent) and isinstance(among[2], InvalidEvent)
        assert among[1] == alone, (field, value)
        assert isinstance(alone, EventBody | InvalidEvent)


def test_a_body_that_is_not_json_is_an_error_of_the_request() -> None:
    for content in (b"{", b'{"events": [{}]', b"\xff", b'{"events": [{"user_id": "\\ud800"}]}'):
        with pytest.raises(ValidationError, match="JSON"):
            RecordEventsBody.model_validate_json(content)


def test_events_far_from_the_clock_or_of_an_unknown_kind_are_rejected_and_counted(client: TestClient) -> None:
    now = time.time()
    events = [
        ({"timestamp": now + 4000}, "in_future", "s in the future; the server's clock says"),
        ({"timestamp": 9e9}, "in_future", "s in the future"),
        ({"timestamp": 0}, "too_early", "timestamp 0 ms is 1970-01-01 00:00, before 1973-03-03 09:46; send "),
        ({"timestamp": 1}, "too_early", "before 1973-03-03 09:46"),
        ({"timestamp": "1970-01-01T00:00:00Z"}, "too_early", "before 1973-03-03 09:46"),
        ({"timestamp": "1972-12-31T00:00:00Z"}, "too_early", "timestamp 94608000000 ms is 1972-12-31 00:00"),
        ({"kind": "vew"}, "unknown_kind", "unknown kind of event 'vew'; did you mean 'view'?"),
    ]  # fmt: skip
    results = send(client, *({**VALID, **change} for change, *_ in events))
    for (_, reason, error), result in zip(events, results, strict=True):
        assert (result["status"], result["reason"], result["known_item"]) == ("rejected", reason, None)
        assert error in result["error"]
    assert statuses(client, VALID, VALID, consent=False) == ["rejected"] * 2
    for reason, count in (
        ("in_future", 2),
        ("too_early", 4),
        ("unknown_kind", 1),
        ("no_consent", 2),
        ("invalid", 0),
    ):
        assert metric(client, f'reprise_events_rejected_total{{reason="{reason}"}}') == count
    assert metric(client, 'reprise_events_total{status="rejected"}') == 9
    assert stored(client) == []


def test_events_beyond_the_rate_of_a_user_are_rejected_and_those_of_others_stored(
    engine: ServingEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At two a minute, a token comes every 30 seconds. Events that are rejected for another reason take none."""
    now_s = [1000.0]
    monkeypatch.setattr(event_checks, "TokenBuckets", lambda: TokenBuckets(1_000, clock=lambda: now_s[0]))
    settings = replace(LONG_TIMEOUTS, max_user_events_per_minute=2)
    with contextmanager(app_client)(engine, settings=settings) as client:
        other = {**VALID, "user_id": "bert"}
        results = send(client, VALID, {**VALID, "kind": "vew"}, VALID, VALID, other)
        assert [result["reason"] for result in results] == [None, "unknown_kind", None, "too_many", None]
        assert results[3]["error"] == "the user has sent more than 2 events per minute; send it again in 30 s"
        assert metric(client, 'reprise_events_rejected_total{reason="too_many"}') == 1
        now_s[0] += 20
        refused = client.post("/v1/events", json={"events": [VALID, VALID]})
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "10")
        assert refused.json()["error"]["code"] == "too_many_events"
        now_s[0] += 10
        assert statuses(client, VALID, VALID) == ["accepted", "rejected"]


@pytest.mark.parametrize(
    ("timestamp", "time_ms"),
    [
        ("2026-11-29T04:00:00z", 1_795_924_800_000),
        ("2026-11-29t04:00:00.5z", 1_795_924_800_500),
        ("2016-12-31T23:59:60Z", 1_483_228_799_000),
        ("2016-12-31T23:59:60.25Z", 1_483_228_799_250),
        ("2017-01-01T05:29:60+05:30", 1_483_228_799_000),
        ("1973-03-03T09:46:40Z", 100_000_000_000),
        (100_000_000, 100_000_000_000),
    ],
)
def test_every_form_of_a_timestamp_is_stored_as_the_moment_it_names(
    client: TestClient, timestamp: Any, time_ms: int
) -> None:
    assert statuses(client, {**VALID, "timestamp": timestamp}) == ["accepted"]
    assert [event["timestamp"] for event in stored(client)] == [time_ms]


def test_an_event_of_an_unknown_item_is_stored_and_its_result_says_so(client: TestClient) -> None:
    items = ["p1", "no such item", "p19", "P1"]
    events = [{**VALID, "item_id": item, "event_id": item} for item in items]
    results = send(client, *events)
    assert [result["known_item"] for result in results] == [True, False, True, False]
    assert {(result["status"], result["error"], result["reason"]) for result in results} == {
        ("accepted", None, None)
    }
    again = send(client, *events)
    assert [(result["status"], result["known_item"]) for result in again[:2]] == [
        ("duplicate", True),
        ("duplicate", False),
    ]
    assert metric(client, "reprise_events_unknown_item_total") == 2
    answer = client.post("/v1/recommend", json={"user_id": "anna"}).json()
    assert (answer["events"], answer["skipped"]) == (2, 2)


def test_a_known_event_id_with_other_content_is_a_conflict(client: TestClient) -> None:
    event = {**VALID, "timestamp": T, "event_id": "e1", "kind": "view", "value": 2}
    others = [
        {**event, **change}
        for change in (
            {"user_id": "bert"},
            {"item_id": "p2"},
            {"timestamp": T + 1},
            {"kind": "buy"},
            {"value": 3},
        )
        if change.get("kind", "view") in client.get("/v1/model").json()["kinds"]
    ]
    same = [event, {**event, "timestamp": T * 1000}, {**event, "value": 2.0}]
    without_time = {name: value for name, value in event.items() if name != "timestamp"}
    expected = ["accepted", "duplicate", "duplicate", "duplicate", *["conflict"] * len(others)]
    assert statuses(client, *same, without_time, *others) == expected
    results = send(client, *others)
    for result in results:
        assert (result["status"], result["reason"], result["known_item"]) == ("conflict", "conflict", None)
        assert "another event with the event_id 'e1' is already stored; send a new event" in result["error"]
    assert len(stored(client)) == 1
    assert client.get("/v1/users").json() == {"users": ["anna"]}
    assert metric(client, 'reprise_events_total{status="conflict"}') == 2 * len(others)
    assert metric(client, 'reprise_events_rejected_total{reason="conflict"}') == 2 * len(others)


def test_an_event_without_a_timestamp_can_be_sent_again(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = {**VALID, "event_id": "e1"}
    assert statuses(client, event) == ["accepted"]
    clock = time.time_ns() + 10**10
    monkeypatch.setattr("time.time_ns", lambda: clock)
    assert statuses(client, event) == ["duplicate"]


@pytest.mark.parametrize("shift_s", [240, 3600])
def test_a_clock_set_back_does_not_change_the_order_of_events_without_a_timestamp(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, shift_s: int
) -> None:
    clock = [T * 10**9]
    monkeypatch.setattr("time.time_ns", lambda: clock[0])
    for item in ("p1", "p2"):
        send(client, {**VALID, "item_id": item})
        clock[0] += 10**9
    clock[0] -= shift_s * 10**9
    send(client, {**VALID, "item_id": "p3"})
    send(client, {"user_id": "bert", "item_id": "p3"})
    assert [event["timestamp"] for event in stored(client)] == [T * 1000, (T + 1) * 1000, (T + 1) * 1000]
    assert [event["timestamp"] for event in stored(client, "bert")] == [(T + 2 - shift_s) * 1000]


def test_acknowledged_before_they_are_written_events_are_counted_when_they_are_written(
    engine: ServingEngine,
) -> None:
    event = {**VALID, "event_id": "e1"}
    for client in app_client(engine):
        assert statuses(client, event, {**event, "item_id": "p2"}, ack="accepted") == ["accepted", "accepted"]
        assert statuses(client, event) == ["duplicate"]  # the queue keeps their order
        assert metric(client, 'reprise_events_total{status="conflict"}') == 1


def test_events_ahead_of_the_clock_do_not_make_requests_with_the_true_time_fail(client: TestClient) -> None:
    now = time.time()
    send(client, {**VALID, "timestamp": now + 240}, {**VALID, "item_id": "p2"})
    assert [event["timestamp"] for event in stored(client)] == [round((now + 240) * 1000)] * 2
    query = {"user_id": "anna", "k": 3}

    def recommend(**changes: Any) -> Any:
        response = client.post("/v1/recommend", json={**query, **changes})
        return response.status_code, response.json().get("items")

    expected = recommend(now=now + 240)
    assert expected[0] == 200
    assert recommend() == recommend(now=now) == recommend(now=now - 60) == expected
    assert recommend(now=now - 61)[0] == 409
    assert recommend(now=now, events=[{"item_id": "p1", "timestamp": now + 1}])[0] == 409
