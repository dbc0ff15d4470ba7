"""The `reprise` command: its subcommands, and the messages for errors and interruptions."""

import errno
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from reprise.cli.commands import (
    compact,
    demo,
    describe,
    evaluate,
    export,
    fit_forecast,
    forecast,
    forget,
    key,
    prepare,
    pseudonymise,
    recommend,
    serve,
    train,
    tune,
)
from reprise.cli.commands.lifecycle import drift, feedback, models, retrain
from reprise.cli.commands.privacy import audit, export_device, serve_encrypted, signing_key
from reprise.cli.commands.tools import mcp
from reprise.cli.process_ranks import join_processes, print_error
from reprise.cli.standard_streams import discard_output, flush_output, set_up_streams
from reprise.errors import RepriseError
from reprise.lazy_names import missing_libraries

COMMANDS = (
    pseudonymise, prepare, describe, train, tune, retrain, evaluate, audit, recommend, fit_forecast, forecast, export,
    export_device, models, feedback, drift, serve, mcp, serve_encrypted, key, signing_key, forget, compact, demo,
)  # fmt: skip
"""One module per command; each holds a function of the same name, and EXAMPLE, a complete command line."""
CONTINUES = "; run the same command again to continue"
STARTS_OVER = "; run the same command again to start over"
AFTER_STOP = {
    **dict.fromkeys(("prepare", "train", "tune", "retrain", "audit", "compact", "demo"), CONTINUES),
    **dict.fromkeys(
        ("pseudonymise", "evaluate", "recommend", "fit-forecast", "forecast", "export", "export-device"),
        STARTS_OVER,
    ),
}
"""What a user can do after a command was stopped, by command."""
USER_ERROR = 2
"""Exit status for errors that a user can correct, and for output that cannot be written."""
CLOSED_PIPE = 128 + 13
"""Exit status if the reader of the output, such as `head`, has closed it: 128 and the number of SIGPIPE, as in a shell."""
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EBADF)
"""Errors of a stream or file that cannot be written, such as a full disk or a stdout that was closed."""

_received: list[int] = []
"""Numbers of the signals that have stopped this process. DuckDB loses attributes of the exception of a signal handler."""


class CommandGroup(TyperGroup):
    """A group of commands that prints errors of a user as one message instead of a traceback."""

    def main(self, *args: Any, **options: Any) -> Any:
        """Run a command line, and exit with a status."""
        with _messages():
            try:
                return super().main(*args, **options)
            except SystemExit as end:
                # typer ends with 1 if the output of a help text is closed
                if isinstance(end.__context__, BrokenPipeError):
                    raise end.__context__ from None
                raise

    def invoke(self, ctx: Any) -> Any:
        """Run the subcommand of the command line."""
        with _messages(ctx):
            result = super().invoke(ctx)
            flush_output()
            return result


@contextmanager
def _messages(context: Any = None) -> Iterator[None]:
    """Print errors of the block as one message, and exit with a status. The context knows the name of the subcommand."""
    try:
        with missing_libraries():
            yield
    except RepriseError as error:
        raise _exit(USER_ERROR, str(error)) from None
    except BrokenPipeError:
        raise _exit(CLOSED_PIPE) from None
    except OSError as error:
        raise _exit(USER_ERROR, _reason(error)) from None
    except UnicodeEncodeError as error:  # some libraries cannot open such a file
        raise _exit(
            USER_ERROR, f"cannot use the name {error.object!r}, which is not UTF-8; rename it"
        ) from None
    except MemoryError:
        raise _exit(USER_ERROR, "there is not enough memory") from None
    except KeyboardInterrupt:
        command = (context and context.invoked_subcommand) or ""
        number = _received[-1] if _received else signal.SIGINT
        raise _exit(128 + number, f"stopped{AFTER_STOP.get(command, '')}") from None


def _reason(error: OSError) -> str:
    if error.filename:
        return f"{error.strerror}: {error.filename}"
    return f"cannot write the output ({error.strerror})" if error.errno in UNWRITABLE else str(error)


def _exit(status: int, message: str | None = None) -> SystemExit:
    """Print a message on stderr, discard output that cannot be written, and return the exception that ends the process."""
    try:
        if message is not None:
            print_error(message)
        flush_output()
    except OSError:  # the status remains
        discard_output()
    return SystemExit(status)


def _stop(number: int, frame: FrameType | None) -> None:
    """Handle a signal: stop the command in order. A second signal ends the process immediately."""
    signal.signal(number, signal.SIG_DFL)
    _received.append(number)
    raise KeyboardInterrupt


def _catch_signals() -> None:
    """Stop in order after Ctrl-C and SIGTERM, unless the caller ignores them, as `nohup` or a shell script may."""
    for number, default in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
        if signal.getsignal(number) == default:
            signal.signal(number, _stop)


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
    rich_markup_mode=None,  # help is plain text: markup would change brackets, asterisks and backslashes
    pretty_exceptions_enable=False,
    context_settings={"max_content_width": 110},
    epilog="Start with `reprise demo`, or with your own event log: `reprise prepare EVENTS --out data/shop`.",
)


@app.callback()
def reprise(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Train, evaluate and serve recurrent recommendation models on event logs."""
    join_processes(context.invoked_subcommand)


for command in COMMANDS:
    name = command.__name__.rpartition(".")[2]
    app.command(name.replace("_", "-"), epilog=f"\b\nExample: {command.EXAMPLE}")(getattr(command, name))


def main() -> None:
    """Run the command line of this process."""
    set_up_streams()
    _catch_signals()
    app(prog_name="reprise")
