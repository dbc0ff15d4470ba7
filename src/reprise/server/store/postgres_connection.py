"""A PostgreSQL database as the event log asks it: address, sessions that confirm what is durable, errors, second attempts."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, TypeAlias, TypeVar

from reprise.errors import ConfigError
from reprise.server.store.event_store import StoreError

try:
    import psycopg
    from psycopg.conninfo import conninfo_to_dict, make_conninfo
    from psycopg.errors import DeadlockDetected, SerializationFailure, UniqueViolation
    from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout
except ImportError as error:
    raise ConfigError('PostgreSQL needs psycopg: pip install "reprise[postgres]"') from error

CONNECTIONS = 8
"""At most, of one store."""
WAIT_S = 5.0
"""For a connection, before the store is said not to answer."""
CONNECT_S = 3
STATEMENT_MS = 10_000
LOCK_MS = 5_000
ATTEMPTS = 5

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"
Answer = TypeVar("Answer")

SETTINGS = f"""
SELECT set_config('statement_timeout', '{STATEMENT_MS}', false), set_config('lock_timeout', '{LOCK_MS}', false),
    set_config('idle_in_transaction_session_timeout', '{STATEMENT_MS}', false),
    set_config('synchronous_commit', CASE current_setting('synchronous_commit')
               WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, false)
"""
UNDONE = (UniqueViolation, DeadlockDetected, SerializationFailure)
"""The server took the transaction back because of another one."""


class UnsureError(Exception):
    """The connection was lost after the commit was sent: nobody knows whether it was done."""


class PostgresDatabase:
    """Connections to one database. Every failure is a `StoreError`, without what the address holds of secrets.

    It does not name the error of the library as its cause: whose text may show the whole row of a person.
    """

    def __init__(self, address: str) -> None:
        """Nothing is opened yet.

        Raises:
            ConfigError: the address cannot be read.
        """
        options = _options(address)
        self.where = f"PostgreSQL database {options.get('dbname', '')!r}"
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
            reconnect_failed=ConnectionPool.check,  # begin again: the pauses stay short however long the server is away
            open=False,
        )

    def open(self) -> None:
        """Let `tried` begin."""
        self._pool.open()

    def close(self) -> None:
        """Let go of the connections."""
        self._pool.close()

    @contextmanager
    def connected(self) -> Generator[Connection, None, None]:
        """A connection by itself; what it cannot do is told."""
        try:
            with psycopg.connect(self._conninfo, autocommit=True) as connection:
                _configure(connection)
                yield connection
        except psycopg.Error as error:
            raise self._told(error) from None

    def rows(self, query: str, parameters: Any) -> list[tuple[Any, ...]]:
        """The rows of one statement, which does the same when it is done twice."""
        return self.tried(lambda connection: connection.execute(query, parameters).fetchall(), harmless=True)

    def tried(self, work: Callable[[Connection], Answer], harmless: bool) -> Answer:
        """Do it; and again where it is certain that nothing was done, or, if that is `harmless`, where it is not."""
        for attempts_left in reversed(range(ATTEMPTS)):
            try:
                with self._pool.connection() as connection:
                    return work(connection)
            except (PoolClosed, PoolTimeout) as error:
                raise self._told(error) from None
            except (psycopg.Error, UnsureError) as error:
                again = (
                    harmless
                    if isinstance(error, UnsureError)
                    else isinstance(error, UNDONE) or _is_lost(error)
                )
                if not again or not attempts_left:
                    raise self._told(error) from None
                if not isinstance(error, UNDONE):
                    self._pool.check()  # others that lie idle are lost as well
        raise AssertionError("the last attempt answers or raises")

    def _told(self, error: Exception) -> StoreError:
        if isinstance(error, UnsureError):
            return StoreError(
                f"{self.where}: the connection was lost while it committed; it may have been done or not"
            )
        if isinstance(error, PoolClosed):
            return StoreError(f"{self.where} is closed")
        if isinstance(error, PoolTimeout):
            return StoreError(f"{self.where} gave no connection for {WAIT_S:g} s")
        assert isinstance(error, psycopg.Error)
        text = error.diag.message_primary or " ".join(str(error).split())
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return StoreError(f"{self.where}: {text}")


@contextmanager
def committing() -> Generator[None, None, None]:
    """Around what sends a commit.

    Raises:
        UnsureError: the connection was lost in it.
    """
    try:
        yield
    except psycopg.Error as error:
        if _is_lost(error):
            raise UnsureError from error
        raise


def _options(address: str) -> dict[str, Any]:
    """What an address says, and what it leaves open."""
    try:
        told = {name: value for name, value in conninfo_to_dict(address).items() if value not in (None, "")}
    except psycopg.Error:
        told = {"port": "none"}
    ports = str(told.get("port", "5432")).split(",")
    # libpq takes the parts of a password with a / or @ for other things, and would tell them in its errors
    if "@" in f"{told.get('host', '')}{told.get('dbname', '')}" or not all(port.isdigit() for port in ports):
        raise ConfigError(
            "the address of the PostgreSQL store cannot be read (it is not shown, as it may hold a password); write "
            "postgresql://user:password@host:port/database, with %40 for @, %2F for / and %3A for : in a name or password"
        ) from None
    # a machine that is gone must be noticed, and a client of other tables would not ask for this
    defaults = {
        "connect_timeout": CONNECT_S, "keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3,
        "tcp_user_timeout": STATEMENT_MS, "application_name": "reprise",
    }  # fmt: skip
    return {**defaults, **told, "client_encoding": "UTF8"}


def _configure(connection: Connection) -> None:
    connection.execute(SETTINGS)


def _is_lost(error: psycopg.Error) -> bool:
    """Whether an error means that the connection is gone: told by the library, or by a server that goes."""
    state = error.sqlstate
    return isinstance(error, psycopg.OperationalError) and (state is None or state.startswith(("08", "57P")))
