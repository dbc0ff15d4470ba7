"""`reprise feedback`: click rates, the A/B test and estimates for a candidate from the answer log of a server."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reprise.cli.shared_options import TrustedStore, check_output_file
from reprise.errors import ConfigError

if TYPE_CHECKING:
    from reprise.feedback.result_page import ResultTable

EXAMPLE = "reprise feedback --store sqlite:///events.db --since 2026-11-01 --html feedback.html"


def feedback(
    store: Annotated[str, typer.Option(metavar="ADDRESS", help="Event store of the server.")],
    tenant: Annotated[str, typer.Option(metavar="NAME", help="Tenant whose answers are read.")] = "default",
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Start of the period, ISO.", show_default="all")
    ] = None,
    before: Annotated[
        str | None, typer.Option(metavar="TIME", help="End of the period, ISO.", show_default="now")
    ] = None,
    window: Annotated[
        str, typer.Option(metavar="TIME", help="Time after an answer within which an event counts.")
    ] = "1d",
    kind: Annotated[
        str | None,
        typer.Option(metavar="KIND", help="Kind of events that the A/B test counts.", show_default="any"),
    ] = None,
    follow: Annotated[
        str, typer.Option(metavar="TIME", help="Time of each user in the A/B test, from the first answer.")
    ] = "7d",
    planned: Annotated[
        int, typer.Option(metavar="N", min=1, help="Number of users at which the A/B test is strongest.")
    ] = 10_000,
    split: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            help="Split of the server, such as 90,10, to check the numbers of users.",
            show_default="not checked",
        ),
    ] = None,
    by_item: Annotated[
        bool,
        typer.Option(
            "--by-item",
            help="Count events without the id of an answer for the user's latest answer with the item.",
        ),
    ] = False,
    candidate: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN|MODEL",
            help="Model to estimate from explored items: would users respond more often to those that it prefers?",
            show_default="none",
        ),
    ] = None,
    top: Annotated[
        int,
        typer.Option(
            metavar="N", min=1, help="Number of best items of the candidate that count as its choice."
        ),
    ] = 100,
    html_file: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write the tables as an HTML page.")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write all results as JSON.")
    ] = None,
    trusted: TrustedStore = False,
) -> None:
    """Show which recommendations users responded to: click rates by model and position, and the A/B test."""
    from contextlib import closing
    from dataclasses import replace

    from reprise.atomic_files import write_text
    from reprise.cli.history_batches import open_recommender
    from reprise.data.timestamps import parse_duration, parse_timestamp
    from reprise.feedback.candidate_estimate import estimate_candidate
    from reprise.feedback.feedback_analysis import FeedbackOptions, analyse, read_outcomes
    from reprise.feedback.result_page import feedback_tables
    from reprise.server.store.answer_log import FOREVER_MS
    from reprise.server.store.opening import open_store

    check_output_file(html_file)
    check_output_file(json_file)
    options = FeedbackOptions(
        tenant,
        0 if since is None else parse_timestamp(since),
        FOREVER_MS if before is None else parse_timestamp(before),
        parse_duration(window),
        kind,
        parse_duration(follow),
        planned,
        _shares(split),
        by_item=by_item,
    )
    with closing(open_store(store, create=False, trusted=trusted)) as opened:
        outcomes = read_outcomes(opened, options)
        if not outcomes.answers:
            raise ConfigError(
                f"the answer log of {store} has no answers of the tenant {tenant!r} in this period; see docs/lifecycle.md"
            )
        found = analyse(outcomes, options)
        if candidate is not None:
            estimate = estimate_candidate(outcomes, opened, open_recommender(candidate), options, top=top)
            found = replace(found, candidate=estimate)
    if json_file is not None:
        write_text(json_file, json.dumps(found.to_dict(), indent=2, allow_nan=False) + "\n")
    show_tables("Feedback of users", feedback_tables(found), html_file)


def show_tables(title: str, tables: "list[ResultTable]", html_file: Path | None) -> None:
    """Print tables, and write them as an HTML page."""
    from reprise.atomic_files import write_text
    from reprise.cli.console import show_table
    from reprise.feedback.result_page import html_page

    for table in tables:
        show_table(table.title, table.headers, table.rows)
        if table.note:
            typer.echo(f"{table.note}\n")
    if html_file is not None:
        write_text(html_file, html_page(title, tables))


def _shares(text: str | None) -> dict[str, float] | None:
    """Return the share of each variant by its name."""
    from reprise.cli.commands.serve import read_split

    split = None if text is None else read_split(text, "1", max(2, text.count(",") + 1))
    return None if split is None else dict(zip(split.names, split.shares, strict=True))
