"""Options that several verbs share, so that the same word means the same everywhere."""

from pathlib import Path
from typing import Annotated, Any

import typer

from reprise.errors import ConfigError

DatasetDirectory = Annotated[
    Path, typer.Argument(metavar="DATASET", help="A directory that `prepare` wrote.")
]
MovedDataset = Annotated[
    Path | None,
    typer.Option(
        "--dataset",
        metavar="DIR",
        help="Where the prepared data lies, if it moved since training or there is no run.",
    ),
]
Trusted = Annotated[
    bool,
    typer.Option(
        "--trusted",
        help="Allow specs outside reprise, whose code is then run. A cell named module:Class is imported "
        "as it is named, with or without this.",
    ),
]

Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a field of the recipe; may be repeated."),
]
Accelerator = Annotated[
    str | None, typer.Option(metavar="NAME", help="cpu, cuda, mps, or auto.", show_default="auto")
]

UserColumn = Annotated[
    str | None, typer.Option(metavar="C", help="The column of user ids.", show_default="found by its name")
]
ItemColumn = Annotated[
    str | None, typer.Option(metavar="C", help="The column of item ids.", show_default="found by its name")
]
TimeColumn = Annotated[
    str | None,
    typer.Option(
        metavar="C", help="The column of times: epoch s or ms, or ISO.", show_default="found by its name"
    ),
]
SessionColumn = Annotated[
    str | None, typer.Option(metavar="C", help="The column of session ids.", show_default="found by its name")
]
KindColumn = Annotated[
    str | None,
    typer.Option(
        metavar="C", help="The column of event kinds (view, purchase, ...).", show_default="found by its name"
    ),
]
ValueColumn = Annotated[
    str | None,
    typer.Option(
        metavar="C", help="A number of each event (a price, a rating).", show_default="found by its name"
    ),
]
TimeZone = Annotated[
    str | None,
    typer.Option(
        "--tz", metavar="ZONE", help="The time zone of times that name none, such as Europe/Berlin."
    ),
]


def check_place(file: Path | None) -> None:
    """Raise `ConfigError` where a file cannot be written, before the work whose result it is to hold."""
    if file is not None and not file.parent.is_dir():
        raise ConfigError(f"cannot write {file}: there is no folder {file.parent}; make it first")
    if file is not None and file.is_dir():
        raise ConfigError(f"cannot write {file}: it is a folder; name a file")


def given(**options: Any) -> dict[str, Any]:
    """The options that were typed. The others keep their defaults, which are written down in one place only."""
    return {name: value for name, value in options.items() if value is not None}
