"""`reprise key`: an API key for a server."""

from pathlib import Path
from typing import Annotated

import typer

EXAMPLE = "reprise key shop-front --scope ingest --scope recommend --file keys.toml"


def key(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the key is for.")],
    file: Annotated[
        Path, typer.Option(metavar="FILE", help="The file of keys, which is made or added to.")
    ] = Path("keys.toml"),
    scope: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ingest|recommend|admin",
            help="What it may do; repeat for several.",
            show_default="ingest, recommend",
        ),
    ] = None,
    tenant: Annotated[
        str, typer.Option(metavar="NAME", help="Whose users and events; tenants do not see each other.")
    ] = "default",
) -> None:
    """Make an API key for `serve` and print it. The file holds its hash only, so it cannot be shown again."""
    from reprise.server.http.auth import add_key

    secret = add_key(file, name, tenant, scope or ["ingest", "recommend"])
    typer.echo(secret)
    typer.echo(
        f"added {name} to {file}; send the key above as the header X-API-Key, it is not stored", err=True
    )
