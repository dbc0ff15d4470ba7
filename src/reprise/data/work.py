"""The folder in which a dataset is made: steps that are done once, and a last rename that makes it visible.

`OUT.partial/` holds the database, the arrays as they grow, and `state.json`: the key of the call and the result of
each finished step. The same call goes on from there; another call starts over. `OUT` is there whole or not at all.
"""

import errno
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reprise.data.engine import DiskFullError, Engine
from reprise.errors import DataError

STATE = "state.json"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
Result = dict[str, Any]
Report = Callable[[str, float], None]
"""Told the name of the step that begins, and the share of the work done before it."""


class Work:
    """The steps of one call of `prepare`, and where they are kept."""

    def __init__(self, out: Path, key: str, memory_limit: str) -> None:
        """Go on in `OUT.partial`, or begin there."""
        self.folder = out.with_name(out.name + ".partial")
        self.result = self.folder / "dataset"
        self.key = key
        self.done: dict[str, Result] = self._resume()
        try:
            self.engine = Engine(self.folder, memory_limit)
        except DiskFullError:
            raise
        except DataError as error:
            if not self.done or "another process" in str(error):
                raise
            # killed while the database itself was written: what it holds cannot be trusted
            self._begin()
            self.engine = Engine(self.folder, memory_limit)

    def _resume(self) -> dict[str, Result]:
        try:
            state = json.loads((self.folder / STATE).read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            state = {}
        if state.get("key") == self.key:
            done: dict[str, Result] = state["done"]
            return done
        self._begin()
        return {}

    def _begin(self) -> None:
        with disk_errors(self.folder):
            if (self.folder / "work.duckdb").exists():
                Engine(self.folder).close()  # refuses when another process is at work here
            self.remove()
            self.folder.mkdir(parents=True)
            self.done = {}
            self._write()

    def _write(self) -> None:
        fresh = self.folder / (STATE + ".new")
        fresh.write_text(json.dumps({"key": self.key, "done": self.done}))
        fresh.replace(self.folder / STATE)

    def step(self, name: str, run: Callable[[], Result]) -> Result:
        """The result of a step: run it and keep the result, unless an earlier call did."""
        if name not in self.done:
            with disk_errors(self.folder):
                self.done[name] = json.loads(json.dumps(run()))
                self._write()
        return self.done[name]

    def publish(self, out: Path) -> None:
        """Make the finished folder `dataset/` appear as OUT, in one rename, and remove the rest."""
        self.engine.close()
        if out.exists():
            out.replace(self.folder / "replaced")
        self.result.replace(out)
        self.remove()

    def remove(self) -> None:
        """Remove the folder and everything in it."""
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turn a full disk into a DataError that says how much is free."""
    try:
        yield
    except DiskFullError as error:
        raise DiskFullError(f"{error}; {_free(folder)}") from error
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise DiskFullError(f"the disk is full: {error}; {_free(folder)}") from error


def _free(folder: Path) -> str:
    present = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(present).free
    return (
        f"{free / 1e9:.2f} GB are free at {present}. Make room and run the same again: it goes on from here"
    )


def check_room(folder: Path, needed: int) -> None:
    """Raise a DataError where `needed` bytes are more than the disk has free."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DiskFullError(
            f"preparing this log needs about {needed / 1e9:.2f} GB of disk at {folder.parent}, {free / 1e9:.2f} GB are free; "
            "make room, or choose another place"
        )
