"""`reprise serve-encrypted`: serve the scores of a model for queries that the server cannot read."""

from pathlib import Path
from typing import Annotated

import typer

EXAMPLE = "reprise serve-encrypted shop.model --port 8010"


def serve_encrypted(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="Directory of a model, written by `reprise export`.")
    ],
    host: Annotated[str, typer.Option(metavar="HOST", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="N", min=1, max=65535, help="Port to listen on.")] = 8010,
) -> None:
    """Serve encrypted scores of a model: clients encrypt their queries and decrypt the scores. Needs no torch."""
    from reprise.privacy.encrypted import scoring_process
    from reprise.privacy.encrypted.blind_scorer import BlindScorer

    def show(scorer: BlindScorer) -> None:
        typer.echo(
            f"serving encrypted scores of {scorer.items:,} items of width {scorer.width} at http://{host}:{port}"
        )

    scoring_process.serve_encrypted(model, host, port, show)
