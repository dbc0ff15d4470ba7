"""Connections to a SQLite file: one that writes, a few that read, and access to the raw bytes of the file."""

import os
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeAlias

from reprise.server.store.event_store import StoreError

BUSY_MS = 5_000
"""Time to wait for another process that has locked the file, in milliseconds."""
BRIEF_MS = 50
"""Maximum time for which one attempt to truncate the write-ahead log may block writers, in milliseconds."""
CHECKPOINT_PAGES = 4_000
"""Size of the write-ahead log at which SQLite copies it into the file, in pages. Larger values make checkpoints rarer,
smaller values make reads faster."""
READERS = 8
"""Maximum number of connections that read. A read takes microseconds, so threads wait briefly for a free connection."""
BLOCK_BYTES = 2**20
"""Size of the blocks in which a file is searched, in bytes. Other threads can run between two blocks."""

Inode: TypeAlias = tuple[int, int]
"""Device and inode number of a file."""


class SQLiteDatabase:
    """The connections of one store. It can be used from several threads. Every failure raises `StoreError`."""

    def __init__(self, path: Path) -> None:
        """Prepare the connections. They are opened when they are needed."""
        self.path = path
        self._write_lock = threading.Lock()
        self._writer: sqlite3.Connection | None = None
        self._wal_uncertain = True
        """Whether the write-ahead log may contain data that never reached the disk."""
        self._free = threading.BoundedSemaphore(READERS)
        self._idle: list[sqlite3.Connection] = []
        self._idle_lock = threading.Lock()
        self._closed = False

    def rows(self, query: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
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
        """Lock and return the connection that writes. After an exception the connection is closed and opened again."""
        with self._write_lock, _as_store_error(self.path):
            self._raise_if_closed()
            if self._writer is None:
                self._writer = self._connect()
            try:
                if self._wal_uncertain:
                    self._checkpoint(self._writer)
                yield self._writer
            except BaseException:
                self._wal_uncertain = True
                _disconnect(self._writer)  # rolls back
                self._writer = None
                raise

    def truncate_wal(self) -> None:
        """Copy the write-ahead log into the file and truncate it.

        Long reads delay this. It retries in short attempts, so that writers are never blocked for long.
        """
        until_s = time.monotonic() + BUSY_MS / 1000
        while True:
            with self.writer() as writer:
                writer.execute(f"PRAGMA busy_timeout = {BRIEF_MS}")
                busy, _, _ = writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                writer.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
            if not busy:
                return
            if time.monotonic() > until_s:
                raise StoreError(f"{self.path} is being read without a pause; try again later")
            time.sleep(0.01)

    def vacuum(self) -> None:
        """Rewrite the file. Other threads can read meanwhile; a writer that waits longer than `BUSY_MS` fails."""
        with _as_store_error(self.path):
            self._raise_if_closed()
            connection = self._connect()
            try:
                connection.execute("VACUUM")
            except BaseException:
                with self._write_lock:
                    self._wal_uncertain = True
                raise
            finally:
                _disconnect(connection)

    def contains_any(self, patterns: Sequence[bytes]) -> bool:
        """Return whether the bytes of the file or of its write-ahead log contain one of the patterns."""
        log = self.path.with_name(f"{self.path.name}-wal")
        with _as_store_error(self.path), _FILES.descriptor(self.path) as file:
            if _contains_any(file, patterns):
                return True
            with log.open("rb") if log.exists() else nullcontext() as stream:
                return stream is not None and _contains_any(stream.fileno(), patterns)

    def close(self) -> None:
        """Close the connections. A connection that is reading is closed when its read ends."""
        with self._write_lock, self._idle_lock:
            self._closed = True
            for connection in [*self._idle, *([self._writer] if self._writer else [])]:
                _disconnect(connection)
            self._idle.clear()
            self._writer = None

    @contextmanager
    def _reader(self) -> Generator[sqlite3.Connection, None, None]:
        """Lend a connection that reads. After an exception the connection is closed."""
        with self._free:
            with self._idle_lock:
                self._raise_if_closed()
                reader = self._idle.pop() if self._idle else None
            reader = reader or self._connect()
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

    def _connect(self) -> "_Connection":
        inode = _FILES.acquire(self.path)
        try:
            connection = sqlite3.connect(
                self.path, isolation_level=None, check_same_thread=False, factory=_Connection
            )
        except BaseException:
            _FILES.release(inode)
            raise
        connection.inode = inode
        try:
            connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA secure_delete = ON")
            connection.execute("PRAGMA temp_store = MEMORY")
            connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        except BaseException:
            _disconnect(connection)
            raise
        return connection

    def _checkpoint(self, writer: sqlite3.Connection) -> None:
        """Copy the write-ahead log into the file and start a new one.

        After a failed fsync, data may be lost although it can still be read, and later fsyncs do not report this. Data that
        is appended to the same write-ahead log would be lost with it.
        """
        busy, _, _ = writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise StoreError(f"{self.path} is being read without a pause; try again later")
        self._wal_uncertain = False


class _Connection(sqlite3.Connection):
    inode: Inode


def _disconnect(connection: sqlite3.Connection) -> None:
    assert isinstance(connection, _Connection)
    connection.close()
    _FILES.release(connection.inode)


class _Files:
    """Descriptors of database files, kept open until this process has closed its last connection to the file.

    POSIX: closing any descriptor of a file drops all locks that the process has on the file, also those of SQLite. Another
    process could then believe that it is the last user of the file, and delete the write-ahead log that this one uses.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users: Counter[Inode] = Counter()
        """Number of connections and searches that use a file."""
        self._descriptors: dict[Inode, int] = {}

    def acquire(self, path: Path) -> Inode:
        """Count a user of a file. A missing file is created, readable for its owner only."""
        with self._lock:
            try:
                created = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            except FileExistsError:
                created = None
            except OSError as error:
                raise StoreError(f"unable to open {path}: {error.strerror}") from error
            inode = _inode(path.stat() if created is None else os.fstat(created))
            self._users[inode] += 1
            if created is not None:
                self._descriptors[inode] = created
        return inode

    def release(self, inode: Inode) -> None:
        """Discount a user of a file. The last one closes the descriptor."""
        with self._lock:
            self._users[inode] -= 1
            if not self._users[inode]:
                del self._users[inode]
                if inode in self._descriptors:
                    os.close(self._descriptors.pop(inode))

    @contextmanager
    def descriptor(self, path: Path) -> Generator[int, None, None]:
        """Lend a descriptor for reading. Several threads may share it, so use `os.pread`."""
        inode = self.acquire(path)
        try:
            with self._lock:
                if inode not in self._descriptors:
                    self._descriptors[inode] = os.open(path, os.O_RDONLY)
            yield self._descriptors[inode]
        finally:
            self.release(inode)


_FILES = _Files()


def _inode(status: os.stat_result) -> Inode:
    return status.st_dev, status.st_ino


def _contains_any(descriptor: int, patterns: Sequence[bytes]) -> bool:
    """Return whether the bytes of a file contain one of the patterns, also across the boundary of two blocks."""
    overlap = max(map(len, patterns)) - 1
    tail, offset = b"", 0
    while block := os.pread(descriptor, BLOCK_BYTES, offset):
        window = tail + block
        if any(pattern in window for pattern in patterns):
            return True
        tail = window[len(window) - min(overlap, len(window)) :]
        offset += len(block)
    return False


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
