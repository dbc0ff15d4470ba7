"""`reprise forget`: delete all data of users from the event store of a server."""

from typing import TYPE_CHECKING, Annotated

import typer

from reprise.cli.forget_option import queue_of
from reprise.cli.shared_options import TrustedStore
from reprise.errors import ConfigError

if TYPE_CHECKING:
    from reprise.server.store.event_store import EventStore

EXAMPLE = "reprise forget anna --store sqlite:///events.db"


def forget(
    store: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS", help="The event store, as for `reprise serve`. Servers may be using it."
        ),
    ],
    users: Annotated[
        list[str] | None, typer.Argument(metavar="[USER...]", help="Ids of the users to delete.")
    ] = None,
    tenant: Annotated[str, typer.Option(metavar="NAME", help="Tenant of the users.")] = "default",
    purge_before: Annotated[
        str | None,
        typer.Option(
            metavar="DATE",
            help="Remove users deleted before this date from the queue of erased users. Do so when no log has their events.",
        ),
    ] = None,
    vacuum: Annotated[
        bool,
        typer.Option(
            "--vacuum",
            help="Rewrite the tables afterwards, so that no bytes of deleted rows remain. This may block servers.",
        ),
    ] = False,
    trusted: TrustedStore = False,
) -> None:
    """Delete all data of users, as `DELETE /v1/users/ID` does. Servers that share the store drop their cached states.

    The users are added to the queue of erased users, which `reprise prepare LOG --forget ADDRESS` leaves out.
    """
    from contextlib import closing

    from reprise.data.timestamps import parse_timestamp
    from reprise.server.store.event_store import KeepsErasures
    from reprise.server.store.opening import open_store
    from reprise.server.store.records import User

    if not users and purge_before is None:
        raise ConfigError("no user to delete; name the ids of users, or a date with --purge-before")
    purge_ms = None if purge_before is None else parse_timestamp(purge_before)
    with closing(open_store(store, create=False, trusted=trusted)) as log:
        if purge_ms is not None:
            queue_of(log)
        for user_id in users or []:
            user = User(tenant, user_id)
            count = log.delete_user(user)
            typer.echo(f"{user_id}: {count:,} events deleted; {log.verify_erasure(user)}")
        if users and not isinstance(log, KeepsErasures):
            typer.secho(
                f"note: a store of the class {type(log).__name__} has no queue of erased users; leave them out of the next "
                "training with a text file of their ids (`reprise prepare LOG --forget FILE`)",
                err=True,
                fg=typer.colors.YELLOW,
            )
        if purge_ms is not None:
            _purge(log, purge_ms, tenant)
        if vacuum:
            typer.echo(log.vacuum())


def _purge(log: "EventStore", before_ms: int, tenant: str) -> None:
    from reprise.data.timestamps import format_time

    queue = queue_of(log)
    removed = queue.purge_erased(before_ms, tenant)
    left = len(queue.erased_users(tenant))
    typer.echo(
        f"{removed:,} users deleted before {format_time(before_ms)} UTC removed from the queue of erased users; {left:,} left"
    )
