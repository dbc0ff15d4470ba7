"""Reading of files whose content is not trusted: only regular files, and only as many bytes as expected."""

import os
import stat
from pathlib import Path

from reprise.errors import ArtefactError

MAX_MANIFEST_BYTES = 2**24
"""Largest size of a manifest. That of a model is some 10 KB, most of it the golden tests."""
COPY_AGAIN = "copy the whole directory again, or export the model again"
_NOT_REGULAR = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def read_bounded(file: Path, *, max_bytes: int, exact: bool = False) -> bytes:
    """Return the bytes of a regular file, after its size was checked. Symbolic links are followed.

    A device would be read until the memory is full, and a named pipe would be waited for without end.

    Args:
        file: File to read.
        max_bytes: Largest accepted size.
        exact: Whether the file must have exactly `max_bytes` bytes.

    Raises:
        FileNotFoundError, NotADirectoryError: there is no such file.
        ArtefactError: it is not a regular file, has another size, or cannot be read.
    """
    try:
        # without O_NONBLOCK, opening a named pipe waits until another process writes to it
        descriptor = os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        try:
            status = os.fstat(descriptor)
            _check_regular(file, status.st_mode)
            _check_size(file, status.st_size, max_bytes, exact)
            with open(descriptor, "rb", closefd=False) as stream:
                # one byte more, to notice a file that grows
                data = stream.read(status.st_size + 1)
        finally:
            os.close(descriptor)
    except (FileNotFoundError, NotADirectoryError):
        raise
    except (OSError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or "not enough memory"
        raise ArtefactError(f"{file} cannot be read ({reason}); {COPY_AGAIN}") from None
    _check_size(file, len(data), max_bytes, exact)
    return data


def _check_regular(file: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        found = _NOT_REGULAR.get(stat.S_IFMT(mode), "a special file")
        raise ArtefactError(f"{file} is {found}, not a regular file; {COPY_AGAIN}")


def _check_size(file: Path, found: int, max_bytes: int, exact: bool) -> None:
    if exact and found != max_bytes:
        raise ArtefactError(f"{file} has {found} bytes instead of {max_bytes}; {COPY_AGAIN}")
    if found > max_bytes:
        raise ArtefactError(f"{file} has {found} bytes, at most {max_bytes} are accepted; {COPY_AGAIN}")
