"""The directory of a saved model, which is replaced as a whole by renames."""

import shutil
from contextlib import suppress
from pathlib import Path


def move_into_place(partial: Path, path: Path) -> None:
    """Rename `partial` to `path`. No call swaps two directories on every system, so an old model is renamed first."""
    old = _backup(path)
    replaced = path.exists()
    if replaced:
        shutil.rmtree(old, ignore_errors=True)
        path.rename(old)
    try:
        partial.rename(path)
    except OSError:
        if replaced:
            old.rename(path)
        raise
    with suppress(OSError):
        shutil.rmtree(old)


def find_backup(path: Path) -> Path | None:
    """Return the backup of the model at this path, if a save was killed between its two renames; otherwise None."""
    old = _backup(path)
    return old if old.exists() and not path.exists() else None


def _backup(path: Path) -> Path:
    path = path.absolute()  # `.` has no name
    return path.with_name(f".{path.name}.old")
