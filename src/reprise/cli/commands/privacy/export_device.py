"""`reprise export-device`: save a model as a folder for the devices of users."""

from pathlib import Path
from typing import Annotated, Literal

import typer

EXAMPLE = "reprise export-device shop.model --out shop.device --precision float16"


def export_device(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="Directory of a model, written by `reprise export`.")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Directory to write the folder to.")],
    scoring: Annotated[
        Literal["device", "server"],
        typer.Option(
            help="Where scores are computed. device: the folder has the output vectors. server: it has not, because "
            "`reprise serve-encrypted` computes encrypted scores."
        ),
    ] = "device",
    precision: Annotated[
        Literal["float32", "float16"],
        typer.Option(help="Type of the numbers of the vectors; float16 halves the size."),
    ] = "float32",
) -> None:
    """Save a model for devices: graphs, vectors, ids, and a client in one file that needs numpy and onnxruntime only."""
    from reprise.privacy.device import device_export

    written = device_export.export_device(model, out, scoring=scoring, precision=precision)
    typer.echo(f"wrote {out}: {sum(written.file_bytes.values()):,} bytes")
    for name, size in sorted(written.file_bytes.items(), key=lambda entry: -entry[1]):
        typer.echo(f"  {name} {size:,}")
    if scoring == "server" and written.has_output_vectors:
        typer.secho(
            "note: the output vectors of this model follow from its input vectors, so a client with the folder can compute "
            "scores without a server",
            err=True,
            fg=typer.colors.YELLOW,
        )
