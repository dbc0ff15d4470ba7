"""Recommendations on Spark equal those of the command alone in every bit, and faults are named in one message."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests_of_spark import START_S, table

from reprise.data import Columns
from reprise.errors import ArtefactError, ConfigError, DataError
from reprise.recommender import Recommender
from reprise.spark import SentModel, plain_errors, recommend

pytestmark = pytest.mark.xdist_group("spark")
Alone = Callable[..., list[dict[str, Any]]]


def rows_of(frame: Any) -> list[dict[str, Any]]:
    with plain_errors():
        rows: list[dict[str, Any]] = frame.toArrow().to_pylist()
    return rows


@pytest.fixture
def log(tmp_path: Path) -> Path:
    file = tmp_path / "events.parquet"
    pq.write_table(table(), file, row_group_size=50)
    return file


@pytest.mark.usefixtures("small_blocks")
def test_rows_equal_those_of_the_command_alone_in_order_and_in_every_bit(
    spark: Any, model: Path, log: Path, alone: Alone
) -> None:
    answers = recommend(spark.read.parquet(str(log)), model, k=5)
    assert answers.columns == ["user_id", "rank", "item_id", "score", "title"]
    rows = rows_of(answers)
    assert rows == alone(log, "--k", "5")
    assert rows[0]["title"] == f"Mug {rows[0]['item_id']}"
    # six blocks of at most four users are on three partitions
    used = answers.rdd.mapPartitions(lambda part: [len({row.user_id for row in part})]).collect()
    assert sorted(used) == [7, 8, 8]


@pytest.mark.usefixtures("small_blocks")
def test_options_have_the_meaning_that_they_have_in_the_command(
    spark: Any, model: Path, log: Path, alone: Alone
) -> None:
    now = START_S + 3600
    answers = recommend(spark.read.parquet(str(log)), model, k=3, exclude_seen=True, diversity=0.3, now=now)
    assert rows_of(answers) == alone(log, "--k", "3", "--exclude-seen", "--diversity", "0.3", "--now", now)


def test_a_model_in_memory_is_sent_to_the_workers(spark: Any, model: Path, log: Path, alone: Alone) -> None:
    answers = recommend(spark.read.parquet(str(log)), SentModel(Recommender.load(model)), k=2)
    assert rows_of(answers) == alone(log, "--k", "2")


def test_iterables_are_read_once(spark: Any, model: Path, log: Path) -> None:
    items = [item for item in range(40) if item % 2]
    answers = recommend(spark.read.parquet(str(log)), model, k=40, allow=iter(items))
    assert {row["item_id"] for row in rows_of(answers)} == set(items)


@pytest.mark.usefixtures("small_blocks")
def test_times_in_other_columns_types_and_zones_are_read_as_by_the_command(
    spark: Any, model: Path, tmp_path: Path, alone: Alone
) -> None:
    events = table(6, 60)
    seconds = events["timestamp"].to_pylist()
    texts = [f"2024-03-{1 + one % 20:02d} 1{one % 10}:00:00" for one in seconds]
    changed = pa.table({"visitor": events["user_id"], "sku": events["item_id"], "when": texts})
    pq.write_table(changed, tmp_path / "texts.parquet")
    columns = Columns(user="visitor", item="sku", time="when")
    answers = recommend(
        spark.read.parquet(str(tmp_path / "texts.parquet")), model, k=2, columns=columns, tz="Europe/Berlin"
    )
    options = [
        "--user-column",
        "visitor",
        "--item-column",
        "sku",
        "--time-column",
        "when",
        "--tz",
        "Europe/Berlin",
    ]
    assert rows_of(answers) == alone(tmp_path / "texts.parquet", "--k", "2", *options)


def test_the_settings_and_views_of_the_session_stay(spark: Any, model: Path, log: Path) -> None:
    spark.conf.set("spark.sql.session.timeZone", "Asia/Tokyo")
    try:
        before, views = dict(spark.conf.getAll), spark.catalog.listTables()
        recommend(spark.read.parquet(str(log)), model, k=2)
        assert dict(spark.conf.getAll) == before
        assert spark.catalog.listTables() == views
    finally:
        spark.conf.set("spark.sql.session.timeZone", "UTC")


@pytest.mark.parametrize(
    ("column", "fault"),
    [
        ("array(item_id)", "column 'item_id' contains lists; give one id per row"),
        (
            "cast(item_id as decimal(10, 0))",
            "column 'item_id' contains decimal numbers; cast the column to int64",
        ),
        (
            "cast(cast(item_id as string) as binary)",
            "column 'item_id' contains bytes; decode the column to text",
        ),
        ("struct(item_id)", "column 'item_id' contains structures"),
        ("cast(item_id as double)", "column 'item_id' contains floats"),
    ],
)
def test_columns_that_cannot_be_ids_are_refused_before_a_job(
    column: str, fault: str, spark: Any, model: Path, log: Path
) -> None:
    frame = spark.read.parquet(str(log)).selectExpr("user_id", f"{column} as item_id", "timestamp")
    with pytest.raises(DataError, match=f"ids must be text or integers, but {fault}"):
        recommend(frame, model)


def test_times_without_a_zone_need_one(spark: Any, model: Path, log: Path) -> None:
    frame = spark.read.parquet(str(log)).selectExpr(
        "user_id", "item_id", "cast(timestamp_seconds(timestamp) as timestamp_ntz) as timestamp"
    )
    with pytest.raises(DataError, match=r"'timestamp' has no time zone \(first value 2023-11-14 22:13\)"):
        recommend(frame, model)


@pytest.mark.parametrize(
    ("expression", "fault"),
    [
        (
            "case when item_id = 3 then null else user_id end as user_id, item_id, timestamp",
            "rows have no user_id",
        ),
        (
            "user_id, concat('p', item_id) as item_id, timestamp",
            "item id 'p.*' is not an integer, but the item ids of the",
        ),
        ("user_id, item_id, if(item_id = 3, null, timestamp) as timestamp", "column 'timestamp' is empty in"),
        (
            "user_id, item_id, array(timestamp) as timestamp",
            "column 'timestamp' contains lists, but times are",
        ),
        ("user_id, item_id", "the events have no column 'timestamp'"),
    ],
)
def test_events_that_cannot_be_read_are_refused(
    expression: str, fault: str, spark: Any, model: Path, log: Path
) -> None:
    frame = (
        spark.read.parquet(str(log)).selectExpr(*expression.split(", ")) if "(" not in expression else None
    )
    frame = frame or spark.sql(f"SELECT {expression} FROM parquet.`{log}`")
    with pytest.raises(DataError, match=fault):
        recommend(frame, model)


def test_an_empty_log_is_refused(spark: Any, model: Path, log: Path) -> None:
    with pytest.raises(DataError, match="the histories have no events"):
        recommend(spark.read.parquet(str(log)).limit(0), model)


def test_invalid_arguments_are_refused(spark: Any, model: Path, log: Path) -> None:
    frame = spark.read.parquet(str(log))
    with pytest.raises(ConfigError, match="k"):
        recommend(frame, model, k=0)
    with pytest.raises(ConfigError, match="diversity"):
        recommend(frame, model, diversity=2)
    with pytest.raises(ConfigError, match=r"pass SentModel\(recommender\)"):
        recommend(frame, Recommender.load(model))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="frame"):
        recommend([1, 2], model)  # type: ignore[arg-type]


def test_a_model_that_workers_do_not_see_is_named(spark: Any, model: Path, log: Path, tmp_path: Path) -> None:
    moved = tmp_path / "model"
    moved.mkdir()
    for file in model.iterdir():
        (moved / file.name).write_bytes(file.read_bytes())
    answers = recommend(spark.read.parquet(str(log)), moved, k=2)
    moved.rename(tmp_path / "elsewhere")
    with pytest.raises(
        ConfigError, match=r"a worker of Spark does not find the model '.*model'; put it on a path that"
    ):
        rows_of(answers)


def test_another_model_on_the_workers_is_refused(spark: Any, model: Path, log: Path, tmp_path: Path) -> None:
    other = tmp_path / "model"
    other.mkdir()
    for file in model.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    answers = recommend(spark.read.parquet(str(log)), other, k=2)
    (other / "manifest.json").write_text((other / "manifest.json").read_text() + "\n")
    with pytest.raises(
        ArtefactError, match="on a worker of Spark is not that of the driver; copy the same model"
    ):
        rows_of(answers)


@pytest.mark.parametrize("library", ["reprise", "onnxruntime"])
def test_another_version_on_the_workers_is_refused_with_both_versions(
    library: str, spark: Any, model: Path, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from reprise.data.io.spark_logs import worker_versions
    from reprise.spark import answer_frame

    here = worker_versions.versions_of([library])[library]
    of_driver = {**worker_versions.versions_of(answer_frame.LIBRARIES), library: "0.0.7"}
    # the workers report their real versions; the driver claims another one
    monkeypatch.setattr(answer_frame, "versions_of", lambda libraries: of_driver)
    answers = recommend(spark.read.parquet(str(log)), model, k=2)
    with pytest.raises(
        ConfigError, match=f"a worker of Spark has {library} {here}, but the driver has {library} 0.0.7"
    ):
        rows_of(answers)


def test_a_request_before_the_last_event_is_refused_by_the_workers_in_one_line(
    spark: Any, model: Path, log: Path
) -> None:
    answers = recommend(spark.read.parquet(str(log)), model, k=2, now=START_S - 5)
    with pytest.raises(
        DataError, match=r"^now \(2023-11-14T22:13:15\+00:00\) is before the last event"
    ) as caught:
        rows_of(answers)
    assert "\n" not in str(caught.value)
