"""Worker processes that run trials in parallel. Jobs and results are lines of JSON on their pipes.

The search notices a dead worker because its pipe ends. A worker exits when the search dies, for the same reason.
"""

import json
import os
import queue
import selectors
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Message = dict[str, Any]
"""From the search: a job, or `go` (whether the trial continues). From a worker: `epoch` and `value`, an outcome, or `bug`."""


@dataclass(eq=False)
class Worker:
    """A worker process, seen from the search."""

    threads: int
    """Number of CPU threads that the process may use."""
    process: subprocess.Popen[str] = field(init=False)

    def __post_init__(self) -> None:
        paths = os.pathsep.join(path for path in sys.path if path)
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from reprise.training.tuning.workers import serve; serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C reaches only the search, which stops its workers
            env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": str(self.threads)},
        )

    def send(self, message: Message) -> None:
        """Send a message. If the process is dead, the next `read` reports it."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(message) + "\n")
            self.process.stdin.flush()

    def read(self) -> Message | None:
        """Wait for the next message and return it, or None if the process is dead."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line.endswith("\n"):
            return None
        message: Message = json.loads(line)
        return message

    def stop(self) -> None:
        """Kill the process. Its trial can be resumed from its checkpoint."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            with suppress(BrokenPipeError):
                stream.close()


def wait_for(workers: Iterable[Worker], seconds: float | None) -> list[Worker]:
    """Return the workers that have sent a message or have died; empty if none has within the given time."""
    with selectors.DefaultSelector() as selector:
        for worker in workers:
            assert worker.process.stdout is not None
            selector.register(worker.process.stdout, selectors.EVENT_READ, worker)
        return [key.data for key, _ in selector.select(seconds)]


def serve() -> None:
    """Run as a worker process: execute jobs from the standard input until it ends."""
    # messages go to a copy of the standard output, and the output of libraries to the standard error
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_read_input, args=(lines,), daemon=True).start()

    def send(message: Message) -> None:
        output.write(json.dumps(message) + "\n")
        output.flush()

    datasets: dict[str, Any] = {}  # kept between jobs, because opening one checks it for leaks
    for job in _jobs(lines):
        try:
            send(_run_job(job, datasets, lines, send))
        except Exception:
            send({"bug": traceback.format_exc()})


def _read_input(lines: "queue.SimpleQueue[str]") -> None:
    for line in sys.stdin:
        lines.put(line)
    os._exit(1)  # the search is dead, and another search may soon use the run directory


def _jobs(lines: "queue.SimpleQueue[str]") -> Iterator[Message]:
    while True:
        yield json.loads(lines.get())


def _run_job(
    job: Message,
    datasets: dict[str, Any],
    lines: "queue.SimpleQueue[str]",
    send: Callable[[Message], None],
) -> Message:
    from reprise.config import from_dict
    from reprise.data.dataset import SequenceDataset
    from reprise.training.recipe import Recipe, RunOptions
    from reprise.training.tuning.trial import run_trial

    def decide(epoch: int, value: float) -> bool:
        send({"epoch": epoch, "value": value})
        return bool(json.loads(lines.get())["go"])

    recipe = from_dict(job["recipe"], Recipe, trusted=True)
    options = from_dict(job["options"], RunOptions)
    path = job["dataset"]
    if path not in datasets:
        datasets[path] = SequenceDataset.open(path)
    return run_trial(recipe, datasets[path], Path(job["out"]), options, decide)
