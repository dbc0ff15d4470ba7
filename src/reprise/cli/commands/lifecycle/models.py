"""`reprise models`: publish, list, promote, roll back and remove the versions of a model."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from reprise.cli.shared_options import Verify
from reprise.errors import ConfigError

if TYPE_CHECKING:
    from reprise.model_store.model_store import ModelStore
    from reprise.model_store.model_version import ModelVersion

EXAMPLE = "reprise models publish shop-models shop.model --promote"
MEGABYTE = 2**20
TAKES = {"publish": "MODEL", "promote": "VERSION"}
"""Name of the third argument of the actions that take one."""


def models(
    action: Annotated[
        Literal["list", "publish", "promote", "rollback", "gc"],
        typer.Argument(
            metavar="list|publish|promote|rollback|gc",
            help="list: show the versions. publish: add a model. promote: make a version the current one. rollback: make the "
            "version current that was current before. gc: remove old versions.",
        ),
    ],
    store: Annotated[Path, typer.Argument(metavar="STORE", help="Directory of the model store.")],
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL|VERSION",
            help="Directory of the model to publish, or number of the version to promote.",
            show_default=False,
        ),
    ] = None,
    note: Annotated[
        str, typer.Option(metavar="TEXT", help="Text to store with a published version.", show_default="none")
    ] = "",
    promote: Annotated[
        bool, typer.Option("--promote", help="Make a published version the current one.")
    ] = False,
    keep: Annotated[
        int, typer.Option(metavar="N", min=1, help="Number of newest versions that gc keeps.")
    ] = 5,
    min_age: Annotated[
        str, typer.Option(metavar="TIME", help="Age that a version must have for gc, such as 2h or 7d.")
    ] = "1h",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what gc would remove.")] = False,
    verify: Verify = None,
) -> None:
    """Manage a directory with versions of a model. Servers that serve the directory follow its current version."""
    from reprise.model_store.model_store import ModelStore

    opened = ModelStore(store)
    if action != "publish" and not opened.exists:
        raise ConfigError(f"{store} does not exist; make it with `reprise models publish {store} MODEL`")
    if (what is None) != (action not in TAKES):
        needed = TAKES.get(action)
        raise ConfigError(
            f"`reprise models {action}` needs {needed} after the store" if needed
            else f"`reprise models {action}` takes no third argument, got {what!r}"
        )  # fmt: skip
    if action == "list":
        _show(opened)
    elif action == "publish":
        version = opened.publish(str(what), note, promote=promote, verify=verify)
        typer.echo(f"published version {version.name}{', which is current now' if promote else ''}")
        if not promote:
            typer.echo(f"to make it current: reprise models promote {store} {version.name}")
    elif action == "gc":
        _remove(opened, keep, min_age, dry_run)
    else:
        version = opened.promote(str(what)) if action == "promote" else opened.rollback()
        typer.echo(f"version {version.name} is current")


def _show(store: "ModelStore") -> None:
    from reprise.cli.console import show_table

    current, earlier = store.current(), store.earlier()
    rows = [
        [version.name, _role(version, current, earlier), f"{version.published:%Y-%m-%d %H:%M:%S}",
         round(version.bytes / MEGABYTE, 1), version.note]
        for version in store.versions()
    ]  # fmt: skip
    if not rows:
        typer.echo(f"{store.path} has no versions")
        return
    show_table(str(store.path), ["version", "state", "published (UTC)", "MB", "note"], rows)


def _role(version: "ModelVersion", current: "ModelVersion | None", earlier: list[str]) -> str:
    if current is not None and version.name == current.name:
        return "current"
    return "before it" if earlier and version.name == earlier[0] else ""


def _remove(store: "ModelStore", keep: int, min_age: str, dry_run: bool) -> None:
    from datetime import timedelta

    from reprise.data.timestamps import parse_duration

    removed = store.gc(keep, timedelta(milliseconds=parse_duration(min_age)), dry_run)
    done = "would remove" if dry_run else "removed"
    typer.echo(f"{done} {', '.join(version.name for version in removed)}" if removed else "nothing to remove")
