"""`reprise serve`: a model over HTTP, with a log of events that moves its answers."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from reprise.errors import ArtefactError

EXAMPLE = "reprise serve shop.model --store sqlite:///events.db --port 8000"
MEGABYTE = 2**20


def serve(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="What `export` wrote.")],
    store: Annotated[
        str,
        typer.Option(
            metavar="URL", help="The log of events: sqlite:///FILE or postgresql://USER@HOST/DATABASE."
        ),
    ] = "sqlite:///events.db",
    host: Annotated[
        str, typer.Option(metavar="HOST", help="Where to listen; beyond this machine only with --keys.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="N", min=1, max=65535, help="On which port.")] = 8000,
    keys: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="API keys, as `reprise key` writes them.", show_default="none"),
    ] = None,
    state_memory: Annotated[
        int, typer.Option(metavar="MB", min=1, help="Memory for the states of users.")
    ] = 256,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Log what goes wrong only, not each request.")
    ] = False,
) -> None:
    """Serve a saved model: events in, recommendations out, a page to try it at /. Needs no torch."""
    from reprise.server import process
    from reprise.server.settings import Settings

    if (model / "run.json").exists():
        raise ArtefactError(
            f"{model} is a run; write its model with `reprise export {model} --out MODEL` and serve that"
        )
    place = process.ListenSettings(host, port, keys)
    settings = Settings(state_bytes=state_memory * MEGABYTE)
    process.serve(model, store, place, settings, logging.WARNING if quiet else logging.INFO)
