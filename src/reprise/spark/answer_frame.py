"""Recommendations for the users of a Spark data frame."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import pyarrow as pa

from reprise.argument_checks import instance
from reprise.data import user_histories
from reprise.data.io.column_types import check_id_type
from reprise.data.io.events import CANONICAL, Columns
from reprise.data.io.history_rows import HISTORY_ORDER, HistoryReading, SequenceBy
from reprise.data.io.spark_logs.frame_engine import FrameEngine
from reprise.data.io.spark_logs.path_reading import ROW, number_rows
from reprise.data.io.spark_logs.user_blocks import UserBlocks, block_starts, partition_places
from reprise.data.io.spark_logs.worker_errors import translated_errors
from reprise.data.io.spark_logs.worker_versions import versions_of
from reprise.data.io.spark_session import without_pandas_warning
from reprise.data.timestamps import TimeUnit, check_unit, check_zone
from reprise.data.vocabulary import ItemId
from reprise.errors import ConfigError
from reprise.recommender.history import Timestamp
from reprise.recommender.recommender import Recommender
from reprise.spark.answers import SKIPPED, Answers
from reprise.spark.worker_model import WorkerModel

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

LIBRARIES = ("reprise", "onnxruntime", "numpy")
"""Libraries on which scores depend."""


@dataclass(frozen=True)
class SentModel:
    """A model that Spark sends to its workers, which otherwise read it from a path that they share."""

    recommender: Recommender
    """The model."""


class RankingOptions(TypedDict, total=False):
    """Further arguments of `Recommender.recommend_many`."""

    deny: Iterable[ItemId]
    allow: Iterable[ItemId] | None
    exclude_seen: bool
    now: Timestamp | None
    filter: Mapping[str, Any] | None
    diversity: float


def recommend(
    frame: "DataFrame",
    model: str | Path | SentModel,
    k: int = 20,
    *,
    columns: Columns | None = None,
    tz: str | None = None,
    time_unit: TimeUnit | None = None,
    sequence_by: SequenceBy | None = None,
    **options: Unpack[RankingOptions],
) -> "DataFrame":
    """Return recommendations for all users of a log, one row for each item, with the scores of `reprise recommend`.

    The events are checked first, in a few Spark jobs. The recommendations are computed when the result is used. Each
    worker needs `reprise[spark]` in the driver's version, but no torch. Errors of workers reach the caller as errors of
    Spark; in a block of `plain_errors()`, as those of Reprise.

    Args:
        frame: Events in the columns that `read_events` finds. Events with equal times keep the order of the frame, which
            must be the same each time that Spark computes it: rows of files are, rows after a shuffle may not be.
        model: Directory of a saved model that the driver and all workers share, or a `SentModel`.
        k: Number of items per user.
        columns: Column names that differ from the known names.
        tz: Time zone of times that have none.
        time_unit: Unit of times that are numbers; None: the unit in which all of them are plausible.
        sequence_by: Whether each user or each session has a history. None: as in the log of the model.
        **options: `deny`, `allow`, `exclude_seen`, `now`, `filter` and `diversity` of `Recommender.recommend_many`.

    Returns:
        A lazy data frame with `user_id`, `rank` (from 1), `item_id`, `score` (float64) and `title`, sorted by user and rank
        over its partitions. Session ids are in `user_id` too.

    Raises:
        DataError: The events cannot be read.
        ConfigError: An option is invalid, or workers lack the model or have other versions.
        ArtefactError: The model is damaged.
    """
    return answers(
        frame, model, k, columns=columns, tz=tz, time_unit=time_unit, sequence_by=sequence_by, **options
    ).drop(SKIPPED)


def answers(
    frame: "DataFrame",
    model: str | Path | SentModel,
    k: int,
    *,
    columns: Columns | None = None,
    tz: str | None = None,
    time_unit: TimeUnit | None = None,
    sequence_by: SequenceBy | None = None,
    **options: Unpack[RankingOptions],
) -> "DataFrame":
    """Return the result of `recommend` with the column `SKIPPED`."""
    check_zone(tz)
    check_unit(time_unit)
    _check_frame(frame)
    recommender, on_workers = _models(model, frame)
    given = _pickled(options)
    recommender.recommend_many([], k, **given)  # checks the options
    found = (columns or Columns()).resolve([name for name in frame.columns if name != ROW])
    reading = HistoryReading(
        found,
        recommender.items.integer_ids,
        _fields(recommender, with_times=options.get("now") is not None),
        recommender.history_rules,
        sequence_by,
        tz,
        time_unit,
    )
    with translated_errors(), without_pandas_warning():
        events = _events(_canonical(frame, found), reading)
        user_type = pa.string() if events.schema["user_id"].dataType.typeName() == "string" else pa.int64()
        item_type = pa.int64() if recommender.items.integer_ids else pa.string()
        users_per_batch = user_histories.USERS_PER_BATCH
        worker = Answers(on_workers, k, given, user_type, item_type, users_per_batch, versions_of(LIBRARIES))
        return events.mapInArrow(worker, _spark_schema(worker.schema))


def _check_frame(frame: object) -> None:
    from pyspark.sql import DataFrame

    if type(frame).__module__.startswith("pyspark.sql.connect"):
        raise ConfigError(
            "a data frame of Spark Connect is not supported; create it in a session of a Spark driver"
        )
    instance("frame", frame, DataFrame, "read it with `spark.read`")


def _models(model: str | Path | SentModel, frame: "DataFrame") -> tuple[Recommender, WorkerModel]:
    """Return the model of this process, and where workers find it."""
    if isinstance(model, SentModel):
        return model.recommender, WorkerModel.sent(model.recommender, frame.sparkSession.sparkContext)
    if isinstance(model, Recommender):
        raise ConfigError("a recommender in memory is sent to the workers; pass SentModel(recommender)")
    path = Path(model)
    return Recommender.load(path), WorkerModel.at_path(path)


def _pickled(options: RankingOptions) -> dict[str, Any]:
    """Return the options with lists in place of iterables, which may be read only once."""
    given = dict(options)
    for name in ("deny", "allow"):
        if given.get(name) is not None:
            given[name] = list(given[name])  # type: ignore[call-overload]
    return given


def _fields(recommender: Recommender, *, with_times: bool) -> set[str]:
    """Return the fields of events that the model reads besides the items."""
    fields = {*recommender.reads, *(["timestamp"] if with_times else [])}
    # with times, equal events of different kinds are not duplicates
    return fields | {"kind"} if "timestamp" in fields else fields


def _canonical(frame: "DataFrame", columns: Columns) -> "DataFrame":
    """Return the log under canonical names, with the numbers of its rows in the column `row`."""
    numbered = frame if ROW in frame.columns else number_rows(frame)
    names = {
        canonical: name
        for role, canonical in CANONICAL.items()
        if (name := getattr(columns, role)) is not None
    }
    quoted = {
        canonical: numbered[f"`{name.replace('`', '``')}`"].alias(canonical)
        for canonical, name in names.items()
    }
    return numbered.select(*quoted.values(), numbered[ROW].alias("row"))


def _events(log: "DataFrame", reading: HistoryReading) -> "DataFrame":
    """Return the cleaned events, in partitions of whole blocks of users, each sorted by user and time."""
    engine = FrameEngine(log)
    for canonical in ("item_id", "user_id", "session_id"):
        if canonical in engine.log.columns:
            check_id_type(engine.log, canonical)
    rows = reading.check_rows(engine, engine.log)
    users = engine.frame(engine.row_wise(rows.select("user_id")).distinct())
    starts = block_starts(users, user_histories.USERS_PER_BATCH)
    session = log.sparkSession
    partitions = min(int(session.conf.get("spark.sql.shuffle.partitions") or 200), len(starts))
    blocks = UserBlocks(starts, partition_places(session, partitions))
    placed = engine.add(engine.row_frame(rows, blocks).repartition(partitions, "place"))
    events = engine.frame(reading.events(placed, placed=True))
    return events.sortWithinPartitions(*HISTORY_ORDER).drop("time_ms", "row")


def _spark_schema(schema: pa.Schema) -> Any:
    from pyspark.sql.pandas.types import from_arrow_schema

    return from_arrow_schema(schema)
