"""The loop of a worker process. Jobs and messages are lines of JSON on its pipes.

A worker exits when the process that started it ends, because its standard input ends then.
"""

import importlib
import json
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from functools import cache
from typing import IO, Any, Literal

from reprise.data.dataset import SequenceDataset

Message = dict[str, Any]
"""A JSON object: a job, a message about a job, or its result."""
Kind = Literal["message", "result", "bug"]
"""Kinds of lines that a worker sends. A bug is the traceback of an unexpected exception."""


class Channel:
    """The connection between a worker process and the process that started it, seen from the worker."""

    def __init__(self, output: IO[str]) -> None:
        self._output = output
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._read_input, daemon=True).start()

    def send(self, message: Message, kind: Kind = "message") -> None:
        """Send a message about the current job."""
        self._output.write(json.dumps([kind, message]) + "\n")
        self._output.flush()

    def receive(self) -> Message:
        """Wait for the next message and return it."""
        message: Message = json.loads(self._lines.get())
        return message

    def _read_input(self) -> None:
        for line in sys.stdin:
            self._lines.put(line)
        # the other process is dead, and a later one may soon use the run directory
        os._exit(1)


JobFunction = Callable[[Message, Channel], Message]
"""Function of a module that does a job in a worker process and returns its result."""


def function_name(function: Callable[..., Any]) -> str:
    """Return the name `module:function` by which a worker process imports a function."""
    return f"{function.__module__}:{function.__qualname__}"


def named_function(name: str) -> Any:
    """Import the function that `function_name` has named."""
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


@cache
def open_dataset(path: str) -> SequenceDataset:
    """Open a dataset once in this process."""
    return SequenceDataset.open(path)


def serve(name: str) -> None:
    """Run as a worker process: do the jobs that arrive on the standard input with the function of this name."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started this one stops it
    # messages go to a copy of the standard output, and the output of libraries to the standard error
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    channel = Channel(output)
    function: JobFunction = named_function(name)
    while True:
        job = channel.receive()
        try:
            channel.send(function(job, channel), "result")
        except Exception:
            channel.send({"traceback": traceback.format_exc()}, "bug")
