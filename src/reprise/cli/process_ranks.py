"""The command in several processes that `torchrun` has started: they do one work together, and one of them prints.

The main process prints results. An error is printed by the first process that has it, once.
"""

import json
import os
import signal
import sys
import time
import traceback
import warnings
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import typer

from reprise.errors import ConfigError

if TYPE_CHECKING:
    from reprise.training.distributed.process_group import ProcessGroup

IN_PROCESSES = ("train",)
"""Commands that several processes can do together."""
ERROR_FILE = "TORCHELASTIC_ERROR_FILE"
"""Environment variable with the file whose message `torchrun` repeats at the end of its own report."""

_joined: "list[ProcessGroup]" = []
"""The group of this process, once it has joined one of several processes."""


def join_processes(command: str | None) -> None:
    """Join the processes that `torchrun` has started, if it has, and let only the main one print.

    Raises:
        ConfigError: Several processes cannot run this command, or they cannot connect.
    """
    if "RANK" not in os.environ or os.environ.get("WORLD_SIZE", "1") == "1":
        return
    # imported only here, because torch takes seconds
    from reprise.training.distributed.process_group import process_group

    group = process_group()
    _joined.append(group)
    if not group.is_main:
        sys.stdout = sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
        sys.excepthook = _show_traceback
        warnings.simplefilter("ignore")
    if command not in IN_PROCESSES:
        raise ConfigError(
            f"reprise {command} runs in one process, but torchrun has started {group.world_size}; start it without torchrun"
        )


def print_error(message: str) -> None:
    """Print the message that ends the command on stderr, unless another process has printed one."""
    if _joined:
        # torchrun stops the processes that are left with a signal; one that is ending prints no traceback for it
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        if not _joined[0].claim("message"):
            return
    with suppress(OSError):
        _tell_torchrun(message)
    typer.secho(f"reprise: {message}", file=sys.__stderr__ if _joined else sys.stderr, fg=typer.colors.RED)


def _tell_torchrun(message: str) -> None:
    """Write the message to the file that `torchrun` reads when a process has failed."""
    if path := os.environ.get(ERROR_FILE):
        report = {
            "message": message,
            "extraInfo": {"py_callstack": message, "timestamp": str(int(time.time()))},
        }
        Path(path).write_text(json.dumps({"message": report}), encoding="utf-8")


def _show_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Show an unexpected error of a process that prints nothing else."""
    traceback.print_exception(kind, error, trace, file=sys.__stderr__)
