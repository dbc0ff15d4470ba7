"""Terminal output of the commands: facts, tables and follow-up commands on stdout, warnings on stderr."""

import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import typer

from reprise.errors import command_line

WARNINGS = "warnings"
"""Name of the fact that holds warnings."""
OMITTED = (WARNINGS, "leaks")
"""Facts that the table omits: warnings follow the table as sentences, and include the leaks."""
PLAIN_WIDTH = 120
"""Width of a table in columns if stdout is not a terminal."""


def console() -> Any:
    """Return a rich console on stdout that is wide enough for tables."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH, highlight=False)


def show_table(title: str, headers: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table with numbers aligned to the right."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    rows = [list(row) for row in rows]
    table = Table(title=escape(title), title_justify="left", box=box.SIMPLE_HEAD)
    for place, header in enumerate(headers):
        numeric = all(isinstance(row[place], (int, float)) for row in rows)
        table.add_column(header, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(escape(_format(cell)) for cell in row))
    console().print(table)


def show_facts(facts: Mapping[str, Any]) -> None:
    """Print facts as a table, with nested names joined by colons, and then their warnings as sentences."""
    show_table("", ["fact", "value"], [[name, _format(value)] for name, value in _flatten(facts)])
    for warning in facts.get(WARNINGS, []):
        typer.secho(f"note: {warning}", err=True, fg=typer.colors.YELLOW)


def show_dataset(description: Mapping[str, Any]) -> None:
    """Print a short summary of a dataset: its size, its parts, and the events that were dropped.

    Args:
        description: What `reprise.data.description.describe` returned; `item_columns` has a line for each item column.
    """
    items, times = description["items"], description["times"]
    cold = f", {items['cold']:,} cold (not in training)" if items["cold"] else ""
    known = description["facts"]
    dropped = {name: count for name, count in known.get("dropped", {}).items() if count}
    show_facts(
        {
            "sequences": description["sequences"],
            "rows read": known.get("rows_read"),
            "events": description["events"],
            "items": f"{items['warm']:,}{cold}",
            "from": times["first"],
            "to": times["last"],
            **{part: _targets(found) for part, found in description["parts"].items()},
            "erased": {name: fact for name, fact in known.get("erased", {}).items() if name != "queue"},
            "consent": known.get("consent", {}),
            "dropped": dropped,
            **({"users dropped": known["users_dropped"]} if "users_dropped" in known else {}),
            "item_columns": description.get("item_columns", {}),
            "warnings": description["warnings"],
        }
    )


def _targets(part: Mapping[str, Any]) -> str:
    cold = f" ({part['cold_target_share']:.1%} cold)" if part["cold_target_share"] else ""
    return f"{part['events']:,} events, {part['targets']:,} targets{cold}"


def show_next(*commands: Sequence[object]) -> None:
    """Print commands that a user may want to run next, each given as its words."""
    typer.echo("next:")
    for words in commands:
        typer.echo(f"  {runnable(*words)}")


def runnable(*words: object) -> str:
    """Return a command line that works in this shell.

    If `reprise` is not on the search path, its name is replaced by what this process was started with.
    """
    program, *arguments = words
    if program != "reprise" or shutil.which("reprise"):
        return command_line(*words)
    started, here = Path(sys.argv[0]), Path.cwd()
    if started.name == "__main__.py":
        return command_line(sys.executable, "-m", "reprise", *arguments)
    if started.stem != "reprise":
        return command_line(*words)
    path = started.relative_to(here) if started.is_relative_to(here) else started
    # a shell looks for a name without a directory on the search path only
    return command_line(path if len(path.parts) > 1 else f"./{path}", *arguments)


def unused(path: Path) -> Path:
    """Return the path, or the first of PATH-2, PATH-3, ... that does not exist yet."""
    names = (path if number == 1 else path.with_name(f"{path.name}-{number}") for number in count(1))
    return next(name for name in names if not name.exists())


def _flatten(facts: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Yield (name, value) of all facts that have a value; timestamps in milliseconds become ISO 8601."""
    for name, value in facts.items():
        path = f"{prefix}{name.removesuffix('_ms')}".replace("_", " ")
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{path}: ")
        elif name.endswith("_ms") and isinstance(value, int):
            yield path, datetime.fromtimestamp(value / 1000, UTC).isoformat(" ", "seconds")
        elif value is not None and value != [] and name not in OMITTED:
            yield path, value


def _format(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.4g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(_format(item) for item in value)
    return str(value)
