"""Training of several runs in worker processes, such as the seeds of a recipe or the members of an ensemble.

A run that fails does not stop the others. Each is the run that one process alone would make with the same threads.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import reprise.errors as known_errors
from reprise.config import from_dict, to_dict
from reprise.data.dataset import SequenceDataset
from reprise.errors import ConfigError, DataError, RepriseError
from reprise.progress import JobsProgress
from reprise.training.parallel.worker_pool import JobReport, WorkerPool
from reprise.training.parallel.worker_process import (
    Channel,
    Message,
    function_name,
    named_function,
    open_dataset,
)
from reprise.training.recipe import Recipe, RunOptions
from reprise.training.run_directory import LOGGER, RunDirectory, report_line
from reprise.training.train_step import memory_errors, torch_threads

TrainRun = Callable[[Recipe, SequenceDataset, RunDirectory, RunOptions, bool | None], None]
"""Function of a module that trains one run: (recipe, dataset, run directory, options, show_progress)."""


@dataclass(frozen=True)
class PlannedRun:
    """A run that is to be trained."""

    name: str
    """Name in messages, such as "seed 3"."""
    recipe: Recipe
    """Spec of the model and hyper-parameters."""
    directory: RunDirectory
    """Where it is trained."""
    options: RunOptions
    """Its seed and its number of threads."""
    own_dataset: SequenceDataset | None = None
    """Dataset of this run, on disk; None: that of all runs."""


class RunFailures:
    """The runs that have failed, each with its error."""

    def __init__(self, runs: Sequence[PlannedRun]) -> None:
        self._names = [run.name for run in runs]
        self._errors: dict[str, RepriseError] = {}

    def add(self, run: PlannedRun, error: RepriseError) -> None:
        """Add a run that has failed."""
        self._errors[run.name] = error

    def check(self) -> None:
        """Raise an error if runs have failed. It names all of them and has the class of the first error.

        Raises:
            RepriseError: A run has failed.
        """
        failed = {name: self._errors[name] for name in self._names if name in self._errors}
        if not failed:
            return
        others = len(self._names) - len(failed)
        rest = f"; the other {others} {'is' if others == 1 else 'are'} finished" if others else ""
        reasons = "".join(f"\n  {name}: {error}" for name, error in failed.items())
        raise type(next(iter(failed.values())))(
            f"{len(failed)} of {len(self._names)} runs failed ({', '.join(failed)}){rest}. "
            f"The same command resumes what is not finished.{reasons}"
        )


def train_in_workers(
    train: TrainRun,
    runs: Sequence[PlannedRun],
    dataset: SequenceDataset,
    workers: int,
    bar: JobsProgress,
) -> RunFailures:
    """Train runs in worker processes and show what each of them says, and return those that have failed.

    Args:
        train: Function of a module that trains one run. Worker processes import it.
        runs: The runs, all with the same number of threads.
        dataset: Their dataset, on disk; a run may have its own.
        workers: Maximum number of processes.
        bar: Progress display with one unit for each run.
    """
    failures, waiting = RunFailures(runs), dict(enumerate(runs, start=1))
    done = 0
    with WorkerPool(_train_job, workers, runs[0].options.threads) as pool:
        while waiting or pool.running:
            while waiting and pool.is_free:
                number = min(waiting)
                run = waiting.pop(number)
                pool.start(number, run.name, _job(train, run, dataset))
            bar.update(done, ", ".join(runs[number - 1].name for number in pool.running))
            report = pool.next_report()
            assert report is not None
            run = runs[report.number - 1]
            if not (report.is_result or report.death):
                report_line(bar, f"{run.name}: {report.message['line']}")
                continue
            done += 1
            if (error := _error(report)) is not None:
                failures.add(run, error)
                report_line(bar, f"{run.name} failed: {error}")
            else:
                report_line(bar, f"{run.name} is finished ({done} of {len(runs)})")
    return failures


def _error(report: JobReport) -> RepriseError | None:
    """Return the error of a run that has ended, or None if it is finished."""
    if report.death:
        return ConfigError(
            f"its process {report.death}; check that there is enough memory, or use fewer workers"
        )
    if "error" not in report.message:
        return None
    cls = getattr(known_errors, report.message["class"], RepriseError)
    error: RepriseError = cls(report.message["error"])
    return error


def _job(train: TrainRun, run: PlannedRun, dataset: SequenceDataset) -> Message:
    dataset = dataset if run.own_dataset is None else run.own_dataset
    assert dataset.path is not None
    return {
        "train": function_name(train),
        "recipe": to_dict(run.recipe),
        "options": to_dict(run.options),
        "dataset": str(dataset.path.resolve()),
        "fingerprint": dataset.fingerprint,
        "out": str(run.directory.path),
    }


def _train_job(job: Message, channel: Channel) -> Message:
    """Train a run in a worker process. Return its error, or nothing if it is finished."""
    try:
        recipe = from_dict(job["recipe"], Recipe, trusted=True)  # the caller has named the classes
        options = from_dict(job["options"], RunOptions)
        dataset = open_dataset(job["dataset"])
        if dataset.fingerprint != job["fingerprint"]:
            raise DataError(
                f"{job['dataset']} is not the dataset of this training any more; start the training again"
            )
        train = named_function(job["train"])
        with _lines_to(channel), torch_threads(options), memory_errors():
            train(recipe, dataset, RunDirectory(Path(job["out"])), options, False)
    except RepriseError as error:
        return {"error": str(error), "class": type(error).__name__}
    return {}


@contextmanager
def _lines_to(channel: Channel) -> Iterator[None]:
    """Send the lines of the log of a run to the process that started this one."""
    handler = _LineSender(channel)
    LOGGER.addHandler(handler)
    try:
        yield
    finally:
        LOGGER.removeHandler(handler)


class _LineSender(logging.Handler):
    """Sends each line of the log as a message."""

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self._channel = channel

    def emit(self, record: logging.LogRecord) -> None:
        self._channel.send({"line": record.getMessage()})
