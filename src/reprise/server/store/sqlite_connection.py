"""A SQLite file as the event log uses it: one connection that writes, a few that read, and the bytes themselves."""

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
"""How long another process may hold the file before this one gives up."""
BRIEF_MS = 50
"""How long writers may have to wait for an attempt to empty the write-ahead log."""
CHECKPOINT_PAGES = 4_000
"""Of the write-ahead log before it is copied into the file: rarely enough not to be felt, small enough to be read fast."""
READERS = 8
"""Connections that read, at most; a read takes microseconds, and who finds none waits for one."""
BLOCK_BYTES = 2**20
"""Of a file that is looked through, at a time: other threads go on meanwhile."""

Inode: TypeAlias = tuple[int, int]


class SQLiteDatabase:
    """The connections of one store. Every failure is a `StoreError`. Safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        """Nothing is opened yet."""
        self.path = path
        self._lock = threading.Lock()
        """Of who writes."""
        self._writer: sqlite3.Connection | None = None
        self._doubtful = True
        """Whether the write-ahead log may hold what never reached the disk: of this process, or of one before it."""
        self._free = threading.BoundedSemaphore(READERS)
        self._idle: list[sqlite3.Connection] = []
        self._idle_lock = threading.Lock()
        self._closed = False

    def rows(self, query: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """The rows of one statement that only reads."""
        with _as_store_error(self.path), self._reading() as reader:
            return reader.execute(query, parameters).fetchall()

    @contextmanager
    def transaction(self) -> Generator[sqlite3.Connection, None, None]:
        """All that is done in it is durable afterwards, or none."""
        with self.writing() as writer:
            writer.execute("BEGIN IMMEDIATE")
            yield writer
            writer.execute("COMMIT")

    @contextmanager
    def writing(self) -> Generator[sqlite3.Connection, None, None]:
        """The connection that writes. After a failure nothing is known of what it holds, so the next one begins anew."""
        with self._lock, _as_store_error(self.path):
            self._refuse_closed()
            if self._writer is None:
                self._writer = self._connect()
            try:
                if self._doubtful:
                    self._settle(self._writer)
                yield self._writer
            except BaseException:
                self._doubtful = True
                _disconnect(self._writer)  # rolls back
                self._writer = None
                raise

    def empty_log(self) -> None:
        """Copy the write-ahead log into the file and cut it off; writers wait for moments only, however long readers read."""
        until_s = time.monotonic() + BUSY_MS / 1000
        while True:
            with self.writing() as writer:
                writer.execute(f"PRAGMA busy_timeout = {BRIEF_MS}")
                busy, _, _ = writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                writer.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
            if not busy:
                return
            if time.monotonic() > until_s:
                raise StoreError(f"{self.path} is being read by others without a pause; ask again")
            time.sleep(0.01)

    def write_anew(self) -> None:
        """Write the file anew. Readers go on; who writes for longer than `BUSY_MS` meanwhile gets an error."""
        with _as_store_error(self.path):
            self._refuse_closed()
            connection = self._connect()
            try:
                connection.execute("VACUUM")
            except BaseException:
                with self._lock:
                    self._doubtful = True
                raise
            finally:
                _disconnect(connection)

    def holds(self, parts: Sequence[bytes]) -> bool:
        """Whether the bytes of the file, or of its write-ahead log, have any of these parts."""
        log = self.path.with_name(f"{self.path.name}-wal")
        with _as_store_error(self.path), _FILES.descriptor(self.path) as file:
            if _any_in(file, parts):
                return True
            with log.open("rb") if log.exists() else nullcontext() as view:
                return view is not None and _any_in(view.fileno(), parts)

    def close(self) -> None:
        """Let go of the connections; those that somebody reads with are closed when they are given back."""
        with self._lock, self._idle_lock:
            self._closed = True
            for connection in [*self._idle, *([self._writer] if self._writer else [])]:
                _disconnect(connection)
            self._idle.clear()
            self._writer = None

    @contextmanager
    def _reading(self) -> Generator[sqlite3.Connection, None, None]:
        with self._free:
            with self._idle_lock:
                self._refuse_closed()
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

    def _refuse_closed(self) -> None:
        if self._closed:
            raise StoreError(f"{self.path} is closed")

    def _connect(self) -> "_Connection":
        inode = _FILES.enter(self.path)
        try:
            connection = sqlite3.connect(
                self.path, isolation_level=None, check_same_thread=False, factory=_Connection
            )
        except BaseException:
            _FILES.leave(inode)
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

    def _settle(self, writer: sqlite3.Connection) -> None:
        """Copy the write-ahead log into the file, and begin a new one.

        What could not be synced once may be lost though it can still be read, and later syncs say nothing of it. What stands
        behind it in the same log would be lost with it.
        """
        busy, _, _ = writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise StoreError(f"{self.path} is being read by others without a pause; ask again")
        self._doubtful = False


class _Connection(sqlite3.Connection):
    inode: Inode


def _disconnect(connection: sqlite3.Connection) -> None:
    assert isinstance(connection, _Connection)
    connection.close()
    _FILES.leave(connection.inode)


class _Files:
    """Descriptors of database files beside those of SQLite: kept until the last connection of this process is closed.

    To close any descriptor of a file takes all locks of the process from it, those of SQLite too (POSIX). Another process
    would take itself for the last one that uses the file, and remove the write-ahead log under the feet of this one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users: Counter[Inode] = Counter()
        self._kept: dict[Inode, int] = {}

    def enter(self, path: Path) -> Inode:
        """Begin to use a file, which is made where there is none: nobody but its owner may read it."""
        with self._lock:
            try:
                made = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            except FileExistsError:
                made = None
            except OSError as error:
                raise StoreError(f"unable to open {path}: {error.strerror}") from error
            inode = _inode(path.stat() if made is None else os.fstat(made))
            self._users[inode] += 1
            if made is not None:
                self._kept[inode] = made
        return inode

    def leave(self, inode: Inode) -> None:
        """End to use it."""
        with self._lock:
            self._users[inode] -= 1
            if not self._users[inode]:
                del self._users[inode]
                if inode in self._kept:
                    os.close(self._kept.pop(inode))

    @contextmanager
    def descriptor(self, path: Path) -> Generator[int, None, None]:
        """One to read a file with. It may be used by several at once, so it has no place."""
        inode = self.enter(path)
        try:
            with self._lock:
                if inode not in self._kept:
                    self._kept[inode] = os.open(path, os.O_RDONLY)
            yield self._kept[inode]
        finally:
            self.leave(inode)


_FILES = _Files()


def _inode(found: os.stat_result) -> Inode:
    return found.st_dev, found.st_ino


def _any_in(descriptor: int, parts: Sequence[bytes]) -> bool:
    """Whether the bytes of a file have any of these parts, which may lie across blocks."""
    overlap = max(map(len, parts)) - 1
    tail, place = b"", 0
    while block := os.pread(descriptor, BLOCK_BYTES, place):
        view = tail + block
        if any(part in view for part in parts):
            return True
        tail = view[len(view) - min(overlap, len(view)) :]
        place += len(block)
    return False


@contextmanager
def _as_store_error(path: Path) -> Generator[None, None, None]:
    try:
        yield
    except sqlite3.Error as error:
        raise StoreError(f"{path}: {error}") from error
    except OSError as error:
        if isinstance(error, StoreError):
            raise
        raise StoreError(f"{path}: {error}") from error
