"""Connections to a SQLite file: one that writes, and a few that read."""

import logging
import sqlite3
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias

from reprise.server.store.event_store import StoreError
from reprise.server.store.sqlite_files import (
    LARGE_LOG_BYTES,
    OPEN_FILES,
    DatabaseFiles,
    Inode,
    LostFilesError,
)

LOGGER = logging.getLogger("reprise.server")
Writer: TypeAlias = sqlite3.Connection
"""The connection that writes."""
BUSY_MS = 5_000
"""Time to wait for another process that has locked the file, in milliseconds."""
BRIEF_MS = 50
"""Maximum time for which one attempt to truncate the write-ahead log may block writers, in milliseconds."""
CHECKPOINT_PAGES = 4_000
"""Size of the write-ahead log at which SQLite copies it into the file, in pages. Larger values make checkpoints rarer,
smaller values make reads faster."""
ATTEMPT_S = 10.0
"""Minimum time between two attempts to empty a large write-ahead log, in seconds."""
READERS = 8
"""Maximum number of connections that read. A read takes microseconds, so threads wait briefly for a free connection."""
WROTE_NOTHING = "SQLITE_IOERR_WRITE"
"""Error of a write that the system refused, for instance at a limit of the file size."""


class SQLiteDatabase:
    """The connections of one store. It can be used from several threads. Every failure raises `StoreError`."""

    def __init__(self, path: Path) -> None:
        """Prepare the connections. They are opened when they are needed."""
        self.path = path
        self.files = DatabaseFiles(path)
        self._write_lock = threading.Lock()
        self._writer: sqlite3.Connection | None = None
        self._anchor: sqlite3.Connection | None = None
        """A connection that neither reads nor writes events. While it is open, SQLite keeps the write-ahead log and its
        index."""
        self._wal_uncertain = True
        """Whether the write-ahead log may contain data that never reached the disk."""
        self._attempt_s = 0.0
        """When the store last tried to empty a large write-ahead log, on the monotonic clock."""
        self._lost = False
        """Whether `event log lost` has been logged, so that it is logged once."""
        self._free = threading.BoundedSemaphore(READERS)
        self._idle: list[sqlite3.Connection] = []
        self._idle_lock = threading.Lock()
        self._closed = False

    def rows(
        self, query: str, parameters: Sequence[object] | Mapping[str, object] = ()
    ) -> list[tuple[Any, ...]]:
        """Execute a read-only statement and return its rows."""
        with _as_store_error(self.path), self._reader() as reader:
            return reader.execute(query, parameters).fetchall()

    @contextmanager
    def transaction(self) -> Generator[sqlite3.Connection, None, None]:
        """Begin a transaction, and commit it durably at the end of the block. An exception rolls it back."""
        with self.writer() as writer:
            writer.execute("BEGIN IMMEDIATE")
            yield writer
            writer.execute("COMMIT")

    @contextmanager
    def writer(self) -> Generator[sqlite3.Connection, None, None]:
        """Lock and return the connection that writes. After an exception the connection is closed and opened again.

        Raises:
            StoreError: writing failed, or the files were removed, replaced or truncated before or during the block.
        """
        with self._write_lock, _as_store_error(self.path):
            self._raise_if_closed()
            self._require_files()
            if self._writer is None:
                self._writer = self._connect()
            try:
                if self._wal_uncertain:
                    self._make_wal_durable(self._writer)
                yield self._writer
            except BaseException as error:
                self._wal_uncertain |= _may_have_lost_bytes(error)
                _disconnect(self._writer)  # rolls back
                self._writer = None
                raise
            self._require_files()
            if self.files.log_bytes > LARGE_LOG_BYTES:
                self._empty_large_wal(self._writer)

    def truncate_wal(self) -> None:
        """Copy the write-ahead log into the file and truncate it.

        Long reads delay this. It retries in short attempts, so that writers are never blocked for long.
        """
        until_s = time.monotonic() + BUSY_MS / 1000
        while True:
            with self.writer() as writer:
                busy = _truncate_briefly(writer)
            if not busy:
                return
            if time.monotonic() > until_s:
                raise StoreError(f"{self.path} is being read without a pause; try again later")
            time.sleep(0.01)

    def vacuum(self) -> None:
        """Rewrite the file. Other threads can read meanwhile; a writer that waits longer than `BUSY_MS` fails."""
        with _as_store_error(self.path):
            with self._write_lock:  # the check of the files uses the connection that writes
                self._raise_if_closed()
                self._require_files()
                connection = self._connect()
            try:
                connection.execute("VACUUM")
            except BaseException as error:
                with self._write_lock:
                    self._wal_uncertain |= _may_have_lost_bytes(error)
                raise
            finally:
                _disconnect(connection)

    def contains_any(self, patterns: Sequence[bytes]) -> bool:
        """Return whether the bytes of the file or of its write-ahead log contain one of the patterns."""
        with _as_store_error(self.path):
            return self.files.contain_any(patterns)

    def close(self) -> None:
        """Close the connections. A connection that is reading is closed when its read ends."""
        with self._write_lock, self._idle_lock:
            self._closed = True
            for connection in (*self._idle, self._writer, self._anchor):
                if connection is not None:
                    _disconnect(connection)
            self._idle.clear()
            self._writer = self._anchor = None

    @contextmanager
    def _reader(self) -> Generator[sqlite3.Connection, None, None]:
        """Lend a connection that reads. After an exception the connection is closed."""
        with self._free:
            with self._idle_lock:
                self._raise_if_closed()
                reader = self._idle.pop() if self._idle else None
            if reader is None:
                self.files.require_unchanged()  # a new connection would open other files
                reader = self._connect()
            try:
                yield reader
            except BaseException:
                _disconnect(reader)
                raise
            with self._idle_lock:
                if self._closed:
                    _disconnect(reader)
                else:
                    self._idle.append(reader)

    def _raise_if_closed(self) -> None:
        if self._closed:
            raise StoreError(f"{self.path} is closed")

    def _require_files(self) -> None:
        """Raise `StoreError` if the files of the database were removed, replaced or truncated."""
        try:
            self.files.require_unchanged()
            self._require_log()
        except LostFilesError as error:
            if not self._lost:
                LOGGER.error("event log lost", extra={"fields": {"error": str(error)}})
            self._lost = True
            if self._writer is not None and self.files.only_the_log_is_missing():
                with suppress(sqlite3.Error):  # saves what has been acknowledged
                    self._writer.execute("PRAGMA wal_checkpoint(PASSIVE)")
            raise
        self._lost = False

    def _require_log(self) -> None:
        """Raise `LostFilesError` if the write-ahead log is empty, and not because SQLite has emptied it."""
        if self._anchor is None or self.files.log_bytes:
            return
        try:  # of a log that SQLite has emptied this copies nothing
            _, frames, _ = self._anchor.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except sqlite3.Error:
            frames = 1
        if frames > 0:
            self.files.require_unchanged()  # another process may have written since the last look
            if not self.files.log_bytes:
                raise LostFilesError(self.path, "its write-ahead log was truncated")

    def _make_wal_durable(self, writer: sqlite3.Connection) -> None:
        """Empty the write-ahead log, or write it again if readers prevent that.

        Data of an earlier write may not have reached the disk, see `DatabaseFiles.rewrite_log`.
        """
        if _truncate_briefly(writer):
            writer.execute("BEGIN IMMEDIATE")  # no other process changes the log meanwhile
            self.files.rewrite_log()
            writer.execute("COMMIT")
        self._wal_uncertain = False

    def _empty_large_wal(self, writer: sqlite3.Connection) -> None:
        """Try to copy a large write-ahead log into the file and to truncate it, and warn if readers prevent that."""
        if time.monotonic() < self._attempt_s + ATTEMPT_S:
            return
        self._attempt_s = time.monotonic()
        try:
            busy = _truncate_briefly(writer)
        except sqlite3.Error as error:  # the events are committed; the next transaction reports the fault
            self._wal_uncertain |= _may_have_lost_bytes(error)
            _disconnect(writer)
            self._writer = None
            return
        if busy:
            fault = f"{self.path} is being read without a pause, so its write-ahead log cannot be emptied; end the reader"
            fields = {"bytes": self.files.log_bytes, "error": fault}
            LOGGER.warning("write-ahead log grows", extra={"fields": fields})

    def _connect(self) -> "_Connection":
        first = self._anchor is None
        if first and self.path.exists():
            self.files.require_writable()
        connection = _open(self.path, create=first)
        if first:
            try:
                self._anchor = _open(self.path, create=False)
                self.files.remember()
            except BaseException:
                _disconnect(connection)
                raise
        return connection


