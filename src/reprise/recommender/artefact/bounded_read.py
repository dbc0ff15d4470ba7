"""Reading of files whose content is not trusted: only regular files, and only as many bytes as expected."""

import hashlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reprise.errors import ArtefactError

MAX_MANIFEST_BYTES = 2**24
"""Largest size of a manifest. Usual ones have some 10 KB, most of it golden tests."""
COPY_AGAIN = "copy the whole directory again, or export the model again"
"""Remedy for a file that is missing or damaged."""
_NOT_REGULAR = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def read_bounded(file: Path, max_bytes: int) -> bytes:
    """Return the bytes of a regular file of at most `max_bytes` bytes. Symbolic links are followed.

    Other files are not read: reading a device may never end, and opening a named pipe waits for a writer.

    Raises:
        FileNotFoundError, NotADirectoryError: there is no such file.
        ArtefactError: it is not a regular file, is larger, or cannot be read.
    """
    try:
        # without O_NONBLOCK, opening a named pipe waits until another process writes to it
        descriptor = os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        try:
            status = os.fstat(descriptor)
            _check_regular(file, status.st_mode)
            _check_size(file, status.st_size, max_bytes)
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
    _check_size(file, len(data), max_bytes)
    return data


def file_checksum(file: Path, expected: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the `sha256` and the `bytes` of a regular file, read in small parts.

    Args:
        file: The file.
        expected: What the result must be.

    Raises:
        ArtefactError: the file is missing, is not a regular file, cannot be read, or differs from `expected`.
    """
    try:
        _check_regular(file, file.stat().st_mode)
        with file.open("rb") as stream:
            found = {"sha256": hashlib.file_digest(stream, "sha256").hexdigest(), "bytes": stream.tell()}
    except (FileNotFoundError, NotADirectoryError):
        raise ArtefactError(f"{file} is missing; {COPY_AGAIN}") from None
    except OSError as error:
        raise ArtefactError(f"{file} cannot be read ({error.strerror}); {COPY_AGAIN}") from None
    if expected is not None and found["bytes"] != expected["bytes"]:
        raise ArtefactError(f"{file} has {found['bytes']} bytes instead of {expected['bytes']}; {COPY_AGAIN}")
    if expected is not None and found["sha256"] != expected["sha256"]:
        raise ArtefactError(f"{file} was changed after it was saved (its checksum differs); {COPY_AGAIN}")
    return found


def _check_regular(file: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        found = _NOT_REGULAR.get(stat.S_IFMT(mode), "a special file")
        raise ArtefactError(f"{file} is {found}, not a regular file; {COPY_AGAIN}")


def _check_size(file: Path, found: int, max_bytes: int) -> None:
    if found > max_bytes:
        raise ArtefactError(f"{file} has {found} bytes, at most {max_bytes} are accepted; {COPY_AGAIN}")
