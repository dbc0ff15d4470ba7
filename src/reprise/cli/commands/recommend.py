"""`reprise recommend`: answers for the histories in a file."""

from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal
from zoneinfo import ZoneInfo

import typer

from reprise.cli.options import (
    DatasetOption,
    ItemColumn,
    KindColumn,
    SessionColumn,
    TimeColumn,
    TimeZone,
    UserColumn,
    ValueColumn,
    check_output_file,
)
from reprise.errors import ArtefactError, DataError

if TYPE_CHECKING:
    from reprise.data.io.events import Columns
    from reprise.recommender.history import Timestamp
    from reprise.recommender.recommender import Recommender

EXAMPLE = "reprise recommend runs/shop this_week.parquet --k 20 --out answers.csv"


def recommend(
    model: Annotated[Path, typer.Argument(metavar="RUN|MODEL", help="What `train` or `export` wrote.")],
    histories: Annotated[
        list[str],
        typer.Argument(metavar="HISTORIES", help="The events so far, as files like those of `prepare`."),
    ],
    k: Annotated[int, typer.Option("--k", metavar="N", min=1, help="How many items for each user.")] = 20,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="A .csv, .parquet or .jsonl file.", show_default="CSV on standard output"
        ),
    ] = None,
    exclude_seen: Annotated[
        bool, typer.Option("--exclude-seen", help="Leave out items of the user's own history.")
    ] = False,
    diversity: Annotated[
        float,
        typer.Option(
            metavar="0..1",
            min=0,
            max=1,
            help="How unlike one another the items are to be; 0: the plain ranking.",
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
            help="What one history is, as for `prepare`; the keys of sessions stand under user_id too.",
            show_default="user, or session where there are no users",
        ),
    ] = None,
    tz: TimeZone = None,
    now: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="The moment for which the answers are: ISO, or s or ms since 1970. No event may be later.",
            show_default="not known",
        ),
    ] = None,
    dataset: DatasetOption = None,
) -> None:
    """Recommend to every user of a file: rows of user_id, rank, item_id, score and title."""
    from reprise.data.io.events import Columns
    from reprise.data.io.history_files import read_histories
    from reprise.data.io.recommendation_files import RecommendationRow, RecommendationWriter
    from reprise.recommender.ranker import check_k

    check_output_file(out)
    columns = Columns(user_column, item_column, time_column, session_column, kind_column, value_column)
    if sequence_by:
        columns = _keyed_by(sequence_by, histories, columns)
    recommender = open_recommender(model, dataset)
    check_k(k, recommender.items.warm)
    moment = None if now is None else _moment(now, tz)
    also = {*recommender.reads, *(["timestamp"] if now else [])}
    integers = recommender.items.integer_ids
    batches = read_histories(histories, columns, tz=tz, integer_items=integers, extra=also)
    users, skipped = 0, 0
    with RecommendationWriter(out) as writer:
        for keys, events in batches:
            answers = recommender.recommend_many(
                events, k=k, exclude_seen=exclude_seen, now=moment, diversity=diversity
            )
            for key, answer in zip(keys, answers, strict=True):
                for found in answer:
                    writer.add(RecommendationRow(key, found.rank, found.item_id, found.score, found.title))
                skipped += answer.skipped
            users += len(keys)
    remark = f"; {skipped:,} events skipped, whose items the model does not know" if skipped else ""
    typer.echo(f"{users:,} users{remark}", err=True)


def _moment(now: str, tz: str | None) -> "Timestamp":
    """What was typed as a number, or as a time in the zone of the log where it names none."""
    from reprise.data.timestamps import check_zone

    check_zone(tz)
    with suppress(ValueError):
        return float(now)
    with suppress(ValueError):
        moment = datetime.fromisoformat(now)
        return moment.replace(tzinfo=ZoneInfo(tz)) if tz and moment.tzinfo is None else moment
    return now  # the recommender says what is wrong with it


def _keyed_by(role: Literal["user", "session"], histories: list[str], columns: "Columns") -> "Columns":
    """The same columns with the one that keys a history in the place of the users."""
    from reprise.data.io.events import read_events

    key: str | None = getattr(read_events(histories, columns).columns, role)
    if key is None:
        raise DataError(f"the histories have no {role} column; name it with --{role}-column NAME")
    return replace(columns, user=key, session=None)


def open_recommender(path: Path, dataset: Path | None = None) -> "Recommender":
    """The recommender of a saved model, or of a run.

    Raises:
        ArtefactError: the path is neither.
    """
    from reprise.recommender.artefact.artefact import find_backup
    from reprise.recommender.recommender import Recommender

    if (path / "manifest.json").exists() or find_backup(path):
        return Recommender.load(path)
    if not (path / "run.json").exists():
        raise ArtefactError(
            f"{path} is neither a run (no run.json) nor a saved model (no manifest.json); "
            "name what `reprise train` or `reprise export` wrote"
        )
    from reprise.training import load_run

    return Recommender(*load_run(path, dataset))
