"""`reprise serve`: serve a model over HTTP, with recommendations that follow the recorded events."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reprise.cli.shared_options import TrustedStore, Verify
from reprise.errors import ArtefactError, ConfigError
from reprise.path_kinds import instead, kind_of

if TYPE_CHECKING:
    from reprise.server.engine.split_engine import UserSplit

EXAMPLE = "reprise serve shop.model --store sqlite:///events.db --port 8000"
MEGABYTE = 2**20


def serve(
    models: Annotated[
        list[Path],
        typer.Argument(
            metavar="MODEL",
            help="Directory of a model, written by `reprise export`, or of a model store, whose current version is served. "
            "Several for an A/B test, with --split.",
        ),
    ],
    store: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help="The event store: sqlite:///FILE, postgresql://USER@HOST/DATABASE, or, with --trusted, a class of your own: "
            "module:Class or module:Class:ADDRESS.",
        ),
    ] = "sqlite:///events.db",
    host: Annotated[
        str,
        typer.Option(
            metavar="HOST",
            help="Address to listen on. An address that other machines can reach needs --keys.",
        ),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="N", min=1, max=65535, help="Port to listen on.")] = 8000,
    keys: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="File of accepted API keys, written by `reprise key`.", show_default="none"
        ),
    ] = None,
    trusted_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Accept this name in the Host header, such as reco.shop.example or *.shop.example; repeatable. "
            "With --keys and without this option any name is accepted.",
            show_default="localhost, 127.0.0.1, ::1 and --host",
        ),
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ORIGIN",
            help="Let web pages of this origin, such as https://shop.example, call the server (CORS); repeatable.",
            show_default="none",
        ),
    ] = None,
    root_path: Annotated[
        str,
        typer.Option(
            metavar="PATH",
            help="Path under which a proxy publishes the server, such as /reco.",
            show_default="none",
        ),
    ] = "",
    max_connections_per_address: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            help="Maximum number of open connections of one client address; 0 for no maximum.",
        ),
    ] = 512,
    health_port: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            max=65535,
            help="Second port, only for /healthz, /readyz and /metrics. It answers also when too many connections are open.",
            show_default="none",
        ),
    ] = None,
    state_memory: Annotated[
        int, typer.Option(metavar="MB", min=1, help="Memory for the cached states of users.")
    ] = 256,
    model_timeout: Annotated[
        float,
        typer.Option(metavar="SECONDS", min=1, help="Maximum time to load another model while serving."),
    ] = 120.0,
    max_user_events: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=2,
            help="Maximum number of events of one user to replay. If there are more, the last N/2 to N are replayed; the "
            "others stay in the log.",
        ),
    ] = 10_000,
    max_user_events_per_minute: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Maximum number of events of one user to store per minute; further ones are rejected: bots.",
            show_default="no maximum",
        ),
    ] = None,
    answer_log: Annotated[
        bool,
        typer.Option(
            "--answer-log/--no-answer-log",
            help="Keep what was recommended in the event store, for `reprise feedback`.",
        ),
    ] = True,
    answer_days: Annotated[
        int, typer.Option(metavar="N", min=1, help="Days after which an answer in the answer log is deleted.")
    ] = 90,
    split: Annotated[
        str | None,
        typer.Option(
            metavar="SHARE,SHARE",
            help="Serve each model to a share of the users, such as 90,10: an A/B test. See `reprise feedback`.",
            show_default="one model",
        ),
    ] = None,
    split_key: Annotated[
        str,
        typer.Option(
            metavar="TEXT",
            help="Name of the A/B test. Another name gives another assignment of users to models.",
        ),
    ] = "1",
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Log warnings and errors only, not each request.")
    ] = False,
    verify: Verify = None,
    trusted: TrustedStore = False,
) -> None:
    """Serve a saved model over HTTP: record events, return recommendations, and show a demo page at /. Needs no torch."""
    import signal
    from contextlib import suppress

    with suppress(AttributeError):  # Windows has no SIGHUP
        # SIGHUP ends a process by default. Nothing has been read so far that it could reload.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    from reprise.server import process
    from reprise.server.settings import Settings

    for model in models:
        if kind_of(model) not in (None, "model", "store"):  # the loader checks anything else
            raise ArtefactError(f"{model} is not a saved model {instead(model, 'model')}")
    shares = read_split(split, split_key, len(models))
    listen = process.ListenSettings(
        host, port, keys, trusted_host or (), allow_origin or (), root_path, health_port
    )
    settings = Settings(
        max_state_bytes=state_memory * MEGABYTE,
        max_connections_per_address=max_connections_per_address,
        max_user_events=max_user_events,
        max_user_events_per_minute=max_user_events_per_minute,
        model_timeout_s=model_timeout,
        log_answers=answer_log,
        answer_days=answer_days,
    )
    level = logging.WARNING if quiet else logging.INFO
    served = models[0] if shares is None else models
    process.serve(served, store, listen, settings, level, trusted=trusted, verify=verify, split=shares)


def read_split(text: str | None, key: str, models: int) -> "UserSplit | None":
    """Return the split of the users between several models; None for one model without a split.

    Raises:
        ConfigError: the text is not a list of numbers, or its length is not the number of models.
    """
    from reprise.server.engine.split_engine import UserSplit

    if text is None:
        if models > 1:
            raise ConfigError(
                f"got {models} models; give the share of the users of each, such as --split 90,10"
            )
        return None
    try:
        shares = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"--split {text!r} is not a list of shares; write one like 90,10") from None
    if len(shares) != models:
        raise ConfigError(
            f"--split {text} has {len(shares)} shares for {models} models; give one share for each model"
        )
    return UserSplit(shares, key)
