"""`reprise pseudonymise`: copy a log with pseudonyms in place of ids."""

import warnings
from pathlib import Path
from typing import Annotated

import typer

from reprise.cli.shared_options import Delimiter, check_output_file

EXAMPLE = (
    "reprise pseudonymise clicks.csv --key pseudonyms.key --columns user_id,session_id --out clicks.parquet"
)


def pseudonymise(
    log: Annotated[
        list[str],
        typer.Argument(
            metavar="LOG",
            help="Event files (Parquet, CSV, TSV or JSON lines), or quoted globs, as for `prepare`.",
        ),
    ],
    key: Annotated[Path, typer.Option(metavar="FILE", help="Key file. Keep it apart from the log.")],
    columns: Annotated[
        str,
        typer.Option(
            metavar="C,...",
            help="Columns of ids to replace. buyer=user_id gives the column buyer the pseudonyms of user_id.",
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="FILE", help="File to write: .parquet or .csv.")],
    new_key: Annotated[
        bool,
        typer.Option(
            "--new-key", help="Create the key file, with a new random key that only its owner can read."
        ),
    ] = False,
    delimiter: Delimiter = None,
) -> None:
    """Copy a log with pseudonyms in place of ids. One key gives one id the same pseudonym in every log and every run."""
    from reprise.data.io.sources import open_source
    from reprise.privacy import PseudonymKey
    from reprise.privacy import pseudonymise as pseudonymise_log

    check_output_file(out, [*log, key])
    source = open_source(log, delimiter)  # before the key, which is not made for a log that is not there
    if new_key:
        PseudonymKey.create(key)
        typer.echo(
            f"wrote a new key to {key}; who has it can undo the pseudonyms, and without it no log can be added",
            err=True,
        )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        made = PseudonymKey.read(key)
    for warning in caught:
        typer.secho(f"note: {warning.message}", err=True, fg=typer.colors.YELLOW)
    done = pseudonymise_log(source, out, key=made, columns=[one.strip() for one in columns.split(",")])
    typer.echo(f"wrote {out}: {done.rows:,} rows, pseudonyms of the key {made.name}")
    for name, domain in done.domains.items():
        typer.echo(f"  {name}: pseudonyms of the domain {domain}")
    if done.unchanged:
        typer.echo(f"copied as they are: {', '.join(done.unchanged)}")
