"""How far `prepare` has come, on a terminal or wherever the caller wants it."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Report = Callable[[str, float], None]
"""Told the name of the step that begins, and the share of the whole that is done, 0 to 1."""
Progress = bool | Report | None
"""A function; True or False for a bar or none; None for a bar on a terminal."""


@contextmanager
def reporting(progress: Progress) -> Iterator[Report]:
    """Something to report to, for the time of the block."""
    if callable(progress):
        yield progress
    elif progress is True or (progress is None and sys.stderr.isatty()):
        with _bar() as report:
            yield report
    else:
        yield lambda step, share: None


@contextmanager
def _bar() -> Iterator[Report]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description:24}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("prepare", total=1.0)
        yield lambda step, share: bar.update(task, description=step, completed=share)
