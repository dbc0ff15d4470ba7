"""Connections to a PostgreSQL database: address, pool, durable sessions, errors and retries."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, TypeAlias, TypeVar

from reprise.errors import ConfigError
from reprise.server.store.event_store import StoreError

try:
    import psycopg
    from psycopg.conninfo import conninfo_to_dict, make_conninfo
    from psycopg.errors import (
        DeadlockDetected,
        ReadOnlySqlTransaction,
        SerializationFailure,
        UniqueViolation,
    )
    from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout
except ImportError as error:
    raise ConfigError('PostgreSQL needs psycopg: pip install "reprise[postgres]"') from error

CONNECTIONS = 8
"""Maximum number of connections of one store."""
WAIT_S = 5.0
"""Time to wait for a free connection before `StoreError` is raised."""
CONNECT_S = 3
"""Time limit for opening a connection."""
STATEMENT_MS = 10_000
"""Time limit for one statement."""
LOCK_MS = 5_000
"""Time limit for waiting for a lock."""
ATTEMPTS = 5
"""Maximum number of attempts of one operation."""

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"
Result = TypeVar("Result")

SETTINGS = f"""
SELECT set_config('statement_timeout', '{STATEMENT_MS}', false), set_config('lock_timeout', '{LOCK_MS}', false),
    set_config('idle_in_transaction_session_timeout', '{STATEMENT_MS}', false),
    set_config('synchronous_commit', CASE current_setting('synchronous_commit')
               WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, false)
"""
ROLLED_BACK = (UniqueViolation, DeadlockDetected, SerializationFailure)
"""Errors with which the server rolls a transaction back because of a concurrent one."""


class CommitUnknownError(Exception):
    """The connection was lost after the commit was sent, so it is unknown whether the commit succeeded."""


class PostgresDatabase:
    """A pool of connections to one database. Every failure raises `StoreError`.

    The errors do not contain secrets of the address. They do not have an error of psycopg as their cause, because its text
    can contain a row with personal data.
    """

    def __init__(self, address: str) -> None:
        """Prepare the pool, without opening a connection.

        Raises:
            ConfigError: the address is malformed.
        """
        options = _options(address)
        self.name = f"PostgreSQL database {options.get('dbname', '')!r}"
        """Name of the database in messages."""
        self._secrets = [str(options[name]) for name in ("password", "sslpassword") if options.get(name)]
        self._conninfo = make_conninfo(**options)
        self._pool = ConnectionPool(
            self._conninfo,
            kwargs={"autocommit": True},
            configure=_configure,
            min_size=1,
            max_size=CONNECTIONS,
            timeout=WAIT_S,
            reconnect_timeout=2,
            # restarts the exponential back-off, so that the pauses stay short even if the server is away for long
            reconnect_failed=ConnectionPool.check,
            open=False,
        )

    def open(self) -> None:
        """Open the pool. `rows` and `retry` need it."""
        self._pool.open()

    def close(self) -> None:
        """Close the connections of the pool."""
        self._pool.close()

    @contextmanager
    def connection(self) -> Generator[Connection, None, None]:
        """Open a connection outside the pool, and close it at the end of the block."""
        try:
            with psycopg.connect(self._conninfo, autocommit=True) as connection:
                _configure(connection)
                yield connection
        except psycopg.Error as error:
            raise self._store_error(error) from None

    def rows(self, query: str, parameters: Any) -> list[tuple[Any, ...]]:
        """Execute an idempotent statement and return its rows."""
        return self.retry(
            lambda connection: connection.execute(query, parameters).fetchall(), idempotent=True
        )

    def retry(self, operation: Callable[[Connection], Result], idempotent: bool) -> Result:
        """Run an operation, and repeat it after a failure if that is safe.

        Args:
            operation: Runs on a connection of the pool.
            idempotent: Whether the operation may be repeated even if it may already have succeeded.
        """
        for attempts_left in reversed(range(ATTEMPTS)):
            try:
                with self._pool.connection() as connection:
                    try:
                        return operation(connection)
                    except ReadOnlySqlTransaction:
                        connection.close()  # after a failover, a new connection may reach a server that can write
                        raise
            except (PoolClosed, PoolTimeout) as error:
                raise self._store_error(error) from None
            except (psycopg.Error, CommitUnknownError) as error:
                if isinstance(error, CommitUnknownError):
                    safe = idempotent
                else:
                    safe = isinstance(error, (*ROLLED_BACK, ReadOnlySqlTransaction)) or _is_lost(error)
                if not safe or not attempts_left:
                    raise self._store_error(error) from None
                if not isinstance(error, (*ROLLED_BACK, ReadOnlySqlTransaction)):
                    self._pool.check()  # the idle connections are probably lost as well
        raise AssertionError("the last attempt returns or raises")

    def _store_error(self, error: Exception) -> StoreError:
        """Convert an exception to a `StoreError` without secrets."""
        if isinstance(error, CommitUnknownError):
            return StoreError(
                f"{self.name}: the connection was lost during the commit, which may have succeeded or not"
            )
        if isinstance(error, PoolClosed):
            return StoreError(f"{self.name} is closed")
        if isinstance(error, PoolTimeout):
            return StoreError(f"{self.name} provided no connection for {WAIT_S:g} s")
        assert isinstance(error, psycopg.Error)
        text = error.diag.message_primary or " ".join(str(error).split())
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return StoreError(f"{self.name}: {text}")


@contextmanager
def committing() -> Generator[None, None, None]:
    """Mark the statements that send a commit.

    Raises:
        CommitUnknownError: the connection was lost in the block.
    """
    try:
        yield
    except psycopg.Error as error:
        if _is_lost(error):
            raise CommitUnknownError from error
        raise


def _options(address: str) -> dict[str, Any]:
    """Return the options of libpq in an address, with defaults for those that it leaves out."""
    try:
        given = {name: value for name, value in conninfo_to_dict(address).items() if value not in (None, "")}
    except psycopg.Error:
        given = {"port": "invalid"}
    ports = str(given.get("port", "5432")).split(",")
    # libpq parses a password with an unescaped / or @ as other parts of the address, and would show them in its errors
    if "@" in f"{given.get('host', '')}{given.get('dbname', '')}" or not all(
        port.isdigit() for port in ports
    ):
        raise ConfigError(
            "the address of the PostgreSQL store is malformed (it is not shown, since it may contain a password); write "
            "postgresql://user:password@host:port/database, with %40 for @, %2F for / and %3A for : in a name or password"
        ) from None
    # keepalives detect a server that disappeared without closing the connection
    defaults = {
        "connect_timeout": CONNECT_S, "keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3,
        "tcp_user_timeout": STATEMENT_MS, "application_name": "reprise",
    }  # fmt: skip
    return {**defaults, **given, "client_encoding": "UTF8"}


def _configure(connection: Connection) -> None:
    connection.execute(SETTINGS)


def _is_lost(error: psycopg.Error) -> bool:
    """Return whether an error means that the connection is lost: reported by libpq, or by a server that shuts down."""
    state = error.sqlstate
    return isinstance(error, psycopg.OperationalError) and (state is None or state.startswith(("08", "57P")))
