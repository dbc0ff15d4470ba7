"""`reprise forget`: delete all data of users from the event store of a server."""

from typing import Annotated

import typer

from reprise.cli.shared_options import TrustedStore

EXAMPLE = "reprise forget anna --store sqlite:///events.db"


def forget(
    users: Annotated[list[str], typer.Argument(metavar="USER...", help="Ids of the users to delete.")],
    store: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS", help="The event store, as for `reprise serve`. Servers may be using it."
        ),
    ],
    tenant: Annotated[str, typer.Option(metavar="NAME", help="Tenant of the users.")] = "default",
    vacuum: Annotated[
        bool,
        typer.Option(
            "--vacuum",
            help="Rewrite the tables afterwards, so that no bytes of deleted rows remain. This may block servers.",
        ),
    ] = False,
    trusted: TrustedStore = False,
) -> None:
    """Delete all data of users, as `DELETE /v1/users/ID` does. Servers that share the store drop their cached states."""
    from contextlib import closing

    from reprise.server.store.opening import open_store
    from reprise.server.store.records import User

    with closing(open_store(store, create=False, trusted=trusted)) as log:
        for user_id in users:
            user = User(tenant, user_id)
            count = log.delete_user(user)
            typer.echo(f"{user_id}: {count:,} events deleted; {log.verify_erasure(user)}")
        if vacuum:
            typer.echo(log.vacuum())
