"""`reprise prepare`: convert an event log to a dataset."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from reprise.cli.console import show_dataset, show_next, show_table, unused
from reprise.cli.shared_options import (
    Delimiter,
    EngineName,
    Forget,
    ForgetTenant,
    ItemColumn,
    KindColumn,
    Master,
    SessionColumn,
    TimeColumn,
    TimeUnitOption,
    TimeZone,
    TrustedForget,
    UserColumn,
    ValueColumn,
    drop_unset,
)
from reprise.errors import ConfigError

if TYPE_CHECKING:
    from reprise.data.preparing.inspection import LogInspection

EXAMPLE = "reprise prepare clicks.parquet --items items.parquet --split last:7d,7d --out data/shop"


def prepare(
    events: Annotated[
        list[str],
        typer.Argument(
            metavar="EVENTS", help="Event files (Parquet, CSV, TSV or JSON lines), or quoted globs."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Dataset directory to write. Required without --dry-run."),
    ] = None,
    items: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Item table with item_id, title and any other columns."),
    ] = None,
    users: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="User table with user_id and attributes such as a country; by session, one row per session.",
        ),
    ] = None,
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
            help="Make one sequence per user or per session.",
        ),
    ] = None,
    session_gap: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Start a new session after a longer pause, such as 30min."),
    ] = None,
    min_item_events: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Drop items with fewer events (repeated k-core filtering)."),
    ] = None,
    min_sequence_events: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Drop sequences with fewer events (repeated k-core filtering)."
        ),
    ] = None,
    max_events_per_day: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Drop users with more events than this on any day in UTC, with all their events: bots.",
            show_default="no maximum",
        ),
    ] = None,
    split: Annotated[
        str,
        typer.Option(
            metavar="SPLIT",
            help="Split: last:7d,7d (validation and test durations), at:2014-09-01,2014-09-08 (start dates), "
            "leave-one-out or column:NAME.",
        ),
    ] = "last:7d,7d",
    tz: TimeZone = None,
    delimiter: Delimiter = None,
    items_delimiter: Annotated[
        str | None,
        typer.Option(metavar="C", help="Separator of the values in the item table.", show_default="detected"),
    ] = None,
    time_unit: TimeUnitOption = None,
    keep_duplicates: Annotated[
        bool,
        typer.Option(
            "--keep-duplicates", help="Keep events with the same sequence, item, time and kind as another."
        ),
    ] = False,
    forget: Forget = None,
    tenant: ForgetTenant = None,
    consent: Annotated[
        str | None,
        typer.Option(
            metavar="C",
            help="Column that says whether an event may be used (true or false, yes or no, 1 or 0). Others are left out.",
        ),
    ] = None,
    trusted: TrustedForget = False,
    allow_leaks: Annotated[
        str,
        typer.Option(
            metavar="KIND,...",
            help="Leaks to accept: late-training, counts, late-feature, own-input, duplicate, giveaway.",
        ),
    ] = "",
    memory_limit: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE", help="Memory limit of DuckDB, such as 2GB. With Spark: of DuckDB in the driver."
        ),
    ] = None,
    engine: EngineName = None,
    master: Master = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a dataset that was prepared with other options.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Show how each column is understood, with three rows, and write nothing."
        ),
    ] = False,
) -> None:
    """Clean, encode, sort and split an event log. Run the same command again to continue after an interruption."""
    from reprise.cli.forget_option import read_erased_users
    from reprise.content.column_detection import describe_columns
    from reprise.data.description import describe
    from reprise.data.io.events import Columns, read_events
    from reprise.data.io.sources import open_source
    from reprise.data.preparing.inspection import inspect_events
    from reprise.data.preparing.prepare import prepare as prepare_dataset
    from reprise.data.split import parse_split

    if out is None and not dry_run:
        raise ConfigError(
            "no directory for the dataset; give --out DIR, or look at the columns with --dry-run"
        )
    columns = Columns(user_column, item_column, time_column, session_column, kind_column, value_column)
    log = read_events(events, columns, tz=tz, time_unit=time_unit, delimiter=delimiter)
    inputs: dict[str, Any] = {
        "items": items if items is None else open_source(items, items_delimiter),
        "users": users,
        "split": parse_split(split),
        "duplicates": "keep" if keep_duplicates else "drop",
        **drop_unset(
            forget=read_erased_users(forget, tenant, trusted),
            consent=consent,
            sequence_by=sequence_by,
            session_gap=session_gap,
            min_item_events=min_item_events,
            min_sequence_events=min_sequence_events,
            max_events_per_day=max_events_per_day,
            memory_limit=memory_limit,
        ),
    }
    if out is None or dry_run:
        if engine == "spark":
            raise ConfigError("--dry-run reads the log in DuckDB on this machine; omit --engine spark")
        _show_inspection(inspect_events(log, **inputs))
        return
    dataset = prepare_dataset(
        log,
        out,
        overwrite=overwrite,
        allow_leaks=[kind.strip() for kind in allow_leaks.split(",") if kind.strip()],
        **drop_unset(engine=engine, master=master),
        **inputs,
    )
    show_dataset({**describe(dataset), "item_columns": describe_columns(dataset)})
    show_next(("reprise", "train", out, "--out", unused(Path("runs") / out.resolve().name)))


def _show_inspection(found: "LogInspection") -> None:
    """Print how each column is understood, the item table, and the first rows."""
    rows = [
        [reading.role, reading.column or "-", reading.chosen, reading.contains, reading.meaning]
        for reading in found.columns
    ]
    typer.echo(f"{found.rows:,} rows")
    show_table("", ["role", "column", "chosen", "contains", "meaning"], rows)
    if found.ignored:
        typer.echo(f"columns that are not read: {', '.join(found.ignored)}\n")
    if found.items is not None:
        table = found.items
        typer.echo(f"item table: {table.rows:,} rows, of which {table.joined:,} join an item of the events")
        kinds = [
            [name, kind, "item" if name == table.id_column else ""] for name, kind in table.columns.items()
        ]
        show_table("", ["column", "contains", "role"], kinds)
    headers = list(found.samples[0])
    samples = [["" if row[name] is None else str(row[name]) for name in headers] for row in found.samples]
    typer.echo("the first rows")
    show_table("", headers, samples)
    for note in found.notes:
        typer.echo(f"note: {note}", err=True)
    typer.echo("nothing was written; run the command without --dry-run to prepare the dataset")
