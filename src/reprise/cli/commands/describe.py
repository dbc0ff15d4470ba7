"""`reprise describe`: print a summary of a prepared dataset."""

import json
from pathlib import Path
from typing import Annotated

import typer

from reprise.cli.console import show_facts
from reprise.cli.shared_options import DatasetDirectory

EXAMPLE = "reprise describe data/shop --json"


def describe(
    path: DatasetDirectory,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Print a summary of a prepared dataset: counts, dates, parts, cold items, sequence lengths, repeats, item columns."""
    from reprise.content.column_detection import describe_columns
    from reprise.data.dataset import SequenceDataset
    from reprise.data.description import describe as describe_dataset

    dataset = SequenceDataset.open(Path(path))
    facts = {**describe_dataset(dataset), "item_columns": describe_columns(dataset)}
    if as_json:
        typer.echo(json.dumps(facts, indent=2, ensure_ascii=False))
    else:
        show_facts(facts)
