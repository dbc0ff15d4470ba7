"""`reprise serve` in a process of its own, on a free port of this machine: to be asked, watched, stopped and killed."""

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
SERVE = ("-m", "reprise", "serve")
"""What the interpreter is told to run."""
READY_S = 60.0
END_S = 30.0


class Reply(NamedTuple):
    """What a server answered."""

    status: int
    body: Any
    """Read from JSON; text where it is none."""
    headers: Mapping[str, str]


class ServerProcess:
    """A server that was started, and is killed at the end of a `with` block where it still runs."""

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
        """Start a server; `wait_ready` tells when it answers.

        Args:
            model: What it serves.
            store: The address of its event log.
            log: The file that its lines are added to.
            options: More options of the command line.
            environment: Variables that it has besides those of this process.
            program: What the interpreter runs instead of the command `serve`.
        """
        self.port = free_port()
        self.log = log
        place = ["--store", store, "--port", str(self.port)]
        with log.open("ab") as lines:
            self.process = subprocess.Popen(
                [sys.executable, *program, str(model), *place, *options],
                stdout=lines,
                stderr=lines,
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
        """The number of the process."""
        return self.process.pid

    def wait_ready(self, within_s: float = READY_S) -> "ServerProcess":
        """Itself, as soon as it answers.

        Raises:
            TimeoutError: it does not.
            RuntimeError: it ended; the message has the end of what it said.
        """
        until_s = time.monotonic() + within_s
        while time.monotonic() < until_s:
            if self.process.poll() is not None:
                raise RuntimeError(f"the server ended with {self.process.returncode}: {self.said()[-2000:]}")
            try:
                if self.ask("GET", "/healthz").status == 200:
                    return self
            except OSError:
                time.sleep(0.01)
        raise TimeoutError(f"the server did not answer within {within_s:g} s: {self.said()[-2000:]}")

    def ask(self, method: str, path: str, body: Any = None, within_s: float = 30.0) -> Reply:
        """What it answers to one request.

        Raises:
            OSError: it cannot be reached, or broke off.
        """
        connection = http.client.HTTPConnection(HOST, self.port, timeout=within_s)
        try:
            sent = None if body is None else json.dumps(body)
            connection.request(method, path, sent, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            content = answer.read()
        except http.client.HTTPException as error:
            raise ConnectionError(f"the server broke off ({error!r})") from error
        finally:
            connection.close()
        plain = answer.headers.get_content_type() != "application/json"
        return Reply(answer.status, content.decode() if plain else json.loads(content), dict(answer.headers))

    def said(self) -> str:
        """All that it wrote."""
        return self.log.read_text(encoding="utf-8")

    def kill(self) -> None:
        """End it as the loss of power to a process would: at once, in the midst of whatever it does."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def stop(self, within_s: float = END_S) -> int:
        """Ask it to end, and wait until it has; its exit status.

        Raises:
            TimeoutError: it goes on.
        """
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"the server did not end within {within_s:g} s") from None


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        port: int = listener.getsockname()[1]
        return port
