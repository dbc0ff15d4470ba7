"""The command `reprise`: its verbs, and how it tells a person what went wrong."""

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

VERBS = (prepare, describe, train, tune, evaluate, recommend, export, serve, key, forget, demo)
"""One module each: a function of the same name, and EXAMPLE, a command that can be typed."""
RESUMED = ("prepare", "train", "tune", "demo")
"""Verbs that go on from where they were when the same command is typed again."""
USER_ERROR = 2
INTERRUPTED = 130


class Verbs(TyperGroup):
    """The verbs, with the errors of a user as one message instead of a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the verb that was typed."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except RepriseError as error:
            _complain(str(error))
            raise typer.Exit(USER_ERROR) from None
        except BrokenPipeError:
            raise  # whoever read has read enough: typer ends the command in silence
        except OSError as error:
            _complain(f"{error.strerror}: {error.filename}" if error.filename else str(error))
            _give_up_output()
            raise typer.Exit(USER_ERROR) from None
        except KeyboardInterrupt:
            resumed = ctx.invoked_subcommand in RESUMED
            _complain("stopped" + ("; type the same command again to go on" if resumed else ""))
            raise typer.Exit(INTERRUPTED) from None


def _complain(message: str) -> None:
    typer.secho(f"reprise: {message}", err=True, fg=typer.colors.RED)


def _give_up_output() -> None:
    """What standard output did not take would be tried once more when Python ends, and fail with a traceback."""
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
    cls=Verbs,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    epilog="Begin with `reprise demo`, or with your own log: `reprise prepare EVENTS --out data/shop`.",
)


@app.callback()
def reprise(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Recurrent recommendation: from an event log to next-item answers, trained and honestly measured."""


for verb in VERBS:
    name = verb.__name__.rpartition(".")[2]
    app.command(name, epilog=f"Example: {verb.EXAMPLE}")(getattr(verb, name))


def main() -> None:
    """Run the command line."""
    app(prog_name="reprise")
