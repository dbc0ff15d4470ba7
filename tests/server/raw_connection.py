"""A connection to a server over a plain socket, for requests that an HTTP client would not send."""

import json
import socket
import time
from http.client import HTTPResponse
from types import TracebackType
from typing import Any, NamedTuple

WITHIN_S = 20.0


class RawResponse(NamedTuple):
    """A response."""

    status: int
    """HTTP status."""
    headers: dict[str, str]
    """Headers with names in lower case."""
    content: bytes
    """Body."""

    @property
    def code(self) -> str:
        """The error code. Checks that the response has the form of all errors."""
        assert self.headers["content-type"] == "application/json"
        error: dict[str, Any] = json.loads(self.content)["error"]
        assert error.keys() == {"code", "message", "hint"} and error["message"]
        return str(error["code"])


class RawConnection:
    """An open connection."""

    def __init__(self, port: int, data: bytes = b"", receive_bytes: int | None = None) -> None:
        self.socket = socket.socket()
        self.socket.settimeout(WITHIN_S)
        if receive_bytes is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.connect(("127.0.0.1", port))
        self._file = self.socket.makefile("rb")
        self.send(data)

    def __enter__(self) -> "RawConnection":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self.socket.sendall(data)

    def drip(self, data: bytes, pause_s: float) -> None:
        """Send bytes one at a time with pauses, until the server closes the connection."""
        try:
            for byte in data:
                self.socket.sendall(bytes([byte]))
                time.sleep(pause_s)
        except OSError:
            pass

    def response(self, method: str = "GET") -> RawResponse:
        """Read a response."""
        response = HTTPResponse(_Buffered(self._file), method=method)  # type: ignore[arg-type]
        response.begin()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return RawResponse(response.status, headers, response.read())

    def is_closed(self) -> bool:
        """Wait until the server closes the connection; return whether it did so without sending anything more."""
        try:
            return self._file.read(1) == b""
        except ConnectionError:
            return True


class _Buffered:
    """Lets several responses be read from one connection: each reader has the same buffer, and none closes it."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def makefile(self, mode: str) -> "_Buffered":
        return self

    def close(self) -> None:
        pass

    def flush(self) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)
