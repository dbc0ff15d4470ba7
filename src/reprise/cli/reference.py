"""The page `docs/cli.md`, made from the verbs themselves: `python -m reprise.cli.reference > docs/cli.md`."""

from collections.abc import Iterator
from typing import Any

from typer.main import get_command

from reprise.cli.main import VERBS, app

HEAD = """# The command line

Made by `python -m reprise.cli.reference > docs/cli.md`; `reprise VERB --help` says the same. What a user can get
wrong ends with one message and exit code 2; Ctrl-C ends with 130 and says whether the same command goes on from there.
`python -m reprise` is the same command.
"""


def page() -> str:
    """The whole page."""
    commands = get_command(app).commands  # type: ignore[attr-defined]
    sections = [HEAD]
    for verb in VERBS:
        name = verb.__name__.rpartition(".")[2]
        sections.append("\n".join(_section(name, commands[name], verb.EXAMPLE)))
    return "\n".join(sections)


def _section(name: str, command: Any, example: str) -> Iterator[str]:
    arguments = [param for param in command.params if param.param_type_name == "argument"]
    options = [param for param in command.params if param.param_type_name == "option"]
    yield f"## {name}\n"
    yield f"{command.help}\n"
    yield f"```\n{example}\n```\n"
    yield "| | |\n|---|---|"
    for param in arguments:
        yield _row(f"{param.metavar}{' ...' if param.nargs == -1 else ''}", param)
    for param in options:
        yield _row(" ".join([*param.opts, param.metavar or ""]).strip(), param)
    yield ""


def _row(words: str, param: Any) -> str:
    facts = []
    if param.required:
        facts.append("required")
    elif isinstance(param.show_default, str):
        facts.append(f"default: {param.show_default}")
    elif param.default not in (None, False, "") and param.show_default:
        facts.append(f"default: {param.default}")
    text = param.help + (f" ({', '.join(facts)})" if facts else "")
    escaped = words.replace("|", "\\|")  # a bar ends a cell of a table, even within code
    return f"| `{escaped}` | {text} |"


if __name__ == "__main__":
    print(page(), end="")
