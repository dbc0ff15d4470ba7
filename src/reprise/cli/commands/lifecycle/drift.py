"""`reprise drift`: how far items, kinds of events and scores have moved since the training."""

import json
from pathlib import Path
from typing import Annotated

import typer

from reprise.cli.shared_options import DatasetDirectory, TrustedStore, check_output_file

EXAMPLE = "reprise drift data/shop --store sqlite:///events.db --since 2026-11-23 --prometheus drift.prom"


def drift(
    dataset: DatasetDirectory,
    store: Annotated[str, typer.Option(metavar="ADDRESS", help="Event store of the server.")],
    tenant: Annotated[str, typer.Option(metavar="NAME", help="Tenant whose events are read.")] = "default",
    since: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Start of the current period, ISO.", show_default="7 days ago"),
    ] = None,
    users: Annotated[
        int, typer.Option(metavar="N", min=1, help="Largest number of users that are read, newest first.")
    ] = 100_000,
    html_file: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write the tables as an HTML page.")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write all results as JSON.")
    ] = None,
    prometheus_file: Annotated[
        Path | None,
        typer.Option(
            "--prometheus", metavar="FILE", help="Write metrics for Prometheus' textfile collector."
        ),
    ] = None,
    trusted: TrustedStore = False,
) -> None:
    """Compare the events of a server with those of the training: items, kinds of events, and scores of answers."""
    import time
    from contextlib import closing

    from reprise.atomic_files import write_text
    from reprise.cli.commands.lifecycle.feedback import show_tables
    from reprise.data.dataset import SequenceDataset
    from reprise.data.timestamps import parse_timestamp
    from reprise.feedback.drift_output import drift_dict, drift_metrics, drift_tables
    from reprise.feedback.drift_sources import measure_drift
    from reprise.feedback.outcomes import DAY_MS
    from reprise.server.store.opening import open_store

    for file in (html_file, json_file, prometheus_file):
        check_output_file(file)
    opened = SequenceDataset.open(dataset)
    since_ms = time.time_ns() // 1_000_000 - 7 * DAY_MS if since is None else parse_timestamp(since)
    with closing(open_store(store, create=False, trusted=trusted)) as events:
        found = measure_drift(opened, events, tenant, since_ms=since_ms, users=users)
    if json_file is not None:
        write_text(json_file, json.dumps(drift_dict(found), indent=2, allow_nan=False) + "\n")
    if prometheus_file is not None:
        write_text(prometheus_file, drift_metrics(found))
    show_tables(f"Drift since the training of {dataset.name}", drift_tables(found), html_file)
