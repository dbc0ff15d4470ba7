"""Random bytes on a connection get an answer or are closed, and the server goes on."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from rounds import Fuzz
from server_thread import server_thread

STATUS = (200, 400, 401, 403, 404, 405, 408, 409, 411, 413, 414, 415, 422, 429, 431, 501, 503)
"""Statuses that a request can have. 500 means a fault of the server."""
PIECES = [
    b"Host: localhost", b"Host: evil.test", b"Host: a{b", b"Host:", b"Content-Type: application/json", b"Content-Length: 5",
    b"Content-Length: -1", b"Content-Length: 99999999999999999999", b"Transfer-Encoding: chunked", b"Transfer-Encoding: x",
    b"Connection: close", b"Expect: 100-continue", b"Content-Encoding: gzip", b"Origin: null", b"X-API-Key: \xff\xfe",
    b"X: " + b"a" * 5_000, b"a" * 300, b": no name", b"Upgrade: websocket", b"Sec-Fetch-Site: cross-site", b" folded",
]  # fmt: skip
PATHS = [b"/healthz", b"/v1/events", b"/v1/recommend", b"/v1/users/%FF", b"/v1/users/a%2Fb", b"/v1/items?search=%00", b"*",
         b"http://evil.test/healthz", b"/" + b"x" * 3_000, b"/..//", b"/v1/items/\xc3\xbc"]  # fmt: skip
BODIES = [
    b"",
    b"{}",
    b"[]",
    b'{"events": []}',
    b'{"user_id": "a"}',
    b"5\r\nhello\r\n0\r\n\r\n",
    b"ffffffffff\r\n",
    b"\x00",
]


@st.composite
def requests(draw: Callable[[Any], Any]) -> bytes:
    method = draw(
        st.sampled_from([b"GET", b"POST", b"PUT", b"DELETE", b"HEAD", b"OPTIONS", b"PATCH", b"get", b"\x00"])
    )
    version = draw(st.sampled_from([b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"HTTP/9", b""]))
    headers = draw(st.lists(st.sampled_from(PIECES) | st.binary(max_size=20), max_size=6))
    end = draw(st.sampled_from([b"\r\n", b"\n", b"\r"]))
    head = end.join([b" ".join([method, draw(st.sampled_from(PATHS)), version]), *headers])
    body = draw(st.sampled_from(BODIES) | st.binary(max_size=50))
    return head + end * 2 + body


def answer(port: int, data: bytes) -> bytes:
    """Send bytes, say that no more follow, and return what the server sends until it closes the connection."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(65_536):
                received += part
        except ConnectionError:
            pass  # the server closed the connection while bytes were on the way
    return received


def test_fuzz_the_server_survives_random_requests(fuzz: Fuzz, shop: Path, work: Path) -> None:
    with server_thread(shop / "model", work / "events.db") as server:
        port = int(server.url.rpartition(":")[2])

        @given(parts=st.lists(requests() | st.binary(max_size=200), min_size=1, max_size=3))
        def check(parts: list[bytes]) -> None:
            received = answer(port, b"".join(parts))
            if received:
                assert received.startswith(b"HTTP/1."), received[:200]
                assert int(received[9:12]) in STATUS, received[:500]
            assert server.call("GET", "/healthz"), "the server does not answer"

        fuzz(check)
