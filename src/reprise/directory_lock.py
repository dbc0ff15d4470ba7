"""The lock of an output directory, so that one process at a time writes it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from reprise.atomic_files import writing
from reprise.errors import ConfigError

LOCK = ".lock"
"""Name of the lock file. It holds the id of the process. After a crash it remains, and locks nothing."""


@contextmanager
def locked_directory(path: Path, work: str, remedy: str = "wait until it ends") -> Iterator[None]:
    """Create a directory if it is missing, and lock it for the duration of the block.

    The operating system releases the lock when the process ends, however it ends. Directories that were created for the lock
    are removed if the block leaves them empty.

    Args:
        path: The directory.
        work: What a process does there, for the message, such as "trains".
        remedy: What the user can do, for the message, besides choosing another directory.

    Raises:
        ConfigError: Another process, or another thread of this one, has the lock.
        ArtefactError: The directory cannot be created or written.
    """
    created = [folder for folder in (path, *path.parents) if not folder.exists()]
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path / LOCK, timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise ConfigError(
                f"another process {work} in {path}{_owner(path / LOCK)}; {remedy}, or choose another --out"
            ) from None
    try:
        with suppress(OSError):  # the id is only for the message
            (path / LOCK).write_text(str(os.getpid()), encoding="ascii")
        yield
    finally:
        with suppress(OSError):  # some systems do not remove a file that is open; it locks nothing
            (path / LOCK).unlink()
        lock.release()
        with suppress(OSError):  # a directory with content cannot be removed, and should not be
            for folder in created:
                folder.rmdir()


def _owner(file: Path) -> str:
    """Return the id of the process that holds a lock, in brackets; "" if it is not known."""
    try:
        return f" (process id {int(file.read_text(encoding='ascii'))})"
    except (OSError, ValueError):
        return ""
