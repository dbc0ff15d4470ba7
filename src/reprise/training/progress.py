"""What a person sees while a network learns: a bar for the epoch under way, a line for each that is done."""

import sys
from types import TracebackType
from typing import Any, Self

from reprise.training.run import LOGGER


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
