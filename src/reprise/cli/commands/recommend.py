"""`reprise recommend`: recommendations for the histories in a file."""

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from reprise.cli.history_batches import open_histories, open_recommender, parse_time, show_users
from reprise.cli.shared_options import (
    DatasetOption,
    Delimiter,
    EngineName,
    HistoryKey,
    HistoryPaths,
    ItemColumn,
    KindColumn,
    Master,
    ModelPath,
    RequestTime,
    SessionColumn,
    TimeColumn,
    TimeUnitOption,
    TimeZone,
    Trusted,
    UserColumn,
    ValueColumn,
    Verify,
    check_output_file,
)
from reprise.cli.spark_recommendations import check_engine, recommend_on_spark

DEFAULT_K = 20
"""Number of items per user, unless the catalogue has fewer."""
EXAMPLE = "reprise recommend runs/shop this_week.parquet --k 20 --out answers.csv"


def recommend(
    model: ModelPath,
    histories: HistoryPaths,
    k: Annotated[
        int | None,
        typer.Option(
            "--k",
            metavar="N",
            min=1,
            help="Number of items per user.",
            show_default=f"{DEFAULT_K}, or the number of items if there are fewer",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="File to write: .csv, .parquet or .jsonl. With Spark: a directory of Parquet files.",
            show_default="CSV on standard output",
        ),
    ] = None,
    exclude_seen: Annotated[
        bool, typer.Option("--exclude-seen", help="Leave out the items of each user's history.")
    ] = False,
    diversity: Annotated[
        float,
        typer.Option(
            metavar="0..1",
            min=0,
            max=1,
            help="Weight of dissimilarity between the items; 0: the plain ranking.",
        ),
    ] = 0.0,
    user_column: UserColumn = None,
    item_column: ItemColumn = None,
    time_column: TimeColumn = None,
    session_column: SessionColumn = None,
    kind_column: KindColumn = None,
    value_column: ValueColumn = None,
    sequence_by: HistoryKey = None,
    tz: TimeZone = None,
    time_unit: TimeUnitOption = None,
    delimiter: Delimiter = None,
    now: RequestTime = None,
    engine: EngineName = None,
    master: Master = None,
    send_model: Annotated[
        bool,
        typer.Option(
            "--send-model", help="Send the model to the workers of Spark, which otherwise share its path."
        ),
    ] = False,
    dataset: DatasetOption = None,
    verify: Verify = None,
    trusted: Trusted = False,
) -> None:
    """Write recommendations for every user of a file: rows of user_id, rank, item_id, score and title."""
    from reprise.data.io.events import Columns, read_events
    from reprise.data.io.result_files import RecommendationRow, RecommendationWriter

    check_engine(engine, master, send_model)
    columns = Columns(user_column, item_column, time_column, session_column, kind_column, value_column)
    if engine != "spark":
        check_output_file(out)
    recommender = open_recommender(model, dataset, trusted=trusted, verify=verify)
    k = min(DEFAULT_K, recommender.items.scored) if k is None else k
    request_time = parse_time(now, tz)
    if engine == "spark":
        ranking = {"k": k, "exclude_seen": exclude_seen, "now": request_time, "diversity": diversity}
        reading = {"columns": columns, "tz": tz, "time_unit": time_unit, "sequence_by": sequence_by}
        recommend_on_spark(
            model, histories, out, recommender=recommender, master=master, delimiter=delimiter,
            # the workers load the path again, so a verified model is sent to them
            send_model=send_model or verify is not None, options={**reading, **ranking},
        )  # fmt: skip
        return
    log = read_events(histories, columns, tz=tz, time_unit=time_unit, delimiter=delimiter)
    batches = open_histories(recommender, log, out, sequence_by=sequence_by, with_times=now is not None)
    users, skipped = 0, 0
    with closing(batches), RecommendationWriter(out) as writer:
        for keys, events in batches:
            results = recommender.recommend_many(
                events, k=k, exclude_seen=exclude_seen, now=request_time, diversity=diversity
            )
            for key, result in zip(keys, results, strict=True):
                for item in result:
                    writer.add(RecommendationRow(key, item.rank, item.item_id, item.score, item.title))
                skipped += result.skipped
            users += len(keys)
    show_users(users, skipped)
