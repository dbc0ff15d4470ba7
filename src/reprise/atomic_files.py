"""Files that are replaced as a whole, and messages for files that cannot be written."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

from reprise.errors import ArtefactError

PARTIAL = ".partial"
"""Suffix of the temporary name of a file that is not complete."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Error numbers of a full disk, a quota, and a limit on the size of files."""
REMEDIES = {
    **dict.fromkeys(FULL, "free some space"),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "make it writable, or choose another place"),
    errno.ENOENT: "create the directory first",
}
"""What a user can do about an error, by error number."""


@contextmanager
def writing(path: Path, afterwards: str = "") -> Iterator[None]:
    """Raise an `OSError` of the block as an error that names the path, the reason and the remedy.

    Args:
        path: File or directory that the block writes.
        afterwards: End of the message: how to continue, and what is kept.

    Raises:
        ArtefactError: The block raised an `OSError`. A `BrokenPipeError` (the reader of a pipe has closed it) passes.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise ArtefactError(unwritable(path, error, afterwards)) from error


def unwritable(path: Path, error: OSError, afterwards: str = "") -> str:
    """Return the message for a path that cannot be written. See `writing`."""
    remedies = [REMEDIES.get(error.errno or 0, ""), afterwards]
    remedy = " and ".join(part for part in remedies if part)
    return f"cannot write {path} ({error.strerror or error}){'; ' if remedy else ''}{remedy}"


@contextmanager
def temporary_directory() -> Iterator[Path]:
    """Create a directory where the system keeps temporary files, and remove it after the block.

    Raises:
        ArtefactError: It cannot be created.
    """
    try:
        directory = TemporaryDirectory(prefix="reprise-")
    except OSError as error:
        raise ArtefactError(
            f"cannot create a temporary directory ({error.strerror or error}); set TMPDIR to a directory that is writable"
        ) from error
    with directory as name:
        yield Path(name)


def resolved(path: Path) -> Path:
    """Return the path without links.

    Raises:
        OSError: Links form a loop. Before version 3.13, Python raises a `RuntimeError`.
    """
    try:
        return path.resolve()
    except RuntimeError:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path)) from None


def replaced_file(path: Path) -> Path | None:
    """Return the file that an output at `path` replaces: the target of a link, otherwise `path` itself.

    None for a device or a pipe, such as /dev/stdout, which is written directly.

    Raises:
        OSError: Links form a loop.
    """
    return None if path.exists() and not path.is_file() else resolved(path)


def partial_file(path: Path) -> Path:
    """Return a temporary name under which a file is written before it replaces `path`. Two writers never share one."""
    return path.with_name(f".{uuid4().hex}{PARTIAL}")


def write_text(path: Path, text: str, afterwards: str = "") -> None:
    """Replace a text file atomically and durably. After an error the former file is unchanged.

    A device or a pipe, such as /dev/stdout, is written directly.

    Args:
        path: The file.
        text: Its new content.
        afterwards: End of the error message: what is kept, and how to continue.

    Raises:
        ArtefactError: The file cannot be written.
    """
    with writing(path, afterwards):
        target = replaced_file(path)
        if target is None:
            path.write_text(text, encoding="utf-8", newline="\n")
            return
        partial = partial_file(target)
        try:
            with partial.open("w", encoding="utf-8", newline="\n") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(target)
        except OSError:
            with suppress(OSError):
                partial.unlink()
            raise
