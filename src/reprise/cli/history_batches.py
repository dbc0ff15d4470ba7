"""A recommender and the histories of files for it, as `reprise recommend` and `reprise forecast` read them."""

from collections.abc import Generator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from zoneinfo import ZoneInfo

import typer

from reprise.cli.shared_options import check_output_file
from reprise.errors import ArtefactError
from reprise.path_kinds import instead

if TYPE_CHECKING:
    from reprise.data.io.events import Events
    from reprise.data.user_histories import UserHistories
    from reprise.recommender.history import Timestamp
    from reprise.recommender.recommender import Recommender


def open_recommender(
    path: Path, dataset: Path | None = None, *, trusted: bool = False, verify: Path | None = None
) -> "Recommender":
    """Return the recommender of a saved model or of a run; a trusted run may import classes outside this package.

    Args:
        path: Directory of the model or of the run.
        dataset: Dataset of a run, if it was moved.
        trusted: Whether a run may import classes outside this package.
        verify: File of the public key of the signature that the model must have; None: not needed.

    Raises:
        ArtefactError: the path is neither a saved model nor a run, or does not have the signature.
    """
    from reprise.recommender.artefact.replaced_directory import find_backup
    from reprise.recommender.recommender import Recommender

    if (path / "manifest.json").exists() or find_backup(path):
        return Recommender.load(path, verify=verify)
    if not (path / "run.json").exists():
        raise ArtefactError(f"{path} is neither a saved model nor a run {instead(path, 'run')}")
    if verify is not None:
        raise ArtefactError(
            f"{path} is a run, and runs are not signed; export it with --sign, or omit --verify"
        )
    from reprise.training import load_run

    return Recommender(*load_run(path, dataset, trusted=trusted))


def open_histories(
    recommender: "Recommender",
    log: "Events",
    out: Path | None,
    *,
    sequence_by: Literal["user", "session"] | None,
    with_times: bool,
) -> "Generator[UserHistories, None, None]":
    """Return the histories of a log in batches, cleaned by the rules of the model's log. Close the result after use.

    Args:
        recommender: The recommender that reads the histories.
        log: The log, opened by `read_events`.
        out: The file that the command writes; None: standard output.
        sequence_by: Key of a history, user or session; None: as in the log of the model.
        with_times: Whether the times of events are read even if the model does not use them.

    Raises:
        ConfigError: `out` is one of the files of the log.
        DataError: the files cannot be read as histories (see `read_histories`).
    """
    from reprise.data.io.history_files import read_histories

    check_output_file(out, (file["path"] for file in log.source.origin["files"]))
    fields = {*recommender.reads, *(["timestamp"] if with_times else [])}
    return read_histories(
        log,
        integer_items=recommender.items.integer_ids,
        # with times, equal events of different kinds are not duplicates
        extra=fields | {"kind"} if "timestamp" in fields else fields,
        rules=recommender.history_rules,
        sequence_by=sequence_by,
    )


def parse_time(now: str | None, tz: str | None) -> "Timestamp | None":
    """Return a time as a number, or as a datetime in the time zone `tz` if it names no other; None for None."""
    from reprise.data.timestamps import check_zone

    if now is None:
        return None
    check_zone(tz)
    with suppress(ValueError):
        return float(now)
    with suppress(ValueError):
        time = datetime.fromisoformat(now)
        return time.replace(tzinfo=ZoneInfo(tz)) if tz and time.tzinfo is None else time
    return now  # the recommender raises an error about it


def show_users(users: int, skipped: int) -> None:
    """Print the number of users, and of the events of unknown items, on standard error."""
    note = f"; skipped {skipped:,} events of items that the model does not know" if skipped else ""
    typer.echo(f"{users:,} users{note}", err=True)
