"""`reprise serve`: serve a model over HTTP, with recommendations that follow the recorded events."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from reprise.cli.shared_options import TrustedStore
from reprise.errors import ArtefactError

EXAMPLE = "reprise serve shop.model --store sqlite:///events.db --port 8000"
MEGABYTE = 2**20


def serve(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="Directory of a model, written by `reprise export`.")
    ],
    store: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help="The event store: sqlite:///FILE, postgresql://USER@HOST/DATABASE, or, with --trusted, a class of your own: "
            "module:Class or module:Class:ADDRESS.",
        ),
    ] = "sqlite:///events.db",
    host: Annotated[
        str,
        typer.Option(
            metavar="HOST",
            help="Address to listen on. Any other than an address of this machine needs --keys.",
        ),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="N", min=1, max=65535, help="Port to listen on.")] = 8000,
    keys: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="File of accepted API keys, written by `reprise key`.", show_default="none"
        ),
    ] = None,
    state_memory: Annotated[
        int, typer.Option(metavar="MB", min=1, help="Memory for the cached states of users.")
    ] = 256,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Log warnings and errors only, not each request.")
    ] = False,
    trusted: TrustedStore = False,
) -> None:
    """Serve a saved model over HTTP: record events, return recommendations, and show a demo page at /. Needs no torch."""
    from reprise.server import process
    from reprise.server.settings import Settings

    if (model / "run.json").exists():
        raise ArtefactError(
            f"{model} is a training run, not a model; export it with `reprise export {model} --out MODEL` and serve MODEL"
        )
    listen = process.ListenSettings(host, port, keys)
    settings = Settings(max_state_bytes=state_memory * MEGABYTE)
    level = logging.WARNING if quiet else logging.INFO
    process.serve(model, store, listen, settings, level, trusted=trusted)
