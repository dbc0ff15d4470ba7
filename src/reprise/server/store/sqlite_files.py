"""The files of a SQLite database: their identity, the search in their bytes, and syncing of the write-ahead log."""

import os
import threading
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeAlias

from reprise.server.store.event_store import StoreError

BLOCK_BYTES = 2**20
"""Size of the blocks in which a file is read, in bytes. Other threads can run between two blocks."""
LARGE_LOG_BYTES = 64 * 2**20
"""Size of a large write-ahead log. The store tries to empty a larger one, and logs a warning if readers prevent it. SQLite
truncates it to this size when it next writes from the start of the file."""
HEADER_BYTES = 100
"""Size of the header of a database file."""
MAGIC = b"SQLite format 3\0"
"""First bytes of a database file."""
COOKIE = slice(40, 44)
"""Place of the schema cookie in the header of a database file: a counter that VACUUM increases."""
SALTS = slice(16, 24)
"""Place of the salts in a write-ahead log: random numbers that change whenever the log is started again."""

Inode: TypeAlias = tuple[int, int]
"""Device and inode number of a file."""


class FileIdentities(NamedTuple):
    """Which files the paths of a database lead to. None: there is no file at the path."""

    database: Inode | None
    wal: Inode | None
    """The write-ahead log."""
    shm: Inode | None
    """The shared index of the write-ahead log."""


class FileContents(NamedTuple):
    """What sizes and headers say about the contents of the files of a database."""

    size: int
    """Size of the database file, in bytes."""
    cookie: int | None
    """Schema cookie of the database file. None: the file does not begin like a database."""
    log_bytes: int
    """Size of the write-ahead log, in bytes."""
    log_salts: bytes
    """Salts of the write-ahead log; empty if it has no header."""

    def fault_after(self, before: "FileContents") -> str | None:
        """Return what happened to the files since earlier contents that SQLite does not do; None: nothing."""
        if before.size and self.cookie is None:
            return "the file was overwritten"
        if self.size < before.size and self.cookie == before.cookie:  # only a VACUUM makes the file smaller
            return "the file was truncated or overwritten"
        if 0 < self.log_bytes < min(before.log_bytes, LARGE_LOG_BYTES) and self.log_salts == before.log_salts:
            return "its write-ahead log was truncated"
        return None


class LostFilesError(StoreError):
    """The files of a database were removed, replaced or truncated while it was open."""

    def __init__(self, path: Path, fault: str) -> None:
        super().__init__(
            f"{path}: {fault} while the server was running; nothing is written any more. Put the files back, or restart the "
            "server to use what is there now"
        )


