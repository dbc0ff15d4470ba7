"""Standard streams of the command: UTF-8 whatever the terminal's codec, closed streams, and output that cannot be written."""

import os
import sys
from contextlib import suppress
from typing import TextIO

STREAMS = {0: os.O_RDONLY, 1: os.O_RDONLY, 2: os.O_WRONLY}
"""Modes in which the null device replaces a closed stream. stdout cannot be written then, so no result is lost silently."""


def set_up_streams() -> None:
    """Make stdout and stderr UTF-8, and open the null device in place of closed streams.

    Without the null device, the next file that the program opens would take the place of a closed stream, and receive
    what libraries print. Writing to a stdout that was closed raises an `OSError`, as for other programs.
    """
    for number, mode in STREAMS.items():
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, mode)
            assert opened == number, "the lowest free file descriptor is used"
    sys.stdin = sys.stdin or _open(0, "r")
    sys.stdout = _utf8(sys.stdout or _open(1, "w"), "surrogateescape")
    sys.stderr = _utf8(sys.stderr or _open(2, "w"), "backslashreplace")


def _open(number: int, mode: str) -> TextIO:
    stream: TextIO = open(number, mode, encoding="utf-8", closefd=False)  # type: ignore[assignment]  # noqa: SIM115
    return stream


def _utf8(stream: TextIO, errors: str) -> TextIO:
    """Set the encoding of a stream to UTF-8, and return the stream.

    Args:
        stream: The stream.
        errors: Python's error handler for characters that have no UTF-8 form. These are surrogates, which represent the
            bytes of file names that are not UTF-8.
    """
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(encoding="utf-8", errors=errors)
    return stream


def flush_output() -> None:
    """Write what stdout has buffered.

    Raises:
        OSError: It cannot be written.
    """
    if not sys.stdout.closed:
        sys.stdout.flush()


def discard_output() -> None:
    """Discard what is still buffered for stdout and stderr.

    Python writes it when it exits, and would print a traceback if that failed.
    """
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # a stream of a test has no file descriptor
            os.dup2(null, stream.fileno())
    os.close(null)
