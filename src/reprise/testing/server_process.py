"""`reprise serve` as a child process on a free local port, for tests that send requests, stop it or kill it."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

HOST = "127.0.0.1"
SERVE = (sys.executable, "-m", "reprise", "serve")
"""The command that starts the server, without its arguments."""
READY_S = 60.0
"""Default time limit for the start of a server."""
STOP_S = 30.0
"""Default time limit for a regular shutdown."""


class Reply(NamedTuple):
    """A response of a server."""

    status: int
    """HTTP status."""
    body: Any
    """Parsed JSON, or text for other media types."""
    headers: Mapping[str, str]
    """Headers of the response."""


class ServerProcess:
    """A running server. At the end of a `with` block it is killed if it is still running."""

    def __init__(
        self,
        model: Path,
        store: str,
        log: Path,
        *,
        options: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        program: Sequence[str] = SERVE,
    ) -> None:
        """Start a server. `wait_ready` waits until it responds.

        Args:
            model: Directory of the model to serve.
            store: Address of the event store.
            log: File to which the output of the server is appended.
            options: Additional command-line options.
            environment: Additional environment variables.
            program: The command to run, instead of `SERVE`.
        """
        self.port = free_port()
        self.log = log
        address = ["--store", store, "--port", str(self.port)]
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [*program, str(model), *address, *options],
                stdout=output,
                stderr=output,
                env={**os.environ, **(environment or {})},
            )

    def __enter__(self) -> "ServerProcess":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    def wait_ready(self, within_s: float = READY_S) -> "ServerProcess":
        """Wait until the server responds; return the server.

        Raises:
            TimeoutError: it did not respond in time.
            RuntimeError: it exited; the message contains the end of its output.
        """
        until_s = time.monotonic() + within_s
        while time.monotonic() < until_s:
            if self.process.poll() is not None:
                raise RuntimeError(
                    f"the server exited with status {self.process.returncode}: {self.output()[-2000:]}"
                )
            try:
                if self.request("GET", "/healthz").status == 200:
                    return self
            except OSError:
                time.sleep(0.01)
        raise TimeoutError(f"the server did not respond within {within_s:g} s: {self.output()[-2000:]}")

    def request(self, method: str, path: str, body: Any = None, within_s: float = 30.0) -> Reply:
        """Send a request and return the response.

        Raises:
            OSError: the server cannot be reached, or closed the connection early.
        """
        connection = http.client.HTTPConnection(HOST, self.port, timeout=within_s)
        try:
            content = None if body is None else json.dumps(body)
            connection.request(method, path, content, {"Content-Type": "application/json"})
            response = connection.getresponse()
            received = response.read()
        except http.client.HTTPException as error:
            raise ConnectionError(f"the server closed the connection early ({error!r})") from error
        finally:
            connection.close()
        is_json = response.headers.get_content_type() == "application/json"
        parsed = json.loads(received) if is_json else received.decode()
        return Reply(response.status, parsed, dict(response.headers))

    def output(self) -> str:
        """Return everything that the server wrote."""
        return self.log.read_text(encoding="utf-8")

    def kill(self) -> None:
        """Kill the server immediately with SIGKILL, as a crash would."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def stop(self, within_s: float = STOP_S) -> int:
        """Stop the server with SIGTERM, wait for it, and return its exit status.

        Raises:
            TimeoutError: it is still running.
        """
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"the server did not stop within {within_s:g} s") from None


def free_port() -> int:
    """Return a port that is currently free."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        port: int = listener.getsockname()[1]
        return port
