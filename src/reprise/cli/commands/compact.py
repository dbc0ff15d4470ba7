"""`reprise compact`: delete old events from the event store of a server."""

from typing import Annotated

import typer

from reprise.cli.shared_options import TrustedStore

EXAMPLE = "reprise compact sqlite:///events.db --older-than 90d"


def compact(
    store: Annotated[
        str,
        typer.Argument(
            metavar="STORE",
            help="Address of the event store, as for `reprise serve`. Servers may be using it.",
        ),
    ],
    older_than: Annotated[
        str,
        typer.Option(
            metavar="AGE", help="Delete events older than this, such as 90d, 12h or 52w; by their timestamp."
        ),
    ],
    tenant: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Delete events of this tenant only.", show_default="all tenants"),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count the events and delete none.")] = False,
    vacuum: Annotated[
        bool,
        typer.Option(
            "--vacuum",
            help="Rewrite and shrink the tables afterwards. This may block servers until it ends.",
        ),
    ] = False,
    trusted: TrustedStore = False,
) -> None:
    """Delete old events from an event store. Servers compute the states of their users again from the remaining events."""
    import time
    from contextlib import closing

    from reprise.data.timestamps import format_time, parse_duration
    from reprise.errors import ConfigError
    from reprise.progress import step_reporter
    from reprise.server.store.event_store import Compactable
    from reprise.server.store.opening import open_store

    before_ms = time.time_ns() // 1_000_000 - parse_duration(older_than)
    with closing(open_store(store, create=False, trusted=trusted)) as log:
        if not isinstance(log, Compactable):
            raise ConfigError(
                f"a store of the class {type(log).__name__} cannot delete old events; add the method `compact` of "
                "`reprise.server.Compactable` to it"
            )
        with step_reporter(None, "compact") as report:
            for done in log.compact(before_ms, tenant, dry_run):
                report(f"{done.events:,} events", done.share)
        of = "" if tenant is None else f" of tenant {tenant}"
        result = "would be deleted" if dry_run else "deleted"
        typer.echo(
            f"{done.events:,} events of {done.users:,} users{of} before {format_time(before_ms)} UTC {result}"
        )
        if vacuum and not dry_run:
            typer.echo(log.vacuum())
