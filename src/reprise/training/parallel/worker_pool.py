"""Worker processes that do jobs in parallel, such as trials of a search, seeds of a recipe or members of an ensemble.

The pool notices a dead worker because its pipe ends.
"""

import json
import os
import queue
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import NamedTuple, Self

import torch

from reprise.data.dataset import SequenceDataset
from reprise.errors import ConfigError
from reprise.training.distributed.process_group import started_processes
from reprise.training.parallel.worker_process import JobFunction, Message, function_name

POLL_S = 1.0
"""Longest time in seconds to wait without a check for Ctrl-C, which does not interrupt a wait on every system."""
Line = tuple["Worker", str]
"""A line of a worker; it is empty if the worker is dead."""


@dataclass(eq=False)
class Worker:
    """A worker process, seen from the process that started it."""

    function: JobFunction
    """Function of a module that does the jobs."""
    threads: int
    """Number of CPU threads that the process may use."""
    lines: "queue.SimpleQueue[Line]"
    """Queue that receives the lines of all workers of a pool."""
    process: subprocess.Popen[str] = field(init=False)

    def __post_init__(self) -> None:
        paths = os.pathsep.join(path for path in sys.path if path)
        name = function_name(self.function)
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                f"from reprise.training.parallel.worker_process import serve; serve({name!r})",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C reaches only the process with the pool, which stops its workers
            env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": str(self.threads)},
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as output:
            while (line := output.readline()).endswith("\n"):
                self.lines.put((self, line))
        self.lines.put((self, ""))

    def send(self, message: Message) -> None:
        """Send a job or a message about it. If the process is dead, its empty line says so."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(message) + "\n")
            self.process.stdin.flush()

    def stop(self) -> int:
        """Kill the process if it still runs, and return its exit status. Its run can be resumed from its checkpoint."""
        self.process.kill()
        status = self.process.wait()
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        return status


class JobReport(NamedTuple):
    """What a worker has sent about its job, or that it has died."""

    number: int
    """Number of the job."""
    message: Message
    """A message or the result of the job; empty if the worker has died."""
    is_result: bool = False
    """Whether the job is done and `message` is its result."""
    death: str = ""
    """How the process of the worker ended, as text, if it has died."""


class WorkerPool:
    """A number of worker processes. They are started when there are jobs for them, and killed at the end of the block.

    Args:
        function: Function of a module that does the jobs.
        workers: Maximum number of processes.
        threads: Number of CPU threads of each process.
    """

    def __init__(self, function: JobFunction, workers: int, threads: int) -> None:
        self._function, self._workers, self._threads = function, workers, threads
        self._lines: queue.SimpleQueue[Line] = queue.SimpleQueue()
        self._idle: list[Worker] = []
        self._jobs: dict[Worker, tuple[int, str]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in [*self._jobs, *self._idle]:
            worker.stop()

    @property
    def running(self) -> list[int]:
        """Numbers of the jobs that are running, in ascending order."""
        return sorted(number for number, _ in self._jobs.values())

    @property
    def is_free(self) -> bool:
        """Whether another job can start."""
        return len(self._jobs) < self._workers

    def start(self, number: int, name: str, job: Message) -> None:
        """Start a job in a free worker. The name is for error messages, such as "trial 3"."""
        assert self.is_free
        worker = self._idle.pop() if self._idle else Worker(self._function, self._threads, self._lines)
        self._jobs[worker] = number, name
        worker.send(job)

    def send(self, number: int, message: Message) -> None:
        """Send a message to the worker of a running job."""
        next(worker for worker, job in self._jobs.items() if job[0] == number).send(message)

    def next_report(self, seconds: float | None = None) -> JobReport | None:
        """Wait for the next report about a job and return it; None if there is none within the given time.

        Raises:
            RuntimeError: A job has raised an unexpected exception.
        """
        assert self._jobs, "no job is running"
        wait_s = POLL_S if seconds is None else seconds
        while True:
            try:
                worker, line = self._lines.get(timeout=wait_s)
            except queue.Empty:
                if seconds is not None:
                    return None
                continue
            if (report := self._report(worker, line)) is not None:
                return report

    def _report(self, worker: Worker, line: str) -> JobReport | None:
        if not line:
            status = worker.stop()
            if worker in self._idle:
                self._idle.remove(worker)
            job = self._jobs.pop(worker, None)
            return JobReport(job[0], {}, death=_ending(status)) if job else None
        number, name = self._jobs[worker]
        kind, message = json.loads(line)
        if kind == "bug":
            raise RuntimeError(f"{name} failed with a programming error:\n{message['traceback']}")
        if kind == "result":
            del self._jobs[worker]
            self._idle.append(worker)
        return JobReport(number, message, kind == "result")


def _ending(status: int) -> str:
    """Return how a process ended, from its exit status: a negative number is that of a signal."""
    return f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"


def check_workers(workers: int, dataset: SequenceDataset) -> None:
    """Check that worker processes can read a dataset, and that there is one process that starts them.

    Raises:
        ConfigError: The dataset is in memory, or torchrun has started several processes.
    """
    if workers > 1 and dataset.path is None:
        raise ConfigError(
            "worker processes cannot read a dataset in memory; prepare it into a directory, or use one worker"
        )
    check_not_distributed(f"workers = {workers}", workers > 1)


def check_not_distributed(what: str, wanted: bool = True) -> None:
    """Check that independent runs are not started by torchrun, all of whose processes train one network.

    Raises:
        ConfigError: torchrun has started several processes.
    """
    if wanted and started_processes() > 1:
        raise ConfigError(
            f"{what} trains separate networks, but all processes of torchrun (WORLD_SIZE is set) train one network "
            "together; start without torchrun, or leave out this option"
        )


def threads_per_worker(threads: int, workers: int) -> int:
    """Return the number of CPU threads of each of several processes: as requested, or an equal share if 0.

    One process alone keeps 0, which leaves the choice to torch.
    """
    return threads if workers == 1 else threads or max(1, torch.get_num_threads() // workers)
