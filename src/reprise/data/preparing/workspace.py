"""The folder in which a dataset is made: steps that are done once, and a last rename that makes it visible.

`OUT.partial/` holds the database and the arrays as they grow. The result of each finished step is kept in the
database, in one transaction with its tables, so that the same call goes on after the last one that is whole, and
another call starts over. `OUT` itself is there whole or not at all.
"""

import errno
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from reprise.data.io.duckdb_engine import BusyError, DiskFullError, Engine
from reprise.errors import ConfigError, DataError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
KEY = "key"
Result = dict[str, Any]


class Workspace:
    """The steps of one call of `prepare`, and where they are kept."""

    def __init__(self, out: Path, key: str, memory_limit: str) -> None:
        """Go on in `OUT.partial` where a call with the same key stopped, or begin there."""
        self.folder = _folder(out.absolute())
        self.result = self.folder / "dataset"
        with disk_errors(self.folder):
            self.engine = self._resume(key, memory_limit) or self._begin(key, memory_limit)
        self.done: dict[str, Result] = {
            name: json.loads(text) for name, text in self.engine.notes().items() if name != KEY
        }

    def _resume(self, key: str, memory_limit: str) -> Engine | None:
        if not self.folder.exists():
            return None
        try:
            engine = Engine(self.folder, memory_limit)
        except (BusyError, DiskFullError, ConfigError):
            raise
        except DataError:  # a database that cannot be opened is as good as none
            return None
        if engine.notes().get(KEY) == key:
            return engine
        engine.close()
        return None

    def _begin(self, key: str, memory_limit: str) -> Engine:
        self.remove()
        self.folder.mkdir(parents=True)
        engine = Engine(self.folder, memory_limit)
        engine.write_note(KEY, key)
        return engine

    def step(self, name: str, run: Callable[[], Result]) -> Result:
        """The result of a step: run it and keep what it returns, unless an earlier call did."""
        if name not in self.done:
            with disk_errors(self.folder), self.engine.transaction():
                text = json.dumps(run())
                self.engine.write_note(name, text)
            self.done[name] = json.loads(text)
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
        _remove(self.folder)


def remove_leftovers(out: Path) -> None:
    """Remove what a kill just after OUT appeared has left."""
    _remove(_folder(out))


def _folder(out: Path) -> Path:
    return out.with_name(out.name + ".partial")


def _remove(folder: Path) -> None:
    with suppress(FileNotFoundError):
        shutil.rmtree(folder)


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
    present = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(present).free
    return (
        f"{free / 1e9:.2f} GB are free at {present}. Make room and run the same again: it goes on from here"
    )


def check_room(folder: Path, needed: int) -> None:
    """Raise a DataError where `needed` bytes are more than the disk has free."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DiskFullError(
            f"preparing this log needs about {needed / 1e9:.2f} GB of disk at {folder.parent}, {free / 1e9:.2f} GB are "
            "free; make room, or choose another place"
        )
