"""What the verbs print: facts, tables, and the next command to type. Answers go to stdout, remarks to stderr."""

import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import typer

WARNINGS = "warnings"
TOLD_APART = (WARNINGS, "leaks")
"""Facts that a table leaves out: warnings are sentences after it, and leaks are among them."""
PLAIN_WIDTH = 120
"""Columns of a table that is not shown on a terminal."""


def console() -> Any:
    """A rich console on stdout, wide enough for tables where there is no terminal."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH, highlight=False)


def show_table(title: str, heads: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table with straight columns; numbers to the right."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    rows = [list(row) for row in rows]
    table = Table(title=escape(title), title_justify="left", box=box.SIMPLE_HEAD)
    for place, head in enumerate(heads):
        numeric = all(isinstance(row[place], (int, float)) for row in rows)
        table.add_column(head, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(escape(_text(cell)) for cell in row))
    console().print(table)


def show_facts(facts: Mapping[str, Any]) -> None:
    """Facts by name, nested ones with dotted names, and the warnings after them as sentences."""
    show_table("", ["fact", "value"], [[name, _text(value)] for name, value in _flat(facts)])
    for warning in facts.get(WARNINGS, []):
        typer.secho(f"note: {warning}", err=True, fg=typer.colors.YELLOW)


def show_dataset(described: Mapping[str, Any]) -> None:
    """The short form of what `describe` says: what is in a dataset, how it was cut, what was dropped."""
    items, times = described["items"], described["times"]
    cold = f", {items['cold']:,} cold (not in training)" if items["cold"] else ""
    dropped = {name: count for name, count in described["facts"].get("dropped", {}).items() if count}
    show_facts(
        {
            "sequences": described["sequences"],
            "events": described["events"],
            "items": f"{items['warm']:,}{cold}",
            "from": times["first"],
            "to": times["last"],
            **{part: _targets(found) for part, found in described["parts"].items()},
            "dropped": dropped,
            "warnings": described["warnings"],
        }
    )


def _targets(part: Mapping[str, Any]) -> str:
    cold = f" ({part['cold_target_share']:.1%} cold)" if part["cold_target_share"] else ""
    return f"{part['events']:,} events, {part['targets']:,} targets{cold}"


def show_next(*commands: str) -> None:
    """The commands a person may want to type next."""
    typer.echo("next:")
    for command in commands:
        typer.echo(f"  {typed(command)}")


def typed(command: str) -> str:
    """How a command is typed here: `reprise` by its place, where it was started by that and the shell does not find it."""
    started, here = Path(sys.argv[0]), Path.cwd()
    if not command.startswith("reprise ") or shutil.which("reprise") or started.name != "reprise":
        return command
    place = started.relative_to(here) if started.is_relative_to(here) else started
    return f"{place}{command.removeprefix('reprise')}"


def _flat(facts: Mapping[str, Any], place: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in facts.items():
        path = f"{place}{name.removesuffix('_ms')}".replace("_", " ")
        if isinstance(value, Mapping):
            yield from _flat(value, f"{path}: ")
        elif name.endswith("_ms") and isinstance(value, int):
            yield path, datetime.fromtimestamp(value / 1000, UTC).isoformat(" ", "seconds")
        elif value is not None and value != [] and name not in TOLD_APART:
            yield path, value


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.4g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(_text(item) for item in value)
    return str(value)