class DatabaseFiles:
    """The paths of the files of one database, and which files they led to when it was opened."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        real = path.resolve()  # SQLite puts the other files next to the target of a link
        self.log_path = real.with_name(f"{real.name}-wal")
        self.index_path = real.with_name(f"{real.name}-shm")
        self.log_bytes = 0
        """Size of the write-ahead log when `require_unchanged` last looked."""
        self._known: FileIdentities | None = None
        self._contents: FileContents | None = None
        """Contents at the last look that found no fault."""
        self._look = threading.Lock()

    def require_writable(self) -> None:
        """Raise `StoreError` if this process may not write the file, or create files next to it.

        SQLite would open the file for reading, and create a write-ahead log that is read-only as well.
        """
        for path in (self.path, self.log_path.parent):
            if not os.access(path, os.W_OK):
                raise StoreError(
                    f"{path} is read-only for this process; change its mode, owner or file system"
                )

    def remember(self) -> None:
        """Remember which files the paths lead to, at the first call. The database must be open."""
        if self._known is None:
            self._known = self._identities()

    def require_unchanged(self) -> None:
        """Raise `LostFilesError` if a path no longer leads to the file that was opened, or a file was truncated.

        SQLite keeps writing to a file without a name, or to a file that was moved away, and reports success. The next start
        would read another file, without these events. Of a truncated file it keeps pages in memory, and goes on as well.
        """
        if self._known is None:
            return
        with self._look:  # one after the other: each look is compared with the one before it
            found = self._identities()
            if found != self._known:
                names = zip(("file", "write-ahead log", "index"), found, self._known, strict=True)
                name, now = next((name, now) for name, now, before in names if now != before)
                subject = "the file" if name == "file" else f"its {name}"
                raise LostFilesError(self.path, f"{subject} was {'replaced' if now else 'removed'}")
            contents = self._read_contents()
            fault = None if self._contents is None else contents.fault_after(self._contents)
            if fault is not None:
                raise LostFilesError(self.path, fault)
            self._contents = contents

    def only_the_log_is_missing(self) -> bool:
        """Return whether the database file is the known one and there is no write-ahead log at its path."""
        found = self._identities()
        return self._known is not None and found.database == self._known.database and found.wal is None

    def rewrite_log(self) -> None:
        """Write all bytes of the write-ahead log again and sync them. No other connection may write meanwhile.

        After a failed fsync the system takes the data for written, although it may not be on the disk; later calls of fsync
        succeed and do not write it. Events that follow such a gap in the log would be lost with it. Writing the same bytes
        again makes the system write them, and unlike a checkpoint it need not wait for readers.
        """
        descriptor = os.open(self.log_path, os.O_RDWR)
        try:
            offset = 0
            while block := os.pread(descriptor, BLOCK_BYTES, offset):
                offset += os.pwrite(descriptor, block, offset)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def contain_any(self, patterns: Sequence[bytes]) -> bool:
        """Return whether the bytes of the file or of its write-ahead log contain one of the patterns."""
        with OPEN_FILES.descriptor(self.path) as file:
            if _contains_any(file, patterns):
                return True
        if not self.log_path.exists():
            return False
        with self.log_path.open("rb") as log:
            return _contains_any(log.fileno(), patterns)

    def _read_contents(self) -> FileContents:
        with OPEN_FILES.descriptor(self.path) as file:
            header = os.pread(file, HEADER_BYTES, 0)
            size = os.fstat(file).st_size
        with self.log_path.open("rb", buffering=0) as log:
            salts = log.read(SALTS.stop)[SALTS]
        cookie = int.from_bytes(header[COOKIE]) if header.startswith(MAGIC) else None
        return FileContents(size, cookie, self.log_bytes, salts)

    def _identities(self) -> FileIdentities:
        log = _status(self.log_path)
        self.log_bytes = 0 if log is None else log.st_size
        return FileIdentities(_inode(_status(self.path)), _inode(log), _inode(_status(self.index_path)))


class _OpenFiles:
    """Descriptors of database files, kept open until this process has closed its last connection to the file.

    POSIX: closing any descriptor of a file drops all locks that the process has on the file, also those of SQLite. Another
    process could then believe that it is the last user of the file, and delete the write-ahead log that this one uses.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users: Counter[Inode] = Counter()
        """Number of connections and searches that use a file."""
        self._descriptors: dict[Inode, int] = {}

    def acquire(self, path: Path, create: bool = True) -> Inode:
        """Count a user of a file. A missing file is created, readable for its owner only, if `create` is true."""
        with self._lock:
            created = None
            try:
                if create:
                    created = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            except FileExistsError:
                pass
            except OSError as error:
                raise StoreError(f"unable to open {path}: {error.strerror}") from error
            status = path.stat() if created is None else os.fstat(created)
            inode = status.st_dev, status.st_ino
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
        inode = self.acquire(path, create=False)
        try:
            with self._lock:
                if inode not in self._descriptors:
                    self._descriptors[inode] = os.open(path, os.O_RDONLY)
            yield self._descriptors[inode]
        finally:
            self.release(inode)


OPEN_FILES = _OpenFiles()


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _inode(status: os.stat_result | None) -> Inode | None:
    return None if status is None else (status.st_dev, status.st_ino)


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
