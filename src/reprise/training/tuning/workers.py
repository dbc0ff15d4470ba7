"""Processes that run trials, so that several learn at a time: jobs and answers are lines of JSON on their pipes.

A worker that dies is noticed at once, since its pipe ends; a worker whose search dies ends itself, for the same reason.
"""

import json
import os
import queue
import selectors
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Message = dict[str, Any]


@dataclass(eq=False)
class Worker:
    """One process, as its search sees it."""

    threads: int
    """Threads of the processor that it may use."""
    process: subprocess.Popen[str] = field(init=False)

    def __post_init__(self) -> None:
        paths = os.pathsep.join(path for path in sys.path if path)
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from reprise.training.tuning.workers import serve; serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for the search, which ends its workers
            env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": str(self.threads)},
        )

    def send(self, message: Message) -> None:
        """A job, or the answer to what it asked. Whether it is still there shows when it is read."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(message) + "\n")
            self.process.stdin.flush()

    def read(self) -> Message | None:
        """What it says; None: it is dead."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line.endswith("\n"):
            return None
        message: Message = json.loads(line)
        return message

    def stop(self) -> None:
        """End it. What it was learning is in its checkpoint."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            with suppress(BrokenPipeError):
                stream.close()


def wait_for(workers: Iterable[Worker], seconds: float | None) -> list[Worker]:
    """Those of the workers that have something to say, or have died; none when the time is over."""
    with selectors.DefaultSelector() as selector:
        for worker in workers:
            assert worker.process.stdout is not None
            selector.register(worker.process.stdout, selectors.EVENT_READ, worker)
        return [key.data for key, _ in selector.select(seconds)]


def serve() -> None:
    """Be a worker: take jobs from standard input until it ends."""
    # what libraries print must not come between the answers
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(lines,), daemon=True).start()

    def tell(message: Message) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    opened: dict[str, Any] = {}  # once: a dataset is searched for leaks when it is new
    for job in _jobs(lines):
        try:
            tell(_work(job, opened, lines, tell))
        except Exception:
            tell({"bug": traceback.format_exc()})


def _listen(lines: "queue.SimpleQueue[str]") -> None:
    for line in sys.stdin:
        lines.put(line)
    os._exit(1)  # the search is gone, and the run directory may soon be another's


def _jobs(lines: "queue.SimpleQueue[str]") -> Iterator[Message]:
    while True:
        yield json.loads(lines.get())


def _work(job: Message, opened: dict[str, Any], lines: "queue.SimpleQueue[str]", tell: Any) -> Message:
    from reprise.config import from_dict
    from reprise.data.dataset import SequenceDataset
    from reprise.training.recipe import Recipe, RunOptions
    from reprise.training.tuning.trial import run_trial

    def judge(epoch: int, value: float) -> bool:
        tell({"epoch": epoch, "value": value})
        return bool(json.loads(lines.get())["go"])

    recipe = from_dict(job["recipe"], Recipe, trusted=True)
    options = from_dict(job["options"], RunOptions)
    path = job["dataset"]
    if path not in opened:
        opened[path] = SequenceDataset.open(path)
    return run_trial(recipe, opened[path], Path(job["out"]), options, judge)