class _Connection(sqlite3.Connection):
    inode: Inode


def _open(path: Path, create: bool) -> _Connection:
    """Open a connection. A missing file is created if `create` is true."""
    inode = OPEN_FILES.acquire(path, create)
    try:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, factory=_Connection)
    except BaseException:
        OPEN_FILES.release(inode)
        raise
    connection.inode = inode
    try:
        connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        connection.execute(f"PRAGMA journal_size_limit = {LARGE_LOG_BYTES}")
    except BaseException:
        _disconnect(connection)
        raise
    return connection


def _disconnect(connection: sqlite3.Connection) -> None:
    assert isinstance(connection, _Connection)
    connection.close()
    OPEN_FILES.release(connection.inode)


def _truncate_briefly(writer: sqlite3.Connection) -> bool:
    """Try to truncate the write-ahead log for at most `BRIEF_MS`; return whether readers prevented it."""
    writer.execute(f"PRAGMA busy_timeout = {BRIEF_MS}")
    busy, _, _ = writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    writer.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
    return bool(busy)


def _may_have_lost_bytes(error: BaseException) -> bool:
    """Return whether a failure may mean that bytes of the write-ahead log were not synced.

    A lock that another process holds, a full disk or a read-only file means that nothing was written.
    """
    name = getattr(error, "sqlite_errorname", "")
    return isinstance(error, OSError) or (name.startswith("SQLITE_IOERR") and name != WROTE_NOTHING)


@contextmanager
def _as_store_error(path: Path) -> Generator[None, None, None]:
    """Convert exceptions of SQLite and of the file system to `StoreError`."""
    try:
        yield
    except sqlite3.Error as error:
        raise StoreError(f"{path}: {error}") from error
    except OSError as error:
        if isinstance(error, StoreError):
            raise
        raise StoreError(f"{path}: {error}") from error
