"""`reprise forget`: everything of some users, out of the event log of a server."""

from typing import Annotated

import typer

EXAMPLE = "reprise forget anna --store sqlite:///events.db"


def forget(
    users: Annotated[list[str], typer.Argument(metavar="USER...", help="Whom to forget, by id.")],
    store: Annotated[
        str, typer.Option(metavar="URL", help="The log of events, as for `serve`; servers may be using it.")
    ],
    tenant: Annotated[str, typer.Option(metavar="NAME", help="Whose users.")] = "default",
    scrub: Annotated[
        bool,
        typer.Option(
            "--scrub",
            help="Write the tables anew afterwards: no byte of a deleted row is left. Others wait meanwhile.",
        ),
    ] = False,
) -> None:
    """Remove everything of users from an event log, as `DELETE /v1/users/ID` does; servers that share the log follow."""
    from contextlib import closing

    from reprise.server.store.event_store import open_store
    from reprise.server.store.records import User

    with closing(open_store(store, create=False)) as log:
        for user_id in users:
            user = User(tenant, user_id)
            count = log.forget(user)
            typer.echo(f"{user_id}: {count:,} events removed; {log.prove_forgotten(user)}")
        if scrub:
            typer.echo(log.scrub())
