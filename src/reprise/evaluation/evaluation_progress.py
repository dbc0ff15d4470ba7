"""A progress bar for long evaluations, on a terminal only."""

import sys
from collections.abc import Iterator, Sized
from typing import Protocol, TypeVar

Step = TypeVar("Step", covariant=True)


class Steps(Sized, Protocol[Step]):
    """Something with a length to walk over."""

    def __iter__(self) -> Iterator[Step]: ...


def shown(steps: Steps[Step], title: str, show: bool) -> Iterator[Step]:
    """The steps, with a bar on the standard error while they are taken, if that is a terminal and `show`."""
    if not (show and sys.stderr.isatty()):
        yield from steps
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(steps, title, total=len(steps), console=Console(stderr=True), transient=True)
