"""`reprise signing-key`: make the pair of keys that signs models and verifies signatures."""

from pathlib import Path
from typing import Annotated

import typer

EXAMPLE = "reprise signing-key release.pem"


def signing_key(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="File to write the private key to; the public key is written to FILE.pub."
        ),
    ],
) -> None:
    """Make a pair of Ed25519 keys: one signs models, the other verifies them. Only the owner can read the private key."""
    from reprise.cli.console import show_next
    from reprise.recommender.artefact.signature import make_key_pair

    public = make_key_pair(file)
    typer.echo(f"wrote the private key {file}, without a password: keep it off the machines that serve")
    typer.echo(f"wrote the public key {public.path}, {public.fingerprint}")
    show_next(
        ("reprise", "export", "RUN", "--out", "MODEL", "--sign", file),
        ("reprise", "serve", "MODEL", "--verify", public.path),
    )
