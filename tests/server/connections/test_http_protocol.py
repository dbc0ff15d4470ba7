"""Connections over raw sockets: limits of size, time and number, and errors in the common form."""

import logging
import random
import socket
import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from app_client import LONG_TIMEOUTS
from raw_connection import RawConnection, RawResponse
from server_thread import Address, server_thread

from reprise.server.process import ListenSettings

SETTINGS = replace(
    LONG_TIMEOUTS, head_timeout_s=0.6, body_timeout_s=0.6, write_timeout_s=0.6, keep_alive_timeout_s=1,
    max_connections=60, max_connections_per_address=40,
)  # fmt: skip
"""Short limits, so that the tests are fast."""
POST = b"POST /v1/recommend HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


def get(target: bytes) -> bytes:
    return b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % target


def post(body: bytes) -> bytes:
    return POST + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)


HEALTH = get(b"/healthz")


@pytest.fixture(scope="module")
def server(second_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    with server_thread(
        second_model, tmp_path_factory.mktemp("limits") / "events.db", settings=SETTINGS
    ) as server:
        yield server


def ask(server: Address, data: bytes) -> RawResponse:
    """Send bytes and read one response, after which the server must close the connection."""
    with RawConnection(server.port, data) as connection:
        response = connection.response()
        assert response.headers["connection"] == "close" and connection.is_closed()
        return response


def refusals(server: Address, reason: str) -> float:
    """Return how many requests or connections the server has refused for a reason."""
    with RawConnection(server.health_port, b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n") as connection:
        page = connection.response().content.decode()
    name = f'reprise_http_refusals_total{{reason="{reason}"}} '
    return sum(float(line.removeprefix(name)) for line in page.splitlines() if line.startswith(name))


INVALID = [
    b"\r\n\r\nnonsense\r\n\r\n",
    b"GET /healthz HTTP/9.9\r\nHost: localhost\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
    b"GET /healthz HTTP/1.1\r\nHost localhost\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost : localhost\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: a\x00b\r\n\r\n",
    b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\nhello",
    b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n0\r\n\r\n",
]  # fmt: skip


@pytest.mark.parametrize("data", INVALID, ids=lambda data: ascii(data)[:60])
def test_what_is_not_http_gets_400_in_the_common_form(data: bytes, server: Address) -> None:
    response = ask(server, data)
    assert (response.status, response.code) == (400, "bad_request")


def test_a_body_that_stops_being_valid_gets_400(server: Address) -> None:
    with RawConnection(server.port, CHUNKED) as connection:
        time.sleep(0.1)  # the application waits for the body
        connection.send(b"zz\r\n")
        assert (connection.response().code, connection.is_closed()) == ("bad_request", True)


LARGE = [
    ("headers_too_large", 431, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: %s\r\n\r\n" % (b"a" * 40_000)),
    ("headers_too_large", 431, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: %s\r\n\r\n" % (b"a" * 20_000_000)),
    ("headers_too_large", 431, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n%s: a\r\n\r\n" % (b"x" * 100_000)),
    ("headers_too_large", 431, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n%s\r\n" % (b"X: a\r\n" * 101)),
    ("headers_too_large", 431, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n%s\r\n" % (b"X: a\r\n" * 500_000)),
    ("headers_too_large", 431, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: %s" % (b"a" * 200_000)),
    ("uri_too_long", 414, get(b"/" + b"a" * 9_000)),
    ("uri_too_long", 414, get(b"/v1/items?search=" + b"a" * 20_000_000)),
    ("headers_too_large", 431, CHUNKED + b"1;%s\r\n{" % (b"e" * 5_000_000)),
    ("headers_too_large", 431, CHUNKED + b"2\r\n{}\r\n0\r\nX: %s" % (b"t" * 5_000_000)),
]  # fmt: skip


@pytest.mark.parametrize(("code", "status", "data"), LARGE, ids=lambda value: ascii(value)[:70])
def test_large_heads_urls_and_trailers_are_refused(
    code: str, status: int, data: bytes, server: Address
) -> None:
    before = refusals(server, code)
    response = ask(server, data)
    assert (response.status, response.code) == (status, code)
    assert refusals(server, code) == before + 1


def test_heads_and_urls_below_the_limits_are_served(server: Address) -> None:
    user = b"%F0%9F%98%80" * 256
    large = b"GET /v1/users/%s HTTP/1.1\r\nHost: localhost\r\n%s\r\n" % (
        user,
        b"X: %s\r\n" % (b"a" * 300) * 90,
    )
    body = b"[" + b" " * 500_000 + b"]"
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in b'{"events": [], "k": 1}' + b" " * 20_000)
    chunked = CHUNKED + chunks + b"0\r\n\r\n"
    with RawConnection(server.port) as connection:
        for data, status in ((large, 200), (post(body), 422), (chunked, 200), (HEALTH * 3, 200)):
            connection.send(data)
            assert connection.response().status == status
        assert [connection.response().status for _ in range(2)] == [200, 200]


def test_more_trailers_than_headers_may_be_are_refused(server: Address) -> None:
    body = b"2\r\n{}\r\n0\r\n"
    with RawConnection(server.port, CHUNKED + body + b"X: a\r\n" * 100 + b"\r\n" + HEALTH) as connection:
        assert [connection.response().status for _ in range(2)] == [200, 200]
    with RawConnection(server.port, CHUNKED + body + b"X: a\r\n" * 101 + b"\r\n" + HEALTH) as connection:
        assert connection.response().code == "headers_too_large" and connection.is_closed()


def test_the_server_asks_for_a_body_only_if_it_will_read_it(server: Address) -> None:
    head = POST + b"Expect: 100-continue\r\nContent-Length: 2\r\n"
    for data, first in (
        (head + b"\r\n", b"HTTP/1.1 100 Continue\r\n"),
        (head.replace(b"/1.1", b"/1.0") + b"\r\n{}", b"HTTP/1.1 200 OK\r\n"),
        (head.replace(b": 2", b": 2000000") + b"\r\n", b"HTTP/1.1 413 "),
        (head.replace(b"application/json", b"text/plain") + b"\r\n", b"HTTP/1.1 415 "),
    ):
        with RawConnection(server.port, data) as connection:
            assert connection.socket.recv(1_000).startswith(first)


def test_trailers_do_not_become_headers(server: Address) -> None:
    head = b"POST /v1/recommend HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
    with RawConnection(server.port) as connection:
        connection.send(head + b"\r\n2\r\n{}\r\n0\r\nContent-Type: application/json\r\n\r\n")
        assert connection.response().code == "unsupported_media_type"
        json_type = b"Content-Type: application/json\r\n\r\n"
        connection.send(
            head + json_type + b"2\r\n{}\r\n0\r\nHost: evil.test\r\nX-Api-Key: x\r\n\r\n" + HEALTH
        )
        assert [connection.response().status for _ in range(2)] == [200, 200]


def test_an_offer_to_upgrade_is_ignored(server: Address) -> None:
    """Some clients offer HTTP/2 with each first request."""
    offer = (
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n"
    )
    head = POST + b"Content-Length: 8\r\n" + offer + b"\r\n"
    websocket = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    with RawConnection(server.port, head + b'{"k": 3}' + HEALTH) as connection:
        assert [connection.response().status for _ in range(2)] == [200, 200]
        connection.send(head)
        connection.send(b'{"k"')
        time.sleep(0.05)
        connection.send(b": 3}")
        assert connection.response().status == 200
        connection.send(websocket + HEALTH)
        assert [connection.response().status for _ in range(2)] == [200, 200]


def test_the_host_of_an_absolute_url_counts(second_model: Path, tmp_path: Path) -> None:
    local = ListenSettings().authenticator()
    with server_thread(second_model, tmp_path / "events.db", local) as server:
        for target, status in (
            (b"http://localhost/healthz", 200), (b"HTTP://LOCALHOST:80/healthz?x", 200), (b"http://localhost", 200),
            (b"http://evil.test/healthz", 403), (b"http://localhost@evil.test/healthz", 403), (b"http://evil.test", 403),
            (b"http://evil.test?/localhost/", 403), (b"ftp://evil.test/healthz", 403), (b"http:///healthz", 403),
        ):  # fmt: skip
            with RawConnection(server.port, get(target)) as connection:
                assert connection.response().status == status, target
        for head, status in (
            (b"GET /healthz HTTP/1.0\r\n\r\n", 403), (b"GET /healthz HTTP/1.1\r\n\r\n", 403),
            (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nhost: localhost\r\n\r\n", 400),
            (b"GET http://localhost/healthz HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 400),
            (b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
            (b"OPTIONS * HTTP/1.1\r\nHost: evil.test\r\n\r\n", 403),
            (b"GET /healthz HTTP/1.1\r\nHost: a{b.evil.test\r\n\r\n", 403),
            (b"GET /healthz HTTP/1.1\r\nHost: localhost.\r\n\r\n", 403),
        ):  # fmt: skip
            for port in (server.port, server.health_port):
                with RawConnection(port, head) as connection:
                    assert connection.response().status == status, head


def test_silent_and_slow_connections_are_closed(server: Address) -> None:
    with RawConnection(server.port) as silent, RawConnection(server.port) as slow:
        slow.drip(b"GET /healthz HTTP/1.1\r\nX: " + b"a" * 100, 0.03)
        assert slow.response().code == "request_timeout" and slow.is_closed()
        assert silent.is_closed()
    with RawConnection(server.port, HEALTH) as idle:
        assert idle.response().status == 200
        assert idle.is_closed()


def test_a_body_that_no_route_reads_does_not_hold_the_connection(server: Address) -> None:
    for framing in (b"Content-Length: 1000000", b"Transfer-Encoding: chunked"):
        with RawConnection(
            server.port, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n%s\r\n\r\n" % framing
        ) as connection:
            assert connection.response().status == 200
            connection.drip(b"1;" + b"0" * 200, 0.03)
            assert connection.is_closed()


def test_a_slow_body_ends_the_connection(server: Address) -> None:
    with RawConnection(server.port, CHUNKED + b"1\r\n{") as connection:
        connection.drip(b"\r\n1\r\n " * 7, 0.03)
        response = connection.response()
        assert (response.status, response.code) == (408, "request_timeout")
        assert response.headers["connection"] == "close" and connection.is_closed()


def test_a_refused_body_is_not_a_reset(server: Address) -> None:
    """The client sends all of a large body before it reads the response, and asks to close the connection."""
    body = b" " * 8_000_000
    head = (
        b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n"
        % len(body)
    )
    for extra, code in (
        (b"Content-Type: application/json\r\n\r\n", "payload_too_large"),
        (b"\r\n", "unsupported_media_type"),
    ):
        assert ask(server, head + extra + body).code == code


def test_a_client_that_does_not_read_is_disconnected(server: Address) -> None:
    before = refusals(server, "response_not_read")
    with RawConnection(server.port, receive_bytes=4096) as connection, pytest.raises(ConnectionError):
        for _ in range(20_000):
            connection.send(get(b"/openapi.json"))
            time.sleep(0.003)
    assert refusals(server, "response_not_read") == before + 1


def test_pipelined_requests_are_answered_in_order_up_to_a_limit(server: Address) -> None:
    paths = [b"/healthz", b"/nowhere", b"/v1/model", b"/v1/users/a"] * 3
    with RawConnection(server.port, b"".join(map(get, paths))) as connection:
        assert [connection.response().status for _ in paths] == [200, 404, 200, 200] * 3
    with RawConnection(server.port, HEALTH * 5_000) as connection:
        statuses = []
        while not statuses or statuses[-1] == 200:
            statuses.append(connection.response().status)
        assert len(statuses) < 200 and statuses[-1] == 429 and connection.is_closed()


def test_an_error_in_a_later_request_does_not_replace_an_earlier_response(server: Address) -> None:
    faults = [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: %s\r\n\r\n" % (b"a" * 50_000),
        CHUNKED + b"zz",
    ]
    for fault in faults:
        with RawConnection(server.port, post(b"{}") + HEALTH + fault) as connection:
            statuses = [connection.response().status for _ in range(3)]
            assert statuses[:2] == [200, 200] and statuses[2] in (400, 431) and connection.is_closed()


def test_a_client_may_close_its_direction_after_the_request(server: Address) -> None:
    for data, statuses in (
        (HEALTH, [200]),
        (post(b"{}") + HEALTH, [200, 200]),
        (b"GET /healthz HT", [400]),
        (b"", []),
        (post(b"{}")[:-1], []),
    ):
        with RawConnection(server.port, data) as connection:
            connection.socket.shutdown(socket.SHUT_WR)
            assert [connection.response().status for _ in statuses] == statuses
            assert connection.is_closed()


def test_many_requests_on_one_connection_are_served(server: Address) -> None:
    with RawConnection(server.port) as connection:
        for _ in range(500):
            connection.send(HEALTH)
            assert connection.response().status == 200


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /healthz HTTP/1.1\r\nX: ",
        b"POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n",
    ],
)
def test_incomplete_connections_of_one_client_give_way_to_new_ones(sent: bytes, server: Address) -> None:
    with ExitStack() as stack:
        first = stack.enter_context(RawConnection(server.port, sent))
        for place in range(170):
            if 0 < place <= 150:
                stack.enter_context(RawConnection(server.port, sent))
                continue
            with RawConnection(server.port, HEALTH) as connection:  # at place 0: then `first` has been read
                assert connection.response().status == 200
        if sent:
            assert first.response().code in ("too_many_connections", "unsupported_media_type")
        else:
            assert first.is_closed()


@pytest.mark.parametrize("before", [b"", HEALTH])
def test_refused_connections_of_clients_that_do_not_close_give_way_to_new_ones(
    before: bytes, server: Address
) -> None:
    with ExitStack() as stack:
        for _ in range(150):
            stack.enter_context(RawConnection(server.port, before + b"nonsense\r\n\r\n"))
        for _ in range(20):
            with RawConnection(server.port, get(b"/v1/model")) as connection:
                assert connection.response().status == 200


def test_idle_connections_give_way_to_new_ones(server: Address) -> None:
    with ExitStack() as stack:
        for _ in range(100):
            connection = stack.enter_context(RawConnection(server.port, HEALTH))
            assert connection.response().status == 200


def test_when_all_connections_are_busy_only_health_checks_are_answered(
    second_model: Path, tmp_path: Path
) -> None:
    few = replace(LONG_TIMEOUTS, max_connections=3, max_connections_per_address=0, body_timeout_s=60)
    with server_thread(second_model, tmp_path / "events.db", settings=few) as server, ExitStack() as stack:
        lock = stack.enter_context(closing(sqlite3.connect(tmp_path / "events.db", isolation_level=None)))
        lock.execute("BEGIN IMMEDIATE")  # writes wait for it
        write = post(b'{"events": [{"user_id": "anna", "item_id": "p7"}]}').replace(b"recommend", b"events")
        busy = [stack.enter_context(RawConnection(server.port, write)) for _ in range(3)]
        time.sleep(0.2)
        for path, status in (
            (b"/healthz", 200),
            (b"/metrics", 200),
            (b"/v1/model", 503),
            (b"/", 503),
            (b"/healthz/x", 503),
        ):
            with RawConnection(server.port, get(path)) as connection:
                response = connection.response()
                assert response.status == status and response.headers["connection"] == "close"
                assert status == 200 or response.code == "too_many_connections"
        with ExitStack() as silent:  # silent connections above the limit give way as well
            for _ in range(50):
                silent.enter_context(RawConnection(server.port))
            with RawConnection(server.port, HEALTH) as connection:
                assert connection.response().status == 200
        lock.rollback()
        assert [connection.response().status for connection in busy] == [200] * 3


def test_the_port_for_health_checks_answers_nothing_else(server: Address) -> None:
    with RawConnection(server.health_port) as connection:
        for path, status in (
            (b"/healthz", 200),
            (b"/readyz", 200),
            (b"/metrics", 200),
            (b"/v1/users", 404),
            (b"/", 404),
        ):
            connection.send(get(path))
            assert connection.response().status == status
    with ExitStack() as stack:
        for _ in range(150):
            stack.enter_context(RawConnection(server.health_port))
        with RawConnection(server.health_port, HEALTH) as connection:
            assert connection.response().status == 200


def test_random_bytes_neither_stop_the_server_nor_show_an_error_of_its_own(
    server: Address, caplog: pytest.LogCaptureFixture
) -> None:
    """Valid requests with random changes, cut into pieces, pipelined, and closed early."""
    generator = random.Random(5)
    requests = [
        HEALTH, post(b"{}"), CHUNKED + b"2;a=b\r\n{}\r\n0\r\nX: y\r\n\r\n",
        b"GET http://localhost/v1/users/%C3%A4?limit=3 HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        b"POST /v1/events HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5000\r\nConnection: close\r\n\r\n",
        b"DELETE /v1/users/x HTTP/1.1\r\nHost: localhost\r\nOrigin: null\r\n\r\n", b"OPTIONS * HTTP/1.0\r\n\r\n",
    ]  # fmt: skip
    inserted = [
        b"\r\n",
        b"\x00",
        b":",
        b" ",
        b"\xff",
        b"a" * 9_000,
        b"a" * 40_000,
        b"%FF",
        b"\r\nHost: evil.test\r\n",
    ]
    for _ in range(400):
        data = bytearray().join(generator.choice(requests) for _ in range(generator.choice([1, 1, 2, 30])))
        for _ in range(generator.choice([0, 1, 4])):
            place = generator.randrange(len(data))
            data[place : place + generator.choice([0, 1, 9])] = generator.choice(inserted)
        cut = generator.randrange(len(data))
        with suppress(OSError), RawConnection(server.port, data[:cut]) as connection:
            connection.send(data[cut:])
            if generator.random() < 0.5:
                connection.socket.shutdown(socket.SHUT_WR)
                connection.socket.settimeout(0.02)
                while received := connection.socket.recv(65_536):
                    assert b"Internal" not in received and b"text/plain" not in received
    with RawConnection(server.port, HEALTH) as connection:
        assert connection.response().status == 200
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []
