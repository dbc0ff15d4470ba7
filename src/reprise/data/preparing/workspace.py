"""The work directory of `prepare`: each step runs once, and a final rename makes the dataset visible.

`OUT.partial/` contains the tables of the engine and the arrays. The result of each finished step is stored in the same
transaction as its tables. So the same call continues after the last finished step, and a different call starts again.
`OUT` appears only when the dataset is complete.
"""

import errno
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from reprise.data.io.duckdb_engine import BusyError, DiskFullError
from reprise.data.io.engine import Engine, EngineChoice
from reprise.errors import ConfigError, DataError

DISK_FULL_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
PLAN_NOTE = "key"
"""Name of the note that stores the hash of the plan."""
Result = dict[str, Any]
"""Result of a step, as JSON values."""


class Workspace:
    """The work directory of one `prepare` call, and the results of its finished steps."""

    def __init__(self, out: Path, plan_hash: str, engine: EngineChoice) -> None:
        """Continue in `OUT.partial` if a call with the same plan was interrupted there, or start there.

        Args:
            out: Final directory of the dataset.
            plan_hash: Hash of the plan.
            engine: Engine of the tables.
        """
        self.directory = _work_directory(out.absolute())
        self.result = self.directory / "dataset"
        with disk_errors(self.directory):
            self.engine = self._resume(plan_hash, engine) or self._start(plan_hash, engine)
        self.results: dict[str, Result] = {
            name: json.loads(text) for name, text in self.engine.notes().items() if name != PLAN_NOTE
        }

    def _resume(self, plan_hash: str, choice: EngineChoice) -> Engine | None:
        if not self.directory.exists():
            return None
        try:
            engine = choice.open(self.directory)
        except (BusyError, DiskFullError, ConfigError):
            raise
        except DataError:  # start again if the database cannot be opened
            return None
        if engine.notes().get(PLAN_NOTE) == plan_hash:
            return engine
        engine.close()
        return None

    def _start(self, plan_hash: str, choice: EngineChoice) -> Engine:
        self.remove()
        self.directory.mkdir(parents=True)
        engine = choice.open(self.directory)
        engine.write_note(PLAN_NOTE, plan_hash)
        return engine

    def step(self, name: str, run: Callable[[], Result]) -> Result:
        """Return the result of a step; run the step only if no earlier call has finished it."""
        if name not in self.results:
            with disk_errors(self.directory), self.engine.transaction():
                text = json.dumps(run())
                self.engine.write_note(name, text)
            self.results[name] = json.loads(text)
        return self.results[name]

    def publish(self, out: Path) -> None:
        """Move the finished dataset to OUT in one rename, and remove the work directory."""
        self.engine.close()
        if out.exists():
            out.replace(self.directory / "replaced")
        self.result.replace(out)
        self.remove()

    def remove(self) -> None:
        """Remove the work directory and its content."""
        _remove(self.directory)


def has_leftovers(out: Path) -> bool:
    """Return whether the work directory of a call exists."""
    return _work_directory(out.absolute()).exists()


def remove_leftovers(out: Path) -> None:
    """Remove a work directory that remained because a call was killed after OUT had been created."""
    _remove(_work_directory(out.absolute()))


def _work_directory(out: Path) -> Path:
    return out.with_name(out.name + ".partial")


def _remove(directory: Path) -> None:
    with suppress(FileNotFoundError):
        shutil.rmtree(directory)


@contextmanager
def disk_errors(directory: Path) -> Iterator[None]:
    """Raise a full disk in the block as a `DiskFullError` that states the free space."""
    try:
        yield
    except DiskFullError as error:
        raise DiskFullError(f"{error}; {_free_space(directory)}") from error
    except OSError as error:
        if error.errno not in DISK_FULL_ERRORS:
            raise
        raise DiskFullError(f"the disk is full: {error}; {_free_space(directory)}") from error


def _free_space(directory: Path) -> str:
    present = next(parent for parent in (directory, *directory.absolute().parents) if parent.exists())
    free = shutil.disk_usage(present).free
    return f"{free / 1e9:.2f} GB are free at {present}. Free some space and run the same command again; it continues here"


def check_free_space(directory: Path, needed: int) -> None:
    """Check that the disk has `needed` bytes free.

    Raises:
        DiskFullError: It has fewer.
    """
    free = shutil.disk_usage(directory).free
    if needed > free:
        raise DiskFullError(
            f"preparing this log needs about {needed / 1e9:.2f} GB of disk space at {directory.parent}, but "
            f"{free / 1e9:.2f} GB are free; free some space, or choose another directory"
        )
