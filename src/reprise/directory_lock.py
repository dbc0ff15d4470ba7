"""The lock of an output, so that one process at a time writes it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from reprise.atomic_files import resolved, writing
from reprise.errors import ConfigError

LOCK = ".lock"
"""Name of the lock file in a directory. It holds the id of the process. After a crash it remains, and locks nothing."""
WAIT = "wait until it ends, or choose another --out"
"""Remedy if another process has the lock."""


@contextmanager
def locked_directory(path: Path, work: str, remedy: str = WAIT) -> Iterator[None]:
    """Create a directory if it is missing, and lock it for the duration of the block.

    The operating system releases the lock when the process ends, however it ends. Directories that were created for the lock
    are removed if the block leaves them empty.

    Args:
        path: The directory.
        work: What a process does there, for the message, such as "trains in".
        remedy: What the user can do, for the message.

    Raises:
        ConfigError: Another process, or another thread of this one, has the lock.
        ArtefactError: The directory cannot be created or written.
    """
    created = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        with writing(path):
            path.mkdir(parents=True, exist_ok=True)
        with _locked(path / LOCK, path, work, remedy):
            yield
    finally:
        with suppress(OSError):  # a directory with content cannot be removed, and should not be
            for folder in created:
                folder.rmdir()


@contextmanager
def locked_output(path: Path, work: str, remedy: str = WAIT, wait_s: float = 0.0) -> Iterator[None]:
    """Lock the path of a file or directory that the block replaces. The lock file is in the parent directory.

    As with `locked_directory`, the lock ends with the process.

    Args:
        path: The file or the directory; it need not exist.
        work: What a process does with it, for the message, such as "writes".
        remedy: What the user can do, for the message.
        wait_s: Time to wait for another owner, in seconds.

    Raises:
        ConfigError: Another process, or another thread of this one, has the lock.
        ArtefactError: The directory of the output does not exist, or cannot be written.
    """
    with writing(path):
        target = resolved(path)
        target.parent.stat()  # filelock would create the directory
    with _locked(target.with_name(f".{target.name}{LOCK}"), path, work, remedy, wait_s):
        yield


@contextmanager
def _locked(file: Path, path: Path, work: str, remedy: str, wait_s: float = 0.0) -> Iterator[None]:
    lock = FileLock(file, timeout=wait_s)
    with writing(path):
        try:
            lock.acquire()
        except Timeout:
            raise ConfigError(f"another process {work} {path}{_owner(file)}; {remedy}") from None
    try:
        with suppress(OSError):  # the id is only for the message
            file.write_text(str(os.getpid()), encoding="ascii")
        yield
    finally:
        with suppress(OSError):  # some systems do not remove a file that is open; it locks nothing
            file.unlink()
        lock.release()


def _owner(file: Path) -> str:
    """Return the id of the process that holds a lock, in brackets; "" if it is not known."""
    try:
        return f" (process id {int(file.read_text(encoding='ascii'))})"
    except (OSError, ValueError):
        return ""
