"""Command-line options that several commands share."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from reprise.atomic_files import resolved, writing
from reprise.errors import ConfigError

FOUND_BY_NAME = "detected by name"
"""Default that the help shows for column options."""

DatasetDirectory = Annotated[
    Path, typer.Argument(metavar="DATASET", help="Dataset directory written by `prepare`.")
]
DatasetOption = Annotated[
    Path | None,
    typer.Option(
        "--dataset",
        metavar="DIR",
        help="Dataset directory, if it was moved after training or no run is given.",
    ),
]
Trusted = Annotated[
    bool,
    typer.Option(
        "--trusted",
        help="Allow recipes and runs to import classes outside reprise, which runs their code.",
    ),
]
TrustedStore = Annotated[
    bool,
    typer.Option(
        "--trusted", help="Allow --store to import a class from outside reprise, which runs its code."
    ),
]
Verify = Annotated[
    Path | None,
    typer.Option(
        "--verify",
        metavar="PUBLICKEY",
        help="Accept only a model that the private key of this public key signed (`reprise export --sign`).",
        show_default="models need no signature",
    ),
]

Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a field of the recipe; repeatable."),
]
Accelerator = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Accelerator: cpu, cuda, mps or auto.", show_default="auto"),
]
EngineName = Annotated[
    Literal["duckdb", "spark"] | None,
    typer.Option(
        "--engine", metavar="duckdb|spark", help="Program that computes the tables.", show_default="duckdb"
    ),
]
Master = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Where tasks of Spark run, such as local[2], spark://host:7077, yarn or k8s://...",
        show_default="that of Spark's configuration, or local[*]",
    ),
]

ModelPath = Annotated[
    Path, typer.Argument(metavar="RUN|MODEL", help="A directory that `train` or `export` wrote.")
]
HistoryPaths = Annotated[
    list[str],
    typer.Argument(metavar="HISTORIES", help="Files with the events of each user, as for `prepare`."),
]
HistoryKey = Annotated[
    Literal["user", "session"] | None,
    typer.Option(
        "--sequence-by",
        metavar="user|session",
        help="Key of a history, as for `prepare`. Session ids are written to user_id too.",
        show_default="as in the log of the model",
    ),
]
RequestTime = Annotated[
    str | None,
    typer.Option(
        "--now",
        metavar="TIME",
        help="Time of the request: ISO, or seconds or milliseconds since 1970; not before any event.",
        show_default="not known",
    ),
]

UserColumn = Annotated[
    str | None, typer.Option(metavar="C", help="Column of user ids.", show_default=FOUND_BY_NAME)
]
ItemColumn = Annotated[
    str | None, typer.Option(metavar="C", help="Column of item ids.", show_default=FOUND_BY_NAME)
]
TimeColumn = Annotated[
    str | None,
    typer.Option(
        metavar="C",
        help="Column of timestamps: seconds or milliseconds since 1970, or ISO 8601.",
        show_default=FOUND_BY_NAME,
    ),
]
SessionColumn = Annotated[
    str | None, typer.Option(metavar="C", help="Column of session ids.", show_default=FOUND_BY_NAME)
]
KindColumn = Annotated[
    str | None,
    typer.Option(
        metavar="C", help="Column of event kinds, such as view or purchase.", show_default=FOUND_BY_NAME
    ),
]
ValueColumn = Annotated[
    str | None,
    typer.Option(
        metavar="C",
        help="Column with a number for each event, such as a price or rating.",
        show_default=FOUND_BY_NAME,
    ),
]
Delimiter = Annotated[
    str | None,
    typer.Option(
        metavar="C",
        help="Separator of the values in text files, such as ';' or 'tab'.",
        show_default="detected: comma, tab, ;, | or ::",
    ),
]
TimeZone = Annotated[
    str | None,
    typer.Option("--tz", metavar="ZONE", help="Time zone of timestamps without one, such as Europe/Berlin."),
]
TimeUnitOption = Annotated[
    Literal["s", "ms", "us", "ns"] | None,
    typer.Option(
        "--time-unit",
        metavar="s|ms|us|ns",
        help="Unit of timestamps that are numbers since 1970.",
        show_default="detected from all rows",
    ),
]
Forget = Annotated[
    str | None,
    typer.Option(
        "--forget",
        metavar="STORE|FILE",
        help="Erased users: the address of an event store with their queue, or a text file with one user id a line.",
    ),
]
ForgetTenant = Annotated[
    str | None,
    typer.Option("--tenant", metavar="NAME", help="Tenant of the users of --forget.", show_default="default"),
]
TrustedForget = Annotated[
    bool,
    typer.Option(
        "--trusted", help="Allow --forget to import a store class from outside reprise, which runs its code."
    ),
]


def check_output_file(file: Path | None, inputs: Iterable[str | Path] = ()) -> None:
    """Check that a file can be written, before the work whose result it will hold.

    Args:
        file: The file; None: nothing is written.
        inputs: Files that the command reads, which the output would replace.

    Raises:
        ConfigError: The directory of the file does not exist, the path is a directory, or the file is an input.
        ArtefactError: Links form a loop.
    """
    if file is None:
        return
    if not file.parent.is_dir():
        if file.parent.exists():
            raise ConfigError(f"cannot write {file}: {file.parent} is not a directory; name another file")
        raise ConfigError(f"cannot write {file}: directory {file.parent} does not exist; create it first")
    if file.is_dir():
        raise ConfigError(f"cannot write {file}: it is a directory; name a file")
    with writing(file):
        resolved(file)
    if file.is_file() and any(Path(other).exists() and file.samefile(other) for other in inputs):
        raise ConfigError(f"cannot write {file}: the command reads this file; name another file")


def drop_unset(**options: Any) -> dict[str, Any]:
    """Return the options that are not None, so that the others keep the defaults of the called function."""
    return {name: value for name, value in options.items() if value is not None}
