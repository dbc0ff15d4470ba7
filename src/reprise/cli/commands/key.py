"""`reprise key`: create an API key for a server."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from reprise.errors import ConfigError

EXAMPLE = "reprise key shop-front --scope ingest --scope recommend --file keys.toml"


def key(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Name of the key, for instance the program that uses it.")
    ],
    file: Annotated[
        Path,
        typer.Option(metavar="FILE", help="Key file. The key is added to it; a missing file is created."),
    ] = Path("keys.toml"),
    scope: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ingest|recommend|admin",
            help="Scope of the key; repeat the option for several scopes.",
            show_default="ingest, recommend",
        ),
    ] = None,
    tenant: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="Tenant of the key. A key cannot access users and events of other tenants."
        ),
    ] = "default",
    scores: Annotated[
        Literal["exact", "rounded", "ranks"],
        typer.Option(
            help="Scores and other numbers of the model in answers: exact, rounded to one decimal, or none but the ranks."
        ),
    ] = "exact",
    max_k: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Maximum number of items in an answer.", show_default="1,000"),
    ] = None,
    min_users: Annotated[
        int,
        typer.Option(
            metavar="N", min=0, help="Leave out items that fewer users than this had in the log of the model."
        ),
    ] = 0,
    requests_per_minute: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Maximum number of requests per minute; further ones get status 429.",
            show_default="no maximum",
        ),
    ] = None,
) -> None:
    """Create an API key for `reprise serve` and print it. The file holds only its hash, so it cannot be shown again."""
    from reprise.server.http.answer_limits import AnswerLimits
    from reprise.server.http.auth import add_key

    limits = AnswerLimits(scores, max_k, min_users, requests_per_minute)
    secret = add_key(file, name, tenant, scope or ["ingest", "recommend"], limits)
    try:
        typer.echo(secret)
    except OSError as error:
        raise ConfigError(
            f"cannot print the new key ({error.strerror}), and it is not stored; remove {name!r} from {file} and try again"
        ) from None
    typer.echo(
        f"added {name} to {file}; send the key above in the header X-API-Key and keep it: it is not stored",
        err=True,
    )
