"""What a person sees while a network learns or a search goes on: a bar, and a line for each epoch or trial that is done."""

import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from reprise.training.run_directory import LOGGER

Watch = Callable[[dict[str, Any]], None]
"""Told the record of each epoch once it is in the checkpoint, those of before a resume too. It may raise `Stopped`."""


class Stopped(Exception):  # noqa: N818 - no error: somebody has seen enough
    """Ends a training after an epoch. The run may go on later."""


class _Bar:
    """On a terminal a bar, and lines above it; elsewhere the lines, where they were asked for. All on stderr."""

    def __init__(self, shown: bool | None, total: int, columns: Callable[[], list[Any]]) -> None:
        self.terminal = sys.stderr.isatty()
        self.shown = self.terminal if shown is None else shown
        self._total, self._columns = total, columns
        self._bar: Any = None

    def __enter__(self) -> Self:
        if self.shown and self.terminal:
            from rich.console import Console
            from rich.progress import Progress

            self._bar = Progress(*self._columns(), console=Console(stderr=True), transient=True)
            self._bar.start()
            self._task = self._bar.add_task("", total=self._total, facts="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def _show(self, **facts: Any) -> None:
        if self._bar is not None:
            self._bar.update(self._task, **facts)

    def line(self, text: str) -> None:
        """Something is done: an epoch, a trial."""
        if self._bar is not None:
            self._bar.console.print(text, highlight=False, markup=False)
        elif self.shown:
            print(text, file=sys.stderr, flush=True)


class TrainingProgress(_Bar):
    """A bar for all epochs, and a line an epoch."""

    def __init__(self, shown: bool | None, epochs: int, chunks: int) -> None:
        super().__init__(shown, epochs * chunks, _training_columns)
        self.epochs, self.chunks = epochs, chunks

    def step(self, epoch: int, chunk: int, loss: float, events_per_s: float) -> None:
        """One step is done."""
        self._show(
            description=f"epoch {epoch + 1}/{self.epochs}",
            completed=epoch * self.chunks + chunk,
            facts=f"loss {loss:.3f}  {events_per_s:,.0f} events/s",
        )


class SearchProgress(_Bar):
    """A bar for all trials, and a line a trial."""

    def __init__(self, shown: bool | None, trials: int) -> None:
        super().__init__(shown, trials, _search_columns)

    def now(self, done: int, text: str) -> None:
        """How many trials are finished, and what is under way."""
        self._show(completed=done, description=text)


def say(bar: TrainingProgress, line: str) -> None:
    """A line for the log of the run and for the person who watches."""
    LOGGER.info("%s", line)
    bar.line(line)


def _training_columns() -> list[Any]:
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    texts = [TextColumn(text) for text in ("{task.percentage:>3.0f}%", "{task.fields[facts]}")]
    return [TextColumn("{task.description}"), BarColumn(), *texts, TimeElapsedColumn(), TimeRemainingColumn()]


def _search_columns() -> list[Any]:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn

    return [MofNCompleteColumn(), BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn()]
