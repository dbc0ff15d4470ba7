"""Progress displays of long work: bars on a terminal and lines of text elsewhere, both on the standard error."""

import sys
from collections.abc import Callable, Iterator, Sized
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

StepReport = Callable[[str, float], None]
"""Function called with the name of the step that begins and the share of all work that is done, 0 to 1."""
ShowProgress = bool | StepReport | None
"""True for a bar, False for none, None for a bar on a terminal and lines in a notebook, or a
function that receives the progress."""
Item = TypeVar("Item", covariant=True)


class SizedIterable(Sized, Protocol[Item]):
    """An iterable with a length."""

    def __iter__(self) -> Iterator[Item]: ...


@contextmanager
def step_reporter(progress: ShowProgress, title: str) -> Iterator[StepReport]:
    """Return a function to call when a step begins; it moves the bar that `progress` asks for.

    Args:
        progress: What to display, see `ShowProgress`.
        title: Text next to the bar before the first step begins.
    """
    if callable(progress):
        yield progress
    elif progress is not False and in_notebook():
        yield _line_printer()
    elif progress is True or (progress is None and sys.stderr.isatty()):
        with _rich_bar(_step_columns(), transient=False) as bar:
            task = bar.add_task(title, total=1.0)
            yield lambda step, share: bar.update(task, description=step, completed=share)
    else:
        yield lambda step, share: None


def in_notebook() -> bool:
    """Return whether this process is the kernel of a notebook, in which a bar would need a widget."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return getattr(shell, "kernel", None) is not None


def _line_printer() -> StepReport:
    """Return a function that prints each step once, as a line on the standard error."""
    printed: list[str] = []

    def report(step: str, share: float) -> None:
        if step not in printed:
            printed.append(step)
            print(step, file=sys.stderr, flush=True)

    return report


def track(items: SizedIterable[Item], title: str, show: bool) -> Iterator[Item]:
    """Iterate over items and show a bar meanwhile, if `show` is True and the standard error is a terminal.

    In a notebook it prints the title instead.
    """
    if show and in_notebook() and len(items) > 1:
        print(title, file=sys.stderr, flush=True)
    if not (show and sys.stderr.isatty()):
        yield from items
        return
    from rich.console import Console
    from rich.progress import track as track_with_bar

    yield from track_with_bar(items, title, total=len(items), console=Console(stderr=True), transient=True)


class ProgressBar:
    """A bar with lines of text above it on a terminal; elsewhere the lines only.

    Args:
        show: True displays, False does not, None displays on a terminal and in a notebook.
        total: Number of units of work at which the bar is full.
        columns: Function that returns the columns of the rich progress bar.
    """

    def __init__(self, show: bool | None, total: int, columns: Callable[[], list[Any]]) -> None:
        self.is_terminal = sys.stderr.isatty()
        self.show = (self.is_terminal or in_notebook()) if show is None else show
        self._total, self._columns = total, columns
        self._bar: Any = None

    def __enter__(self) -> Self:
        if self.show and self.is_terminal:
            self._bar = _rich_bar(self._columns(), transient=True)
            self._bar.start()
            self._task = self._bar.add_task("", total=self._total, details="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def line(self, text: str) -> None:
        """Print one line of text, above the bar if there is one."""
        if self._bar is not None:
            self._bar.console.print(text, highlight=False, markup=False)
        elif self.show:
            print(text, file=sys.stderr, flush=True)

    def _update(self, **fields: Any) -> None:
        if self._bar is not None:
            self._bar.update(self._task, **fields)


class TrainingProgress(ProgressBar):
    """Progress of a training run: one bar for all epochs.

    Args:
        show: True displays, False does not, None displays on a terminal only.
        epochs: Number of epochs of the run.
        steps: Number of optimiser steps per epoch.
    """

    def __init__(self, show: bool | None, epochs: int, steps: int) -> None:
        super().__init__(show, epochs * steps, _training_columns)
        self.epochs, self.steps = epochs, steps

    def step(self, epoch: int, done: int, loss: float, events_per_s: float) -> None:
        """Show that `done` steps of an epoch (counted from 0) are finished."""
        self._update(
            description=f"epoch {epoch + 1}/{self.epochs}",
            completed=epoch * self.steps + done,
            details=f"loss {loss:.3f}  {events_per_s:,.0f} events/s",
        )


class JobsProgress(ProgressBar):
    """Progress of several jobs, such as the trials of a search or the seeds of a recipe: one bar for all of them."""

    def __init__(self, show: bool | None, jobs: int) -> None:
        super().__init__(show, jobs, _jobs_columns)

    def update(self, done: int, text: str) -> None:
        """Show the number of finished jobs and a text about the jobs that are running."""
        self._update(completed=done, description=text)


def _rich_bar(columns: list[Any], *, transient: bool) -> Any:
    from rich.console import Console
    from rich.progress import Progress

    return Progress(*columns, console=Console(stderr=True), transient=transient)


def _step_columns() -> list[Any]:
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn

    return [TextColumn("{task.description:24}"), BarColumn(), TimeElapsedColumn()]


def _training_columns() -> list[Any]:
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    texts = [TextColumn(text) for text in ("{task.percentage:>3.0f}%", "{task.fields[details]}")]
    return [TextColumn("{task.description}"), BarColumn(), *texts, TimeElapsedColumn(), TimeRemainingColumn()]


def _jobs_columns() -> list[Any]:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn

    return [MofNCompleteColumn(), BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn()]
