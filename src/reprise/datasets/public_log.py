"""What a reader of a public log returns, and the check of its size against the published counts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from reprise.argument_checks import file_path
from reprise.data.io.events import Events
from reprise.errors import DataError


class PublicLog(NamedTuple):
    """A public log, ready for `prepare(log.events, DIR, items=log.items, users=log.users)`."""

    events: Events
    """Events of the log, in memory."""
    items: pa.Table | None = None
    """Item table with the column `item_id`; None if the log has none."""
    users: pa.Table | None = None
    """User table with the column `user_id`; None if the log has none."""


class PublishedSize(NamedTuple):
    """Published size of a release."""

    release: str
    """Name of the release."""
    events: int | None = None
    """Number of events; None: not compared, like the other counts."""
    users: int | None = None
    """Number of users or sessions with an event."""
    items: int | None = None
    """Number of items with an event."""

    def __str__(self) -> str:
        words = [
            f"{count:,} {name}"
            for name, count in zip(self._fields[1:], self[1:], strict=True)
            if count is not None
        ]
        return f"{self.release} ({', '.join(words)})"


def check_counts(path: Path, table: pa.Table, user: str, releases: Sequence[PublishedSize]) -> None:
    """Check that a log has the size of a published release.

    Args:
        path: Path in the message.
        table: Events.
        user: Column of the users or sessions.
        releases: Known sizes; the table must have one of them.

    Raises:
        DataError: It has another size.
    """
    users, items = (pc.count_distinct(table.column(name)).as_py() for name in (user, "item_id"))
    found = PublishedSize(path.name, len(table), users, items)
    for one in releases:
        if all(theirs in (None, mine) for mine, theirs in zip(found[1:], one[1:], strict=True)):
            return
    raise DataError(
        f"{found} has the size of no known release: {'; '.join(map(str, releases))}. The files are incomplete or of "
        "another release: download them again, or read them as they are with check=False"
    )


def find_file(path: str | Path, *names: str) -> Path:
    """Return `path` if it is a file, or the first of some names in the directory `path`.

    Raises:
        DataError: There is no such file.
    """
    found = file_path("path", path)
    if found.is_file():
        return found
    for name in names:
        if (found / name).is_file():
            return found / name
    raise DataError(
        f"{str(found)!r} is not a file and has none of the files {', '.join(names)}; unpack the archive there"
    )


def read_error(path: Path, error: Exception) -> DataError:
    """Return the error for a file in another format than that of its log."""
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return DataError(f"cannot read {str(path)!r} ({reason}); is it the original file?")


def columns(table: pa.Table, names: dict[str, str]) -> pa.Table:
    """Return the columns of a table under new names, {new: old}.

    Raises:
        DataError: A column is missing.
    """
    missing = [old for old in names.values() if old not in table.column_names]
    if missing:
        raise DataError(
            f"no column {missing[0]!r}; the file has {', '.join(table.column_names)}; is it the original file?"
        )
    return pa.table({new: table.column(old) for new, old in names.items()})


def seconds(values: Any) -> pa.ChunkedArray:
    """Return times in seconds since 1970 as timestamps in UTC."""
    return pc.cast(pc.cast(values, pa.int64()), pa.timestamp("s", tz="UTC"))


def milliseconds(values: Any) -> pa.ChunkedArray:
    """Return times in milliseconds since 1970 as timestamps in UTC."""
    return pc.cast(pc.cast(values, pa.int64()), pa.timestamp("ms", tz="UTC"))
