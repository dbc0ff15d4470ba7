"""The `reprise` command: its subcommands, and the messages for errors and interruptions."""

import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from reprise.cli.commands import (
    demo,
    describe,
    evaluate,
    export,
    forget,
    key,
    prepare,
    recommend,
    serve,
    train,
    tune,
)
from reprise.errors import RepriseError

COMMANDS = (prepare, describe, train, tune, evaluate, recommend, export, serve, key, forget, demo)
"""One module per command; each holds a function of the same name, and EXAMPLE, a complete command line."""
RESUMABLE = ("prepare", "train", "tune", "demo")
"""Commands that continue an interrupted run when the same command is run again."""
USER_ERROR = 2
"""Exit code for errors that a user can correct."""
INTERRUPTED = 130
"""Exit code after Ctrl-C."""


class CommandGroup(TyperGroup):
    """A group of commands that prints errors of a user as one message instead of a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the subcommand of the command line."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except RepriseError as error:
            _print_error(str(error))
            raise typer.Exit(USER_ERROR) from None
        except BrokenPipeError:
            raise  # the reader, such as `head`, has closed the pipe; typer then exits without a message
        except OSError as error:
            _print_error(f"{error.strerror}: {error.filename}" if error.filename else str(error))
            _discard_output()
            raise typer.Exit(USER_ERROR) from None
        except KeyboardInterrupt:
            resumable = ctx.invoked_subcommand in RESUMABLE
            _print_error("stopped" + ("; run the same command again to continue" if resumable else ""))
            raise typer.Exit(INTERRUPTED) from None


def _print_error(message: str) -> None:
    typer.secho(f"reprise: {message}", err=True, fg=typer.colors.RED)


def _discard_output() -> None:
    """Redirect stdout to the null device if it cannot be flushed.

    Python flushes stdout again when it exits, and would print a traceback if that failed.
    """
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _show_version(wanted: bool) -> None:
    if wanted:
        import reprise

        typer.echo(f"reprise {reprise.__version__}")
        raise typer.Exit


app = typer.Typer(
    name="reprise",
    cls=CommandGroup,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",  # the default mode would drop the brackets of "[model]" from the help
    pretty_exceptions_enable=False,
    epilog="Start with `reprise demo`, or with your own event log: `reprise prepare EVENTS --out data/shop`.",
)


@app.callback()
def reprise(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Train, evaluate and serve recurrent recommendation models on event logs."""


for command in COMMANDS:
    name = command.__name__.rpartition(".")[2]
    app.command(name, epilog=f"Example: {command.EXAMPLE}")(getattr(command, name))


def main() -> None:
    """Run the command line."""
    app(prog_name="reprise")
