"""What a person sees while a network learns: a bar for the epoch under way, a line for each that is done."""

import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from reprise.training.run import LOGGER

Watch = Callable[[dict[str, Any]], None]
"""Told the record of each epoch once it is in the checkpoint, those of before a resume too. It may raise `Stopped`."""


class Stopped(Exception):  # noqa: N818 - no error: somebody has seen enough
    """Ends a training after an epoch. The run may go on later."""


class TrainingProgress:
    """On a terminal a bar and a line an epoch; elsewhere the lines, where they were asked for. All on stderr."""

    def __init__(self, shown: bool | None, epochs: int, chunks: int) -> None:
        self.terminal = sys.stderr.isatty()
        self.shown = self.terminal if shown is None else shown
        self.epochs = epochs
        self.chunks = chunks
        self._bar: Any = None

    def __enter__(self) -> Self:
        if self.shown and self.terminal:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.percentage:>3.0f}%"),
                TextColumn("{task.fields[facts]}"),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task("training", total=self.epochs * self.chunks, facts="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def step(self, epoch: int, chunk: int, loss: float, events_per_s: float) -> None:
        """One step is done."""
        if self._bar is not None:
            self._bar.update(
                self._task,
                description=f"epoch {epoch + 1}/{self.epochs}",
                completed=epoch * self.chunks + chunk,
                facts=f"loss {loss:.3f}  {events_per_s:,.0f} events/s",
            )

    def epoch(self, line: str) -> None:
        """An epoch is done."""
        if self._bar is not None:
            self._bar.console.print(line, highlight=False)
        elif self.shown:
            print(line, file=sys.stderr, flush=True)


def say(bar: TrainingProgress, line: str) -> None:
    """A line for the log of the run and for the person who watches."""
    LOGGER.info("%s", line)
    bar.epoch(line)


class SearchProgress:
    """On a terminal a bar and a line a trial; elsewhere the lines, where they were asked for. All on stderr."""

    def __init__(self, shown: bool | None, trials: int) -> None:
        self.terminal = sys.stderr.isatty()
        self.shown = self.terminal if shown is None else shown
        self.trials = trials
        self._bar: Any = None

    def __enter__(self) -> Self:
        if self.shown and self.terminal:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

            self._bar = Progress(
                MofNCompleteColumn(),
                BarColumn(),
                TextColumn("{task.description}"),
                TimeElapsedColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task("searching", total=self.trials)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def now(self, done: int, text: str) -> None:
        """How many trials are finished, and what is under way."""
        if self._bar is not None:
            self._bar.update(self._task, completed=done, description=text)

    def trial(self, line: str) -> None:
        """A trial is finished."""
        if self._bar is not None:
            self._bar.console.print(line, highlight=False, markup=False)
        elif self.shown:
            print(line, file=sys.stderr, flush=True)
