"""`reprise recommend`: recommendations for the histories in a file."""

from contextlib import closing, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal
from zoneinfo import ZoneInfo

import typer

from reprise.cli.shared_options import (
    DatasetOption,
    Delimiter,
    ItemColumn,
    KindColumn,
    SessionColumn,
    TimeColumn,
    TimeUnitOption,
    TimeZone,
    Trusted,
    UserColumn,
    ValueColumn,
    check_output_file,
)
from reprise.errors import ArtefactError
from reprise.path_kinds import instead

if TYPE_CHECKING:
    from reprise.recommender.history import Timestamp
    from reprise.recommender.recommender import Recommender

DEFAULT_K = 20
"""Number of items per user, unless the catalogue has fewer."""
EXAMPLE = "reprise recommend runs/shop this_week.parquet --k 20 --out answers.csv"


def recommend(
    model: Annotated[
        Path, typer.Argument(metavar="RUN|MODEL", help="A directory that `train` or `export` wrote.")
    ],
    histories: Annotated[
        list[str],
        typer.Argument(metavar="HISTORIES", help="Files with the events of each user, as for `prepare`."),
    ],
    k: Annotated[
        int | None,
        typer.Option(
            "--k",
            metavar="N",
            min=1,
            help="Number of items per user.",
            show_default=f"{DEFAULT_K}, or the number of items if there are fewer",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="File to write: .csv, .parquet or .jsonl.",
            show_default="CSV on standard output",
        ),
    ] = None,
    exclude_seen: Annotated[
        bool, typer.Option("--exclude-seen", help="Leave out the items of each user's history.")
    ] = False,
    diversity: Annotated[
        float,
        typer.Option(
            metavar="0..1",
            min=0,
            max=1,
            help="Weight of dissimilarity between the items; 0: the plain ranking.",
        ),
    ] = 0.0,
    user_column: UserColumn = None,
    item_column: ItemColumn = None,
    time_column: TimeColumn = None,
    session_column: SessionColumn = None,
    kind_column: KindColumn = None,
    value_column: ValueColumn = None,
    sequence_by: Annotated[
        Literal["user", "session"] | None,
        typer.Option(
            metavar="user|session",
            help="Key of a history, as for `prepare`. Session ids are written to the column user_id too.",
            show_default="as in the log of the model",
        ),
    ] = None,
    tz: TimeZone = None,
    time_unit: TimeUnitOption = None,
    delimiter: Delimiter = None,
    now: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Time of the request: ISO, or seconds or milliseconds since 1970; not before any event.",
            show_default="not known",
        ),
    ] = None,
    dataset: DatasetOption = None,
    trusted: Trusted = False,
) -> None:
    """Write recommendations for every user of a file: rows of user_id, rank, item_id, score and title."""
    from reprise.data.io.events import Columns, read_events
    from reprise.data.io.history_files import read_histories
    from reprise.data.io.recommendation_files import RecommendationRow, RecommendationWriter

    check_output_file(out)
    columns = Columns(user_column, item_column, time_column, session_column, kind_column, value_column)
    recommender = open_recommender(model, dataset, trusted=trusted)
    log = read_events(histories, columns, tz=tz, time_unit=time_unit, delimiter=delimiter)
    check_output_file(out, (file["path"] for file in log.source.origin["files"]))
    k = min(DEFAULT_K, recommender.items.scored) if k is None else k
    request_time = None if now is None else parse_time(now, tz)
    batches = read_histories(
        log,
        integer_items=recommender.items.integer_ids,
        extra=_fields(recommender, with_times=now is not None),
        rules=recommender.history_rules,
        sequence_by=sequence_by,
    )
    users, skipped = 0, 0
    with closing(batches), RecommendationWriter(out) as writer:
        for keys, events in batches:
            results = recommender.recommend_many(
                events, k=k, exclude_seen=exclude_seen, now=request_time, diversity=diversity
            )
            for key, result in zip(keys, results, strict=True):
                for item in result:
                    writer.add(RecommendationRow(key, item.rank, item.item_id, item.score, item.title))
                skipped += result.skipped
            users += len(keys)
    note = f"; skipped {skipped:,} events of items that the model does not know" if skipped else ""
    typer.echo(f"{users:,} users{note}", err=True)


def _fields(recommender: "Recommender", *, with_times: bool) -> set[str]:
    """Return the fields of events that the recommender needs besides the items."""
    # with a time of the request, the recommender compares it with the times of the events
    fields = {*recommender.reads, *(["timestamp"] if with_times else [])}
    # events with times are compared with each other, and those of different kinds are not duplicates
    return fields | {"kind"} if "timestamp" in fields else fields


def parse_time(now: str, tz: str | None) -> "Timestamp":
    """Return a number, or a time in the time zone `tz` if it names no other."""
    from reprise.data.timestamps import check_zone

    check_zone(tz)
    with suppress(ValueError):
        return float(now)
    with suppress(ValueError):
        time = datetime.fromisoformat(now)
        return time.replace(tzinfo=ZoneInfo(tz)) if tz and time.tzinfo is None else time
    return now  # the recommender raises an error about it


def open_recommender(path: Path, dataset: Path | None = None, *, trusted: bool = False) -> "Recommender":
    """Return the recommender of a saved model or of a run; a trusted run may import classes outside this package.

    Raises:
        ArtefactError: the path is neither a saved model nor a run.
    """
    from reprise.recommender.artefact.artefact import find_backup
    from reprise.recommender.recommender import Recommender

    if (path / "manifest.json").exists() or find_backup(path):
        return Recommender.load(path)
    if not (path / "run.json").exists():
        raise ArtefactError(f"{path} is neither a saved model nor a run {instead(path, 'run')}")
    from reprise.training import load_run

    return Recommender(*load_run(path, dataset, trusted=trusted))
