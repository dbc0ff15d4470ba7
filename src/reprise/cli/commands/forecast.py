"""`reprise forecast`: the kind and the time of the next event for the histories in a file."""

import json
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from reprise.atomic_files import write_text
from reprise.cli.commands.recommend import open_recommender, parse_time
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
    check_output_file,
)

if TYPE_CHECKING:
    from reprise.recommender.forecaster import Forecast

EXAMPLE = "reprise forecast runs/shop this_week.parquet --length 3 --out next.jsonl"


def forecast(
    model: Annotated[
        Path, typer.Argument(metavar="RUN|MODEL", help="A directory that `train` or `export` wrote.")
    ],
    histories: Annotated[
        list[str],
        typer.Argument(metavar="HISTORIES", help="Files with the events of each user, as for `prepare`."),
    ],
    length: Annotated[
        int, typer.Option("--length", metavar="N", min=0, help="Number of events of the path.")
    ] = 3,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="File to write, JSON lines.", show_default="standard output"),
    ] = None,
    user_column: UserColumn = None,
    item_column: ItemColumn = None,
    time_column: TimeColumn = None,
    session_column: SessionColumn = None,
    kind_column: KindColumn = None,
    sequence_by: Annotated[
        Literal["user", "session"] | None,
        typer.Option(
            metavar="user|session",
            help="Key of a history, as for `prepare`. Session ids are written to user_id too.",
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
    """Write the kind and the time of the next event, and a likely path, for every user of a file."""
    from reprise.data.io.events import Columns, read_events
    from reprise.data.io.history_files import read_histories

    check_output_file(out)
    recommender = open_recommender(model, dataset, trusted=trusted)
    columns = Columns(user_column, item_column, time_column, session_column, kind_column)
    log = read_events(histories, columns, tz=tz, time_unit=time_unit, delimiter=delimiter)
    check_output_file(out, (file["path"] for file in log.source.origin["files"]))
    request_time = None if now is None else parse_time(now, tz)
    batches = read_histories(
        log,
        integer_items=recommender.items.integer_ids,
        extra={*recommender.reads, "timestamp", "kind"},
        rules=recommender.history_rules,
        sequence_by=sequence_by,
    )
    lines = []
    with closing(batches):
        for keys, events in batches:
            for key, history in zip(keys, events, strict=True):
                found = recommender.forecast(history, length, now=request_time)
                lines.append(json.dumps({"user_id": key, **as_json(found)}, ensure_ascii=False))
    text = "".join(f"{line}\n" for line in lines)
    if out is None:
        typer.echo(text, nl=False)
    else:
        write_text(out, text)
    typer.echo(f"{len(lines):,} users", err=True)


def as_json(found: "Forecast") -> dict[str, Any]:
    """Return a forecast as JSON values."""
    wait = found.time
    return {
        "kinds": found.kinds,
        "time": None
        if wait is None
        else {**wait._asdict(), "quantiles_s": {str(share): s for share, s in wait.quantiles_s.items()}},
        "path": [step._asdict() for step in found.path],
        "skipped": found.skipped,
    }
