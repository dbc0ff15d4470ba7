"""`reprise recommend`: answers for the histories in a file."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reprise.cli.options import (
    ItemColumn,
    MovedDataset,
    SessionColumn,
    TimeColumn,
    TimeZone,
    UserColumn,
)
from reprise.errors import ArtefactError

if TYPE_CHECKING:
    from reprise.recommender.recommender import Recommender

EXAMPLE = "reprise recommend runs/shop this_week.parquet --k 20 --out answers.csv"


def recommend(
    model: Annotated[Path, typer.Argument(metavar="RUN|MODEL", help="What `train` or `export` wrote.")],
    histories: Annotated[
        list[str],
        typer.Argument(metavar="HISTORIES", help="The events so far, as files like those of `prepare`."),
    ],
    k: Annotated[int, typer.Option("--k", metavar="N", min=1, help="How many items for each user.")] = 20,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="A .csv, .parquet or .jsonl file.", show_default="CSV on standard output"
        ),
    ] = None,
    exclude_seen: Annotated[
        bool, typer.Option("--exclude-seen", help="Leave out items of the user's own history.")
    ] = False,
    user_column: UserColumn = None,
    item_column: ItemColumn = None,
    time_column: TimeColumn = None,
    session_column: SessionColumn = None,
    tz: TimeZone = None,
    dataset: MovedDataset = None,
) -> None:
    """Recommend to every user of a file: rows of user_id, rank, item_id, score and title."""
    from reprise.data.answers import Answer, AnswerWriter
    from reprise.data.events import Columns
    from reprise.data.histories import read_histories

    columns = Columns(user=user_column, item=item_column, time=time_column, session=session_column)
    recommender = open_recommender(model, dataset)
    batches = read_histories(histories, columns, tz=tz, integer_items=recommender.items.integer_ids)
    users, skipped = 0, 0
    with AnswerWriter(out) as writer:
        for keys, items in batches:
            answers = recommender.recommend_many(items, k=k, exclude_seen=exclude_seen)
            for key, answer in zip(keys, answers, strict=True):
                for found in answer:
                    writer.add(Answer(key, found.rank, found.item_id, found.score, found.title))
                skipped += answer.skipped
            users += len(keys)
    remark = f"; {skipped:,} events skipped, whose items the model does not know" if skipped else ""
    typer.echo(f"{users:,} users{remark}", err=True)


def open_recommender(path: Path, dataset: Path | None = None) -> "Recommender":
    """The recommender of a saved model, or of a run.

    Raises:
        ArtefactError: the path is neither.
    """
    from reprise.recommender.recommender import Recommender

    if (path / "manifest.json").exists():
        return Recommender.load(path)
    if not (path / "run.json").exists():
        raise ArtefactError(
            f"{path} is neither a run (no run.json) nor a saved model (no manifest.json); "
            "name what `reprise train` or `reprise export` wrote"
        )
    from reprise.training import load_run

    return Recommender(*load_run(path, dataset))
